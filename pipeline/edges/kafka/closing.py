"""How a producer of kafka-python is closed, so that it says nothing of its own about it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kafka.errors import KafkaError


def close_producer(producer: Any, seconds: float) -> None:
    """Close a producer within about so many seconds; what it has not sent by then it drops.

    By itself it would raise then, in place of what went wrong before, and wait once more when it is collected: a fenced
    one may never send what it still holds.
    """
    try:
        producer.close(timeout=seconds)
    except KafkaError:
        producer._sender.force_close()
        producer._sender.join(seconds)
        with suppress(KafkaError):
            producer.close(timeout=seconds)
