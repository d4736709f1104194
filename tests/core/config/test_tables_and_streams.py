"""Tables of several streams, and tables of other tables' results."""

from __future__ import annotations

from typing import Any

import pytest

from operators import Count, Mean
from operators.operator import Operator
from pipeline import App, Stream, Table
from pipeline.core.config.load import loads
from pipeline.core.config.problem import ConfigError
from pipeline.core.config.repartition import Hop, rewritten

OPERATORS: dict[str, Operator] = {"n": Count(), "mean": Mean(value="x")}
NORTH = Stream("north", topic="north", key="site", repartition=True)
SOUTH = Stream("south", topic="south", key="place", format="msgpack", repartition=True)


def table(name: str, *streams: Stream, **options: Any) -> Table:
    return Table(name, streams=streams, operators=OPERATORS, **options)


def problems(**made: Any) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as refusal:
        App("app", **made)
    return [(".".join(map(str, problem.path)), problem.message) for problem in refusal.value.problems]


def test_several_streams_meet_in_one_topic_each_by_a_hop_of_its_own() -> None:
    app = rewritten(App("app", tables=[table("sites", NORTH, SOUTH)]))
    hops = [made for made in app.tables.values() if isinstance(made, Hop)]
    assert [(made.name, made.stream.name, made.number) for made in hops] == [
        ("sites-north-repartition", "north", 0),
        ("sites-south-repartition", "south", 1),
    ]
    assert {app.output(made) for made in hops} == {"app-sites-repartition"} == {app.tables["sites"].stream.topic}
    assert app.sources == (hops[0].stream, hops[1].stream)


def test_a_table_of_several_streams_in_a_file() -> None:
    text = """
    [app]
    name = "app"
    [streams.north]
    topic = "north"
    repartition = true
    [streams.south]
    topic = "south"
    repartition = true
    [tables.sites]
    streams = ["north", "south"]
    [tables.sites.operators]
    n = { type = "count" }
    """
    assert [stream.name for stream in loads(text).tables["sites"].streams] == ["north", "south"]
    for wrong, message in [
        ('["north", "sout"]', 'unknown stream "sout"'),
        ("[]", "expected the names of streams"),
        ('"north"', "expected the names of streams"),
        ('["north", "north"]', "expected each stream once"),
        ('["north", "south"]\nstream = "north"', "in place of stream"),
    ]:
        with pytest.raises(ConfigError) as refusal:
            loads(text.replace('["north", "south"]', wrong))
        assert message in str(refusal.value)


def test_several_streams_have_to_be_repartitioned_and_alike() -> None:
    plain = Stream("plain", topic="plain")
    with pytest.raises(ConfigError, match="repartition = true"):
        table("sites", NORTH, plain)
    vector = Stream("vector", topic="vector", vectors={"x": 2}, repartition=True)
    with pytest.raises(ConfigError, match="as in the first one"):
        table("sites", NORTH, vector)
    with pytest.raises(ConfigError, match="there is a stream"):
        Table("sites", stream=plain, streams=[NORTH, SOUTH], operators=OPERATORS)
    with pytest.raises(ConfigError, match="several as streams"):
        Table("sites", operators=OPERATORS)


def test_the_meaning_of_state_is_that_of_all_streams() -> None:
    one, two = table("sites", NORTH), table("sites", NORTH, SOUTH)
    assert App("app", [one]).fingerprint(one) != App("app", [two]).fingerprint(two)


def chained(name: str, upstream: str, **options: Any) -> Table:
    return Table(name, stream=Stream(f"{upstream}-results", topic=f"app-{upstream}", **options), operators=OPERATORS)


def test_a_table_may_be_made_of_another_ones_results() -> None:
    first, second = Table("first", stream=Stream("raw", topic="raw"), operators=OPERATORS), chained("second", "first")
    app = App("app", tables=[second, first])
    assert app.sources == (first.stream,)
    assert app.feeder(second.stream) is first


def test_a_cycle_of_tables_is_refused_whoever_begins_it() -> None:
    found = problems(tables=[chained("a", "c"), chained("b", "a"), chained("c", "b")])
    assert found == [
        (
            "tables.a.stream",
            'found a cycle of tables, "b" -> "c" -> "a" -> "b", expected a stream that no table makes of this one\'s '
            "results",
        )
    ]


def test_a_table_beside_a_cycle_is_not_blamed_for_it() -> None:
    beside = Table("beside", stream=Stream("a-results", topic="app-a"), operators=OPERATORS)
    (found,) = problems(tables=[beside, chained("b", "a"), chained("a", "b")])
    assert found[0] != "tables.beside.stream"


def test_results_are_read_as_they_are_written_and_by_one_stream() -> None:
    first = Table("first", stream=Stream("raw", topic="raw"), operators=OPERATORS)
    assert problems(tables=[first, chained("second", "first", format="msgpack")]) == [
        ("streams.first-results.format", 'found "msgpack", expected "json": tables publish JSON')
    ]
    other = Table("third", stream=Stream("again", topic="app-first"), operators=OPERATORS)
    (found,) = problems(tables=[first, chained("second", "first"), other])
    assert found[0] == "streams.again.topic"
