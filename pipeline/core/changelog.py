"""The changelog: a table's state as Kafka records, written by a commit and read by a restore.

Every record's key begins with the byte of its kind, so that no user's key can meet another kind:

=========  =============================================  =====================================================
kind       key                                            value
=========  =============================================  =====================================================
row        ``R`` + entity key                             format byte, then the fields as little-endian numbers
page       ``P`` + entity key + ring (u16) + page (u32)   the page's inputs as little-endian doubles
ids        ``I`` + page (u32)                             marks of the events folded last (see ``dedupe``)
meta       ``M``                                          a :class:`Meta` as JSON
=========  =============================================  =====================================================

One record for each row that changed and each page that changed, one meta record a commit. A null value deletes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.core.batch import Ints
from pipeline.core.clock import Offset, Passed
from pipeline.core.dedupe import are_pages
from pipeline.core.readout import Mask
from pipeline.core.state import NO_OFFSET, TableState
from pipeline.errors import KafkaStateError

FORMAT = 1
ROW, PAGE, IDS, META = b"R", b"P", b"I", b"M"
_PAGE_SUFFIX = struct.Struct("<HI")
_NUMBER = struct.Struct("<I")

Records = tuple[list[bytes], list[bytes | None]]
"""Keys and values, in step."""


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a changelog says of itself: the authority on restart, written in the transaction that it speaks of.

    ``next_offset`` is the first source offset not folded; ``keys`` how many keys have state; the topic ids and the
    fingerprint of the operators tell whether state, source and configuration still belong together. ``passed`` is the
    event time, where a table has a ``ttl``.
    """

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)]
    fingerprint: str
    transactional_id: str
    source_id: str
    changelog_id: str
    next_offset: Offset
    keys: Annotated[int, msgspec.Meta(ge=0)]
    passed: Passed | None = None


class Changelog:
    """Turns a table's state into changelog records and back."""

    def __init__(self, state: TableState) -> None:
        self._state = state
        self._rings = [(memory, ring) for memory in state.memories.values() for ring in range(len(memory.rings))]
        self._first_ring = {}
        number = 0
        for name, memory in state.memories.items():
            self._first_ring[name] = number
            number += len(memory.rings)
        self._found: list[Mask] = [np.zeros((0, memory.pages[ring].count), bool) for memory, ring in self._rings]
        self._dtype = np.dtype(
            [("format", "u1"), ("time", "<f8"), ("offset", "<i8")]
            + [
                (f"{name}.{field.name}", field.dtype, field.shape)
                for name, memory in state.memories.items()
                for field in memory.layout.fields
            ]
        )
        self.meta: Meta | None = None
        self.trouble: KafkaStateError | None = None

    # Writing

    def tombstones(self, gone: Mapping[bytes, tuple[int, ...]]) -> Records:
        """Records that delete keys, as :meth:`TableState.take_gone` tells of them: their rows and all of their pages.

        Those of a key that came again have to be followed by its new ones.
        """
        keys = [ROW + key for key in gone]
        keys += [
            PAGE + key + _PAGE_SUFFIX.pack(ring, page)
            for key, rings in gone.items()
            for ring, pages in enumerate(rings)
            for page in range(pages)
        ]
        return keys, [None] * len(keys)

    def changes(self, rows: Ints) -> Records:
        """Records for rows that changed, and for the pages of theirs that did."""
        state = self._state
        table = np.empty(len(rows), self._dtype)
        table["format"] = FORMAT
        table["time"] = state.times[rows]
        table["offset"] = state.offsets[rows]
        for name, memory in state.memories.items():
            for field in memory.layout.fields:
                table[f"{name}.{field.name}"] = memory.fields[field.name][rows]
        all_keys = state.index.keys
        keys = [ROW + all_keys[row] for row in rows.tolist()]
        values: list[bytes | None] = list(_slices(table.tobytes(), self._dtype.itemsize))
        for name, memory in state.memories.items():
            for number, at, page, raw in memory.changed_pages(rows):
                ring = self._first_ring[name] + number
                keys += [
                    PAGE + all_keys[row] + _PAGE_SUFFIX.pack(ring, p)
                    for row, p in zip(at.tolist(), page.tolist(), strict=True)
                ]
                values += _slices(raw, len(raw) // len(at)) if len(at) else []
        return keys, values

    def ids(self) -> Records:
        """Records for the pages of ids that changed."""
        if self._state.seen is None:
            return [], []
        pages, contents = self._state.seen.take_changed()
        return [IDS + _NUMBER.pack(page) for page in pages], [*contents]

    @staticmethod
    def meta_record(meta: Meta) -> tuple[bytes, bytes]:
        """The meta record's key and value."""
        return META, msgspec.json.encode(meta)

    @property
    def row_bytes(self) -> int:
        """Length of a row record's value: the state of one key without its rings."""
        return self._dtype.itemsize

    # Reading

    def apply(self, keys: list[bytes | None], values: list[bytes | None]) -> None:
        """Take in records in log order: the last one of a key wins.

        Records that this version did not write, or that belong to other operators, are noted as ``trouble``; the meta
        records are read all the same, for they say why.
        """
        kinds: dict[bytes, Records] = {ROW: ([], []), PAGE: ([], []), IDS: ([], []), META: ([], [])}
        try:
            for key, value in zip(keys, values, strict=True):
                if not key or key[:1] not in kinds or (key[:1] == META and key != META):
                    raise self._foreign(key)
                names, contents = kinds[key[:1]]
                names.append(key[1:])
                contents.append(value)
            for value in kinds[META][1]:
                self._apply_meta(value)
            if self.trouble is None:
                self._apply_rows(*kinds[ROW])
                self._apply_pages(*kinds[PAGE])
                self._apply_ids(*kinds[IDS])
        except KafkaStateError as trouble:
            self.trouble = self.trouble or trouble

    def finish(self) -> None:
        """All records are in: what is in the pages counts as logged, and what has no row record is nothing.

        A row some of whose inputs are not there is noted as ``trouble``: the log has lost its head.
        """
        state = self._state
        state.forget_empty(len(state.index))
        rows = np.flatnonzero(state.offsets[: state.index.span] != NO_OFFSET)
        if self.trouble is None and self.meta and (state.offsets[rows] >= self.meta.next_offset).any():
            self.trouble = self._foreign(ROW)
        if self.trouble is None and (lacking := self._count_lacking(rows)):
            self.trouble = KafkaStateError(
                f"the changelog of table {state.table.name} lacks inputs of {lacking} key{'s' * (lacking > 1)}",
                "its oldest records were deleted: `streamfold reset FILE` makes the state anew from the first event",
            )
        for memory in state.memories.values():
            memory.restored(rows)
        if state.seen is not None:
            state.seen.restored()
        state.lifetimes.restore(self.meta.passed if self.meta else None, rows, state.offsets)

    def _count_lacking(self, rows: Ints) -> int:
        """How many of these rows should have a page that was not found; what was found is told once."""
        lacking = np.zeros(len(rows), bool)
        for number, (memory, ring) in enumerate(self._rings):
            found = self._found_in(number)
            pages = memory.pages[ring]
            used = np.minimum(memory.fields["count"][rows], pages.ring.length)
            needed = np.arange(pages.count) * pages.slots < used[:, None]
            lacking |= (needed & ~found[rows]).any(axis=1)
            self._found[number] = np.zeros((0, pages.count), bool)
        return int(np.count_nonzero(lacking))

    def _apply_meta(self, value: bytes | None) -> None:
        if value is None:
            self.meta = None
            return
        try:
            written = msgspec.json.decode(value)
            if isinstance(written, dict) and isinstance(written.get("format"), int) and written["format"] > FORMAT:
                raise KafkaStateError(
                    f"the changelog of table {self._state.table.name} is of format {written['format']}, "
                    f"this version reads up to {FORMAT}",
                    "run the newer version of streamfold that wrote it, or `streamfold reset FILE`",
                )
            self.meta = msgspec.convert(written, Meta)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._foreign(META) from error

    def _apply_rows(self, keys: list[bytes], values: list[bytes | None]) -> None:
        raw = [value for value in values if value is not None]
        if any(len(value) != self._dtype.itemsize for value in raw):
            raise self._foreign(ROW)
        table = np.frombuffer(b"".join(raw), self._dtype)
        if not self._sound(table):
            raise self._foreign(ROW)
        if len(raw) != len(values):
            keys, kept = self._delete(keys, values)
            table = table[kept]
        state = self._state
        rows = state.rows(keys)
        state.live += len(np.unique(rows[state.offsets[rows] == NO_OFFSET]))
        state.times[rows] = table["time"]
        state.offsets[rows] = table["offset"]
        for name, memory in state.memories.items():
            for field in memory.layout.fields:
                memory.fields[field.name][rows] = table[f"{name}.{field.name}"]

    def _sound(self, table: npt.NDArray[Any]) -> bool:
        """Whether these rows can have been written: a fold leaves no number that is not finite."""
        sound = (table["format"] == FORMAT) & (table["offset"] >= 0) & np.isfinite(table["time"])
        for name, memory in self._state.memories.items():
            if memory.rings:
                sound &= table[f"{name}.count"] >= 0
            for field in memory.layout.fields:
                # A key whose events an operator could not use has its initial state.
                if np.isfinite(field.initial).all():
                    finite = np.isfinite(table[f"{name}.{field.name}"])
                    sound &= finite.all(axis=tuple(range(1, finite.ndim)))
        return bool(sound.all())

    def _delete(self, keys: list[bytes], values: list[bytes | None]) -> tuple[list[bytes], list[int]]:
        """Forget the keys whose last record is a null.

        The others, and where the last record of each is among those that are not null.
        """
        place = count()
        last = {key: None if value is None else next(place) for key, value in zip(keys, values, strict=True)}
        gone = [key for key, at in last.items() if at is None]
        freed = [row for key in gone if (row := self._state.find(key)) is not None]
        for ring in range(len(self._rings)):
            self._found_in(ring)[freed] = False
        self._state.forget(gone)
        kept = {key: at for key, at in last.items() if at is not None}
        return list(kept), list(kept.values())

    def _apply_pages(self, keys: list[bytes], values: list[bytes | None]) -> None:
        by_ring: dict[int, dict[tuple[bytes, int], bytes | None]] = {}
        for key, value in zip(keys, values, strict=True):
            if len(key) < _PAGE_SUFFIX.size:
                raise self._foreign(PAGE)
            ring, page = _PAGE_SUFFIX.unpack_from(key, len(key) - _PAGE_SUFFIX.size)
            if ring >= len(self._rings) or not self._is_page(ring, page, value):
                raise self._foreign(PAGE)
            by_ring.setdefault(ring, {})[key[: -_PAGE_SUFFIX.size], page] = value
        if not np.isfinite(np.frombuffer(b"".join(value for value in values if value is not None))).all():
            raise self._foreign(PAGE)
        for ring, last in by_ring.items():
            memory, number = self._rings[ring]
            paging = memory.pages[number]
            empty = bytes(paging.page_bytes)
            known = self._state.index.get
            pages = {
                at: empty if value is None else value
                for at, value in last.items()
                if value is not None or known(at[0]) is not None
            }
            rows = self._state.rows([key for key, _ in pages])
            places = np.array([page for _, page in pages], np.int64)
            memory.restore_pages(number, rows, places, b"".join(pages.values()))
            self._found_in(ring)[rows, places] = [last[at] is not None for at in pages]

    def _is_page(self, ring: int, page: int, value: bytes | None) -> bool:
        memory, number = self._rings[ring]
        pages = memory.pages[number]
        return page < pages.count and (value is None or len(value) == pages.page_bytes)

    def _found_in(self, ring: int) -> Mask:
        """Which pages of a ring were found, ``(rows, pages)``."""
        found, size = self._found[ring], len(self._state.times)
        if len(found) < size:
            found = self._found[ring] = np.pad(found, ((0, size - len(found)), (0, 0)))
        return found

    def _apply_ids(self, keys: list[bytes], values: list[bytes | None]) -> None:
        """Those of a table that looks for duplicates no more are let be."""
        pages = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        if any(len(key) != _NUMBER.size for key in keys) or not are_pages([value for _, value in pages]):
            raise self._foreign(IDS)
        if self._state.seen is not None:
            self._state.seen.restore_pages((_NUMBER.unpack(key)[0], value) for key, value in pages)

    def _foreign(self, key: bytes | None) -> KafkaStateError:
        name = self._state.table.name
        return KafkaStateError(
            f"the changelog of table {name} holds a record (key {key!r:.60}) that its operators did not write",
            "see that no one else writes to this topic; `streamfold reset FILE` starts the table anew",
        )


def _slices(raw: bytes, size: int) -> Iterable[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]
