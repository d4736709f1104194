"""The record that keeps a bad event: its raw key and value, with the reason and the place it came from as headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.core.batch import Headers, Reject, WireBatch
from pipeline.core.replay import MARK, names

RECORD_OVERHEAD = 128
"""An upper bound of what a record batch of one record takes besides its key, value and headers, in bytes."""

HEADER_OVERHEAD = 10
"""An upper bound of the lengths written with each header, in bytes."""

SOURCE = "source."
"""What the names of the headers that an event came with begin with in its dead letter."""


@dataclass(frozen=True)
class DeadLetter:
    """A record for the dead-letter topic; header values are UTF-8 text."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def dead_letter(
    reject: Reject,
    batch: WireBatch,
    stream: str,
    *,
    limit: int,
    states: Mapping[str, str],
    replays: int = 0,
    origin: Headers = (),
) -> DeadLetter:
    """The dead letter of a bad event, at most ``limit`` bytes as a record batch of its own.

    What doesn't fit is cut, the event's own headers first, then the value and then the key, and the header
    ``truncated`` names which. ``table`` is there only if the event was bad for one table alone, ``replays`` if it had
    been replayed before, so many times; ``time`` is the record's timestamp; ``state`` names those of the tables'
    ``states`` that lack the event; ``origin`` are headers that say where an event came from that was sent on.
    """
    headers: list[tuple[str, bytes | None]] = [
        ("reason", reject.reason.encode()),
        ("stage", reject.stage.encode()),
        ("stream", stream.encode()),
        ("topic", batch.topic.encode()),
        ("partition", b"%d" % batch.partition),
        ("offset", b"%d" % batch.offsets[reject.index]),
        ("time", _rfc3339(batch.timestamps[reject.index]).encode()),
        *origin,
    ]
    lacking = states.values() if reject.table is None else [states[reject.table]]
    headers.append(("state", names(lacking)))
    if reject.table is not None:
        headers.append(("table", reject.table.encode()))
    if replays:
        headers.append(("replays", b"%d" % replays))
    own = batch.headers.get(batch.offsets[reject.index], [])
    headers += [(SOURCE + name, content) for name, content in own if not name.startswith(MARK)]
    key, value = batch.keys[reject.index], batch.values[reject.index]
    cut: list[str] = []
    if _size(headers) + len(key or b"") + len(value or b"") > limit:
        kept = [(name, content) for name, content in headers if not name.startswith(SOURCE)]
        cut, headers = ["headers"] * (len(kept) < len(headers)), kept
        room = limit - _size([*headers, ("truncated", b"headers, key, value")])
        cut_key = key if key is None else key[: max(room, 0)]
        cut_value = value if value is None else value[: max(room - len(cut_key or b""), 0)]
        cut += [name for name, now, was in (("key", cut_key, key), ("value", cut_value, value)) if now != was]
        if cut:
            headers.append(("truncated", ", ".join(cut).encode()))
        key, value = cut_key, cut_value
    return DeadLetter(key, value, headers)


def _size(headers: Headers) -> int:
    """An upper bound of what a record with these headers takes without its key and value, in bytes."""
    return RECORD_OVERHEAD + sum(len(name.encode()) + len(value or b"") + HEADER_OVERHEAD for name, value in headers)


def _rfc3339(milliseconds: int) -> str:
    try:
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return f"{milliseconds} ms"
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
