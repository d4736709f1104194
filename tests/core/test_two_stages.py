"""Folding a commit of events before they are sent on gives what folding the events gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import (
    Corr,
    Count,
    EventRate,
    Ewma,
    First,
    KvMean,
    Last,
    Max,
    Mean,
    Min,
    MovingMean,
    Operator,
    Quantile,
    Std,
    Sum,
    Var,
    WeightedMean,
)
from operators.columns.grouping import Floats
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Shape, State
from pipeline import Table
from pipeline.core.config.model import Dedupe
from pipeline.core.table import Append
from tests.core.hops import SCORES, TOPIC, arrived, batch, hop, kept, results, sent_on

OPERATORS: Mapping[str, Operator] = {
    "count": Count(),
    "sum": Sum(value="x"),
    "mean": Mean(value="x"),
    "weighted": WeightedMean(value="x", weight="w"),
    "var": Var(value="x"),
    "std": Std(value="w"),
    "min": Min(value="x"),
    "max": Max(value="x"),
    "first": First(value="x"),
    "last": Last(value="x"),
    "corr": Corr(value="x", other="w"),
    "recent": Ewma(value="x", half_life="30s"),
    "rate": EventRate(half_life="30s"),
    "pair": KvMean(key="k", value="k"),
}
BY_COMMIT = Table("team", stream=SCORES, operators=OPERATORS, emit="commit")


def two_hops(table: Table, commits: list[list[dict[str, object]]], targets: int = 1) -> tuple[dict[str, Any], int]:
    """Each key's last result, and how many records went between the hops, when each list is a commit of the first."""
    one, sent = hop(table, targets), list[Append]()
    for events in commits:
        one.fold(batch(*events, start=one.position))
        sent += sent_on(one.cut()).values()
    latest = dict[str, Any]()
    for partition in range(targets):
        mine = [append for append in sent if append.partition == partition]
        two = kept(table, partition)
        keys = [key for append in mine for key in append.keys]
        values = [value for append in mine for value in append.values]
        two.fold(arrived(Append(TOPIC, partition, keys, values)))
        latest |= {str(record["key"]): record for record in results(two.cut())}
    return latest, sum(len(append.values) for append in sent)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_folding_in_two_stages_gives_what_folding_the_events_gives(data: st.DataObject) -> None:
    values = st.floats(-1e6, 1e6)
    event = st.builds(
        lambda team, x, w, k: {"team": team, "x": x, "w": w, "k": k},
        st.sampled_from("abc"), values, st.floats(0.1, 10), st.lists(values, min_size=2, max_size=2),
    )  # fmt: skip
    events = [{**e, "ts": 10.0 * n} for n, e in enumerate(data.draw(st.lists(event, min_size=1, max_size=40)))]
    at = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    commits = [events[a:b] for a, b in pairwise([0, *at, len(events)]) if a < b]
    staged, _ = two_hops(BY_COMMIT, commits)
    single, _ = two_hops(replace(BY_COMMIT, ttl="3650d"), commits)
    assert staged.keys() == single.keys()
    for key, record in single.items():
        for name in OPERATORS:
            assert_close(staged[key][name], record[name], events, name)


def assert_close(found: Any, expected: Any, events: list[dict[str, Any]], name: str) -> None:
    if isinstance(expected, dict):
        for part, value in expected.items():
            assert_close(found[part], value, events, name)
    elif expected is None:
        assert found is None
    else:
        largest = max(abs(e["x"]) for e in events) + max(abs(n) for e in events for n in e["k"]) + 1
        size = largest**2 if name in ("var", "pair", "corr") else largest
        assert np.allclose(found, expected, rtol=1e-12, atol=1e-12 * size), (name, found, expected)


def test_ten_events_a_key_and_commit_are_a_tenth_of_the_records() -> None:
    events: list[dict[str, object]] = [{"team": f"t{n % 20}", "ts": n, "x": n, "w": 1, "k": [1, n]} for n in range(200)]
    staged, few = two_hops(BY_COMMIT, [events, events], targets=3)
    single, many = two_hops(replace(BY_COMMIT, ttl="3650d"), [events, events], targets=3)
    assert (few, many) == (40, 400)
    assert [staged[key]["count"] for key in sorted(single)] == [20] * 20


def test_an_event_that_lacks_a_field_is_refused_before_it_is_folded_with_others() -> None:
    one = hop(BY_COMMIT, 1)
    one.fold(batch({"team": "a", "ts": 1, "x": 1}, {"team": "a", "ts": 2, "x": 1, "w": 1, "k": [1, 2]}))
    cut = one.cut()
    (letters,) = [append for append in cut.appends if append.topic == "app-dead-letters"]
    assert letters.values == [b'{"team": "a", "ts": 1, "x": 1}']
    assert len(sent_on(cut)[0].values) == 1


def test_an_operator_that_had_no_event_has_none_after_merging() -> None:
    table = Table("team", stream=SCORES, operators=OPERATORS, emit="commit", missing="skip")
    found, _ = two_hops(table, [[{"team": "a", "ts": 1, "w": 2}], [{"team": "a", "ts": 2, "w": 4}]])
    assert (found["a"]["count"], found["a"]["min"], found["a"]["mean"]) == (2, None, None)
    assert found["a"]["std"] == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("options", "staged"),
    [
        ({}, True),
        ({"emit": "every"}, False),
        ({"ttl": "1h"}, False),
        ({"max_keys": 5}, False),
        ({"dedupe": Dedupe("id", window=5)}, False),
        ({"operators": {"m": MovingMean(value="x", window=3)}}, False),
        ({"operators": {"e": Ewma(value="x", alpha=0.1)}}, False),
        ({"operators": {"q": Quantile(value="x")}}, False),
    ],
)
def test_what_is_folded_in_two_stages(options: dict[str, Any], *, staged: bool) -> None:
    assert replace(BY_COMMIT, **options).two_stage is staged


def test_a_commit_without_events_sends_nothing_on() -> None:
    one = hop(BY_COMMIT)
    assert not sent_on(one.cut())
    one.fold(batch(b"{"))
    assert not sent_on(one.cut())


@dataclass(frozen=True, kw_only=True)
class Lowest(Operator):
    """The lowest value so far, infinite before the first."""

    value: FieldSpec

    @property
    def algebra(self) -> Algebra:
        return "monoid"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("lowest", initial=inf),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        lowest = np.minimum.reduceat(batch.columns["value"], batch.groups.start)
        state["lowest"] = np.minimum(state["lowest"], lowest)
        return None

    def read(self, state: State, query: Floats | None = None) -> Floats:
        return state["lowest"]

    def export(self, state: State) -> list[dict[str, object]]:
        return [{"lowest": lowest} for lowest in state["lowest"].tolist()]

    def merge(self, state: State, other: State) -> None:
        state["lowest"] = np.minimum(state["lowest"], other["lowest"])


def test_a_state_that_begins_infinite_is_merged_once_it_is_not() -> None:
    operators: dict[str, Operator] = {"n": Count(), "lowest": Lowest(value="x")}
    table = Table("team", stream=SCORES, operators=operators, emit="commit", missing="skip")
    assert table.two_stage
    events: list[dict[str, object]] = [{"team": "a", "ts": 1}, {"team": "a", "ts": 2, "x": 5}, {"team": "b", "ts": 3}]
    found, _ = two_hops(table, [[event] for event in events])
    assert (found["a"]["n"], found["a"]["lowest"]) == (2, 5.0)
    assert (found["b"]["n"], found["b"]["lowest"]) == (1, None)
