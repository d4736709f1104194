"""Changelogs: whatever the records, a table is restored to just what they say, or they are refused in one line.

What they say is worked out here from the bytes alone, by the layout that ``pipeline/core/changelog.py`` describes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators import Ewma, KvWindow, LinearAttention, Mean, MovingMean
from pipeline.core.batch import Events
from pipeline.core.changelog import Changelog, Meta
from pipeline.core.clock import Passed
from pipeline.core.config.model import Dedupe, Stream, Table
from pipeline.core.dedupe import PAGE_BYTES
from pipeline.core.state import TableState
from pipeline.errors import KafkaStateError
from tests.fuzz.plain import Unreadable, read_json
from tests.fuzz.records import BESIDES, BETWEEN, Record, data_of, parsed

LARGEST = 2**63 - 1


def _table(**options: Any) -> Table:
    return Table(name="t", stream=Stream(name="s", topic="t", vectors={"v": 2}), **options)


TABLES = (
    _table(operators={"mean": Mean(value="x"), "ewma": Ewma(value="x", half_life="30s")}),
    _table(operators={"window": MovingMean(value="x", window=200), "pairs": KvWindow(key="v", value="v", window=3)}),
    _table(
        operators={"memory": LinearAttention(key="v", value="v")},
        dedupe=Dedupe(field="id", window="1h", max_events=40),
        ttl="1h",
        max_keys=3,
    ),
)


class Foreign(Exception):
    """A record that no table has written."""


@dataclass
class Plain:
    """What a changelog says, by its bytes: the newest record of each key, and the meta record."""

    table: Table
    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    pages: dict[tuple[bytes, int, int], bytes | None] = field(default_factory=dict)
    meta: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        state = TableState(self.table)
        memories = state.memories.items()
        fields = [(name, field) for name, memory in memories for field in memory.layout.fields]
        self._counts = [f"{name}.count" for name, memory in memories if memory.rings]
        self._row = np.dtype(
            [("format", "u1"), ("time", "<f8"), ("offset", "<i8")]
            + [(f"{name}.{field.name}", field.dtype, field.shape) for name, field in fields]
        )
        self._rings = [(name, pages) for name, memory in memories for pages in memory.pages]

    def read(self, record: Record) -> None:
        """Take one record in. Raises Foreign."""
        key, value = record
        if not key:
            raise Foreign("no key")
        kind, name = key[:1], key[1:]
        if kind == b"R":
            self._check_row(value)
            self.rows[name] = value
        elif kind == b"P":
            self._check_page(name, value)
            ring, page = struct.unpack("<HI", name[-6:])
            self.pages[name[:-6], ring, page] = value
        elif kind == b"I":
            _check_ids(name, value)
        elif key == b"M":
            self.meta = None if value is None else _meta(value)
        else:
            raise Foreign("kind")

    def check_whole(self) -> None:
        """Raises Foreign if the records do not go together."""
        for key, value in self.rows.items():
            if value is None:
                continue
            row = np.frombuffer(value, self._row)[0]
            if self.meta is not None and row["offset"] >= self.meta["next_offset"]:
                raise Foreign("a row from behind the end")
            for ring, (name, pages) in enumerate(self._rings):
                used = min(int(row[f"{name}.count"]), pages.ring.length)
                if any(self.pages.get((key, ring, page)) is None for page in range(-(-used // pages.slots))):
                    raise Foreign("inputs are lacking")

    def _check_row(self, value: bytes | None) -> None:
        if value is None:
            return
        if len(value) != self._row.itemsize:
            raise Foreign("size")
        row = np.frombuffer(value, self._row)[0]
        if row["format"] != 1 or row["offset"] < 0 or any(row[name] < 0 for name in self._counts):
            raise Foreign("a number that never is")
        if not all(np.isfinite(row[name]).all() for name in self._row.names or ()):
            raise Foreign("not finite")

    def _check_page(self, name: bytes, value: bytes | None) -> None:
        if len(name) < 6:
            raise Foreign("key")
        ring, page = struct.unpack("<HI", name[-6:])
        if ring >= len(self._rings) or page >= self._rings[ring][1].count:
            raise Foreign("place")
        if value is not None and len(value) != self._rings[ring][1].page_bytes:
            raise Foreign("size")
        if value is not None and not np.isfinite(np.frombuffer(value)).all():
            raise Foreign("not finite")


def _check_ids(name: bytes, value: bytes | None) -> None:
    if len(name) != 4 or (value is not None and len(value) != PAGE_BYTES):
        raise Foreign("size")
    for _, after, time in struct.iter_unpack("<16sqd", value or b""):
        if after < 0 or not math.isfinite(time):
            raise Foreign("a number that never is")


def _meta(value: bytes) -> Mapping[str, Any]:
    try:
        meta = read_json(value)
    except (Unreadable, RecursionError) as error:
        raise Foreign(str(error)) from None
    if not isinstance(meta, dict):
        raise Foreign("no object")
    whole = ("format", "next_offset", "keys")
    texts = ("fingerprint", "transactional_id", "source_id", "changelog_id")
    if not all(type(meta.get(name)) is int and 0 <= meta[name] <= LARGEST for name in whole) or meta["format"] != 1:
        raise Foreign("a number that never is")
    if not all(isinstance(meta.get(name), str) for name in texts):
        raise Foreign("no text")
    passed = meta.get("passed")
    if passed is not None:
        _check_passed(passed)
    return meta


def _check_passed(passed: object) -> None:
    if not isinstance(passed, dict):
        raise Foreign("no clock")
    marks, newest = passed.get("marks", []), passed.get("newest")
    if not isinstance(marks, list):
        raise Foreign("no marks")
    for mark in [*marks, *([] if newest is None else [newest])]:
        if not isinstance(mark, list) or len(mark) != 2:
            raise Foreign("no mark")
        time, offset = mark
        if type(offset) is not int or not 0 <= offset <= LARGEST:
            raise Foreign("no offset")
        if type(time) not in (int, float) or abs(time) > 1.7976931348623157e308:
            raise Foreign("no time")


def check(table: Table, records: Sequence[Record]) -> None:
    """Raises AssertionError where a restore differs from what the records say."""
    plain, refusal = Plain(table), None
    try:
        for record in records:
            plain.read(record)
        plain.check_whole()
    except Foreign as foreign:
        refusal = foreign
    state, reader = _restored(table, [records])
    if reader.trouble is not None:
        assert isinstance(reader.trouble, KafkaStateError)
        assert reader.trouble.cause
        assert reader.trouble.mend
        assert refusal is not None, f"refused, though sound: {reader.trouble}"
    else:
        assert refusal is None, f"taken in, though foreign: {refusal}"
        _check_state(state, plain, reader.meta)
    deletes = any(value is None and (key or b"").startswith(b"R") for key, value in records)
    if not deletes:  # what a delete left behind in pages is no one's, so when it comes and goes matters
        other, one_by_one = _restored(table, [[record] for record in records])
        assert (one_by_one.trouble is None) == (reader.trouble is None), "depends on where batches are split"
        if one_by_one.trouble is None:
            _check_state(other, plain, one_by_one.meta)
    if reader.trouble is None:
        _go_on(state)


def _restored(table: Table, batches: Sequence[Sequence[Record]]) -> tuple[TableState, Changelog]:
    state = TableState(table)
    reader = Changelog(state)
    for batch in batches:
        reader.apply([key for key, _ in batch], [value for _, value in batch])
    reader.finish()
    return state, reader


def _check_state(state: TableState, plain: Plain, meta: Meta | None) -> None:
    rows = {name: value for name, value in plain.rows.items() if value is not None}
    assert set(state.index) == set(rows)
    assert state.live == len(rows)
    keys = list(rows)
    at = state.index.rows(keys)
    again, values = Changelog(state).changes(at)
    assert dict(zip(again, values, strict=True)) == {b"R" + name: value for name, value in rows.items()}
    ring = 0
    for memory in state.memories.values():
        for pages in memory.pages:
            held = pages.of(memory.rings[pages.ring.role])
            for name, row in zip(keys, at.tolist(), strict=True):
                for page in range(pages.count):
                    expected = plain.pages.get((name, ring, page)) or bytes(pages.page_bytes)
                    assert held[row, page].tobytes() == expected
            ring += 1
    assert (meta is None) == (plain.meta is None)
    if meta is not None and plain.meta is not None:
        read, (key, value) = Changelog(TableState(plain.table)), Changelog.meta_record(meta)
        read.apply([key], [value])
        assert read.meta == meta
        assert all(getattr(meta, name) == plain.meta[name] for name in ("fingerprint", "next_offset", "keys"))


def _go_on(state: TableState) -> None:
    """Fold some events into what was restored, and log it: nothing that came from a log may trip that."""
    keys = [*list(state.index)[:2], b"new", b"new"]
    first = LARGEST - len(keys)
    offsets = np.arange(first, first + len(keys))
    state.fold(
        Events(
            np.arange(len(keys)),
            keys,
            offsets,
            np.full(len(keys), 1e9),
            {"x": np.ones(len(keys)), "v": np.ones((len(keys), 2))},
            {"id": [b"%d" % number for number in range(len(keys))]},
        )
    )
    log = Changelog(state)
    log.tombstones(state.take_gone())
    log.changes(state.take_changed())
    log.ids()


def run(data: bytes) -> None:
    """Check what an input of a fuzzer stands for."""
    number, records = parsed(data)
    check(TABLES[number % len(TABLES)], records)


def written(table: Table, count: int) -> list[Record]:
    """What a table logs of some events."""
    state = TableState(table)
    rng = np.random.default_rng(count)
    keys = [b"key-%d" % (number % 3) for number in range(count)]
    columns = {"x": rng.normal(size=count), "v": rng.normal(size=(count, 2))}
    ids: dict[str, list[bytes | None]] = {"id": [b"%d" % number for number in range(count)]}
    index = np.arange(count)
    state.fold(Events(index, keys, 10 + index, np.asarray(1e9 + index), columns, ids))
    log = Changelog(state)
    meta = Meta(
        format=1,
        fingerprint="0123456789abcdef",
        transactional_id="streamfold/app/topic/0",
        source_id="source",
        changelog_id="changelog",
        next_offset=10 + count,
        keys=state.live,
        passed=state.lifetimes.passed or Passed(),
    )
    records = [log.changes(state.take_changed()), log.ids()]
    return [*(pair for keys, values in records for pair in zip(keys, values, strict=True)), log.meta_record(meta)]


SEEDS = [data_of(number, written(table, count)) for number, table in enumerate(TABLES) for count in (1, 7, 150)]
SEEDS.append(data_of(0, [(b"Rkey", None), (b"M", None), (b"Pkey\x00\x00\x00\x00\x00\x00", None)]))

WORDS = [
    *(BETWEEN, BESIDES, BETWEEN + b"R", BETWEEN + b"P", BETWEEN + b"I", BETWEEN + b"M" + BESIDES, b"\x01"),
    *(struct.pack("<d", math.nan), struct.pack("<d", -math.inf), struct.pack("<q", -1), struct.pack("<q", LARGEST)),
    *(b'"format":', b'"next_offset":', b'"keys":', b'"passed":', b'"marks":', b'"newest":', b"[[1,2]]", b"null"),
    *(b"1e999", b"2.0", b"true", b"-1", b"99999999999999999999", b"\xff", b"[" * 40, b"\x00\x00\xff\xff\xff\xff"),
]
