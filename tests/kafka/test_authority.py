"""What does not belong together, all of it, without a broker. The rules tests see that a worker ends with it."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from operators import Count
from pipeline import App, Stream, Table
from pipeline.core.changelog import FORMAT, Changelog, Meta
from pipeline.core.partition import Partition
from pipeline.core.table import TablePartition
from pipeline.edges.kafka.admin import Bounds
from pipeline.edges.kafka.authority import catching_up, contradictions, grown, strange
from pipeline.edges.kafka.commit import OWN
from pipeline.edges.kafka.topic_spec import TopicInfo

STREAM = Stream("scores", topic="scores")
TP = TopicPartition("scores", 1)
NAMES = ("one", "two")
OWN_ID = "streamfold/app/scores/1"


def _topic(name: str, partitions: int = 2) -> TopicInfo:
    return TopicInfo(name, f"id-of-{name}", partitions, 1, "delete", 1_000_000, 1, frozenset())


APP = App("app", tables=[Table(name, stream=STREAM, operators={"n": Count()}) for name in NAMES])
TOPICS = {name: _topic(name) for name in ("scores", "app-one-changelog", "app-two-changelog")}


def _meta(table: str, next_offset: int = 5, **changes: Any) -> Meta:
    right: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": APP.fingerprint(APP.tables[table]),
        "transactional_id": OWN_ID,
        "source_id": "id-of-scores",
        "changelog_id": f"id-of-app-{table}-changelog",
        "next_offset": next_offset,
        "keys": 0,
    }
    return Meta(**(right | changes))


def _restored(**changes: Any) -> dict[str, TablePartition]:
    """Both tables, restored from logs whose meta records are right but for these ``changes``."""
    tables = Partition(APP, STREAM, 1, 2).tables
    for name, table in tables.items():
        key, value = Changelog.meta_record(_meta(name, **changes))
        table.changelog.apply([key], [value])
    return tables


def test_what_belongs_together_is_no_trouble() -> None:
    tables = _restored()
    assert list(grown(TP, tables, TOPICS)) == []
    assert list(strange(TP, tables, TOPICS, OWN_ID)) == []


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("fingerprint", "of others", "operators of table {} changed"),
        ("transactional_id", "streamfold/other/scores/1", "table {} was written under the transactional id"),
        ("source_id", "former", "scores was deleted and made again since table {} read it"),
        ("changelog_id", "former", "app-{}-changelog was deleted and made again"),
        ("keys", 1, "app-{}-changelog-1 should hold 1 keys, not 0"),
    ],
)
def test_each_table_that_is_strange_is_named(field: str, value: object, why: str) -> None:
    causes = [trouble.cause for trouble in strange(TP, _restored(**{field: value}), TOPICS, OWN_ID)]
    assert len(causes) == len(NAMES)
    for name, cause in zip(NAMES, causes, strict=True):
        assert why.format(name) in cause


def test_records_of_others_are_told_for_each_table() -> None:
    tables = Partition(APP, STREAM, 1, 2).tables
    for table in tables.values():
        table.changelog.apply([b"Xkey"], [b""])
    assert len(list(strange(TP, tables, TOPICS, OWN_ID))) == len(NAMES)


def test_every_topic_that_has_too_few_partitions_is_named() -> None:
    topics = {name: _topic(name, 1) for name in ("app-one-changelog", "app-one", "app-two")}
    tables = Partition(APP, STREAM, 1, 2).tables
    causes = [trouble.cause for trouble in grown(TP, tables, topics | {"app-two-changelog": _topic("-", 2)})]
    assert [name in cause for name, cause in zip(topics, causes, strict=True)] == [True, True, True]


@pytest.mark.parametrize(
    ("one", "two", "committed", "source", "whys"),
    [
        (5, 5, 5, (0, 9), []),
        (5, 5, None, (0, 9), []),
        (None, None, None, (0, 9), []),
        (5, 5, 5, (5, 5), []),
        (5, 5, 4, (0, 9), ["the state ends at 5, the group is at 4"]),
        (5, 5, 5, (6, 9), ["goes on at 5, but the topic holds only 6 to 9"]),
        (5, 5, 5, (0, 4), ["goes on at 5, but the topic holds only 0 to 4"]),
        (None, None, 3, (0, 9), ["table one, two has no state, but scores-1 is folded up to 3"]),
        (None, 5, None, (0, 9), ["table one has no state, but scores-1 is folded up to 5"]),
        (
            5,
            None,
            7,
            (0, 9),
            ["table two has no state, but scores-1 is folded up to 7", "ends at 5, the group is at 7"],
        ),
        (5, 7, 5, (0, 9), ["speak of different offsets: [5, 7]"]),
        (5, 7, 5, (8, 9), ["speak of different offsets: [5, 7]"]),
    ],
)
def test_all_that_contradicts_is_told(
    one: int | None, two: int | None, committed: int | None, source: tuple[int, int], whys: list[str]
) -> None:
    metas = {
        name: None if offset is None else _meta(name, offset) for name, offset in zip(NAMES, (one, two), strict=True)
    }
    causes = [trouble.cause for trouble in contradictions(TP, metas, committed, Bounds(*source))]
    assert len(causes) == len(whys)
    for why, cause in zip(whys, causes, strict=True):
        assert why in cause


@pytest.mark.parametrize(
    ("written", "commit", "expected"),
    [
        ([5], OffsetAndMetadata(4, OWN), True),
        ([5], OffsetAndMetadata(5, OWN), False),
        ([5], OffsetAndMetadata(6, OWN), False),
        ([5], OffsetAndMetadata(4, ""), False),
        ([5], None, False),
        ([5, 6], OffsetAndMetadata(4, OWN), False),
        ([5, None], OffsetAndMetadata(4, OWN), False),
        ([None], OffsetAndMetadata(4, OWN), False),
    ],
)
def test_an_older_offset_of_our_own_is_one_that_nobody_moved(
    written: list[int | None], commit: OffsetAndMetadata | None, expected: bool
) -> None:
    metas = {
        name: None if offset is None else _meta(name, offset) for name, offset in zip(NAMES, written, strict=False)
    }
    assert catching_up(metas, commit) is expected
