"""A worker that is stopped inside a transaction for longer than the broker grants it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest
from kafka import TopicPartition

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.doctor.transactions import Open, open_transactions
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from tests.faults.arena import PARTITIONS, TABLES, Arena, until
from tests.kafka.process import is_stopped

TRANSACTION_SECONDS = 12
"""More than the ten within which a worker gives a commit up by itself."""


@pytest.fixture
def kafka() -> Iterator[str]:
    """A broker that looks for transactions that timed out each second: left alone it does so each ten."""
    with EmbeddedKafka(properties={"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000"}) as broker:
        yield broker.address


@pytest.fixture
def admin(kafka: str) -> Iterator[Admin]:
    admin = Admin(ClientSettings(kafka))
    yield admin
    admin.close()


@pytest.mark.timeout(180)
def test_the_broker_ends_the_transaction_and_the_worker_goes_on(
    arena: Arena, admin: Admin, expect_exact: Callable[[], None]
) -> None:
    def open_ones() -> list[Open]:
        outputs = [TopicPartition(f"{arena.name}-{t}", p) for t, s in TABLES.items() for p in range(PARTITIONS[s])]
        return open_transactions(admin, outputs, 0.0)

    stop = {"KILL_BY": str(int(signal.SIGSTOP)), "TRANSACTION_SECONDS": str(TRANSACTION_SECONDS)}
    arena.start(0, "after acknowledgement", 20, **stop)
    worker = arena.workers[0]
    with arena.load(rate=300):
        until(lambda: is_stopped(worker.pid), 60, "the worker stopped inside a transaction")
        until(lambda: bool(open_ones()), 60, "its transaction is open")
        until(lambda: not open_ones(), 60, "the broker ended it")
        assert is_stopped(worker.pid), "nobody but the broker can have ended it"
        worker.send_signal(signal.SIGCONT)
        time.sleep(1)
    arena.drained(revive=False)
    assert worker.poll() is None, arena.log()
    until(lambda: not open_ones(), 60, "no transaction is left")
    arena.kill(0, signal.SIGTERM)
    assert arena.wait(0) == 0
    assert open_ones() == []
    expect_exact()
