"""A changelog that lost its head: what is restored from the rest is the state, or is refused. Never something else."""

from __future__ import annotations

import random

import pytest

from operators import Count, KvWindow, MovingMean, MovingSum, Operator
from pipeline import App
from pipeline.core.changelog import Changelog
from pipeline.core.partition import Partition
from pipeline.core.table import TablePartition
from tests.core.lifetimes import STREAM, Log, Sent

OPERATORS: dict[str, Operator] = {
    "n": Count(),
    "sum": MovingSum(value="x", window=70),
    "last": MovingMean(value="x", window=300),
    "exact": MovingMean(value="x", window="2h", max_events=150),
    "pairs": KvWindow(key=["x"], value=["x"], window=40),
}
Record = tuple[bytes, bytes | None]


def history(seed: int, count: int) -> list[Sent]:
    """A few keys, of which some are rare, and now and then one is deleted."""
    chance = random.Random(seed)
    return [
        Sent(f"k{int(chance.paretovariate(0.6)) % 7}", float(n), None if chance.random() < 0.01 else chance.random())
        for n in range(count)
    ]


def logged(log: Log, sent: list[Sent], size: int) -> list[Record]:
    """All records that commits of so many events write, in their order."""
    records: list[Record] = []
    for at in range(0, len(sent), size):
        log.fold(sent[at : at + size])
        (append,) = (append for append in log.commit().appends if append.topic == "app-t-changelog")
        records += [(key or b"", value) for key, value in zip(append.keys, append.values, strict=True)]
    return records


def restored(log: Log, records: list[Record]) -> tuple[TablePartition, Changelog]:
    """What a restore makes of these records."""
    table = Partition(App("app", tables=[log.table]), STREAM, 0, 1).tables["t"]
    for at in range(0, len(records), 7):
        part = records[at : at + 7]
        table.changelog.apply([key for key, _ in part], [value for _, value in part])
    table.changelog.finish()
    return table, table.changelog


def shown(table: TablePartition) -> dict[bytes, object]:
    """All that is known of each key."""
    keys = list(table.state.index)
    return dict(zip(keys, table.entries(table.state.index.rows(keys)), strict=True))


@pytest.mark.parametrize("size", [40, 400])
def test_what_is_left_of_a_changelog_is_the_state_or_is_refused(size: int) -> None:
    log = Log(operators=OPERATORS)
    records = logged(log, history(size, 1_500), size)
    whole = shown(log.partition.tables["t"])
    chance = random.Random(size)
    for lost in [0, *chance.sample(range(1, len(records)), 25), len(records)]:
        table, changelog = restored(log, records[lost:])
        refused = changelog.trouble is not None or changelog.meta is None or changelog.meta.keys != table.state.live
        assert refused or shown(table) == whole, f"without the first {lost} of {len(records)} records"
        assert lost or not refused


def test_the_key_whose_inputs_are_gone_is_named() -> None:
    log = Log(operators={"last": MovingMean(value="x", window=300)})
    records = logged(log, [Sent("a", 0.0, float(n)) for n in range(300)], size=10)
    last = {key: place for place, (key, _) in enumerate(records)}
    first_page = min(place for key, place in last.items() if key.startswith(b"P"))
    assert restored(log, records[first_page:])[1].trouble is None
    trouble = restored(log, records[first_page + 1 :])[1].trouble
    assert trouble is not None
    assert "lacks inputs of 1 key" in trouble.cause
    assert "reset" in trouble.mend


def test_a_key_in_the_row_of_a_deleted_one_has_to_have_its_own_inputs() -> None:
    log = Log(operators={"last": MovingMean(value="x", window=300)})
    sent = [Sent("a", 0.0, 1.0)] * 200 + [Sent("a", 0.0, None)] + [Sent("b", 0.0, 1.0)] * 200
    records = logged(log, sent, size=100)
    first_page = b"Pb" + bytes(6)
    assert restored(log, records)[1].trouble is None
    assert restored(log, [record for record in records if record[0] != first_page])[1].trouble is not None
