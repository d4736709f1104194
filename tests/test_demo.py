"""The demonstration: its direct computation is right, its comparison sees every fault, and it ends cleanly."""

from __future__ import annotations

import io
import math
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from pipeline.core.batch import WireBatch
from pipeline.core.config.load import load
from pipeline.core.partition import Identity, Partition
from pipeline.edges.demo import view
from pipeline.edges.demo.board import Board
from pipeline.edges.demo.check import TOLERANCE, TableCheck, check
from pipeline.edges.demo.exact import EXACT, Event
from pipeline.edges.demo.feed import event_time
from pipeline.edges.demo.games import Games
from pipeline.edges.demo.readings import replay

CONFIG = Path(__file__).parent.parent / "pipeline" / "edges" / "demo" / "data" / "demo.toml"
TABLES: dict[str, Any] = tomllib.loads(CONFIG.read_text("utf-8"))["tables"]

Inputs = list[tuple[str, Event, float]]


def inputs(stream_name: str, count: int) -> Inputs:
    """The stream's events, as the demo sends them."""
    stream = load(CONFIG, {}).streams[stream_name]
    events = Games(1).events() if stream_name == "scores" else replay()
    timed = [{"ts": round(1.7e9 + number / 100, 3), **event} for number, event in enumerate(islice(events, count))]
    (key,) = stream.key_fields
    return [(event[key], event, event_time(stream, event)) for event in timed]


def pipeline_of(stream_name: str, events: Inputs) -> dict[str, list[dict[str, Any]]]:
    """What the product publishes, by table, without a broker in between."""
    app = load(CONFIG, {})
    stream = app.streams[stream_name]
    partition = Partition(app, stream, 0, 1)
    partition.resume(0, Identity("id", "source", dict.fromkeys(app.tables, "changelog"), 0, 1_000_000))
    for first in range(0, len(events), 700):
        part = events[first : first + 700]
        last = first + len(part)
        values: list[bytes | None] = [msgspec.json.encode(event) for _, event, _ in part]
        offsets = list(range(first, last))
        partition.fold(WireBatch(stream.topic, 0, first, last, [None] * len(part), values, offsets, [0] * len(part)))
    published = {append.topic: append.values for append in partition.cut().appends}
    return {
        table.name: [msgspec.json.decode(value) for value in published[app.output(table)] if value is not None]
        for table in app.tables_of(stream)
    }


@pytest.fixture(scope="module")
def scores() -> tuple[Inputs, dict[str, list[dict[str, Any]]]]:
    events = inputs("scores", 3_000)
    return events, pipeline_of("scores", events)


def folded(
    kind: str, options: dict[str, Any], events: Sequence[Event], times: Sequence[float] = ()
) -> list[float | None]:
    """The direct result after these events."""
    memory = EXACT[kind](options)
    for number, event in enumerate(events):
        memory.fold(event, times[number] if times else 0.0)
    return [number.value for number in memory.read()]


class TestDirectComputation:
    """Against the worked examples, by hand."""

    def test_mean_of_a_million_and_one(self) -> None:
        events = [{"x": 1500.0}] * 1_000 + [{"x": 2500.0}]
        assert folded("mean", {"value": "x"}, events) == [1_502_500 / 1_001]

    def test_mean_is_exact_where_floats_are_not(self) -> None:
        assert folded("mean", {"value": "x"}, [{"x": 1e16}, {"x": 1.0}, {"x": -1e16}]) == [1 / 3]

    def test_moving_mean(self) -> None:
        events = [{"x": x} for x in (1.0, 3.0, 5.0, 7.0)]
        assert folded("moving_mean", {"value": "x", "window": 3}, events) == [5.0]

    def test_weighted_moving_mean(self) -> None:
        options = {"value": "x", "weights": [0.1, 0.3, 0.6]}
        assert folded("weighted_moving_mean", options, [{"x": x} for x in (2.0, 1.0, 5.0)]) == [pytest.approx(3.5)]
        assert folded("weighted_moving_mean", options, [{"x": x} for x in (4.0, 3.0, 0.0)]) == [pytest.approx(1.3)]

    def test_ewma_by_events(self) -> None:
        assert folded("ewma", {"value": "x", "alpha": 0.5}, [{"x": 1.0}, {"x": 4.0}]) == [pytest.approx(3.0)]

    def test_ewma_by_time_in_any_order(self) -> None:
        options = {"value": "x", "half_life": "10s"}
        for events, times in (([1.0, 4.0], [0.0, 10.0]), ([4.0, 1.0], [10.0, 0.0])):
            assert folded("ewma", options, [{"x": x} for x in events], times) == [pytest.approx(3.0)]

    def test_kv_mean(self) -> None:
        events = [{"k": [1.0, 2.0], "v": [10.0]}, {"k": [3.0, 4.0], "v": [20.0]}]
        expected = [2.0, 3.0, 15.0, pytest.approx(18 / math.sqrt(2))]
        assert folded("kv_mean", {"key": "k", "value": "v"}, events) == expected

    def test_kv_window(self) -> None:
        events = [{"k": [9.0], "v": [9.0]}, {"k": [0.0], "v": [1.0]}, {"k": [1.0], "v": [2.0]}]
        expected = [pytest.approx((1 + 2 * math.e) / (1 + math.e))]
        assert folded("kv_window", {"key": "k", "value": "v", "window": 2}, events) == expected

    def test_linear_attention(self) -> None:
        pairs = [([1.0, 0.0], [3.0, 4.0]), ([0.0, 2.0], [5.0, 6.0]), ([1.0, 1.0], [7.0, 8.0])]
        options = {"key": "k", "value": "v", "feature_map": "identity"}
        assert folded("linear_attention", options, [{"k": k, "v": v} for k, v in pairs]) == pytest.approx([5.4, 6.4])

    def test_linear_attention_is_undefined_where_nothing_answers(self) -> None:
        events = [{"k": [1.0, 0.0], "v": [3.0]}, {"k": [0.0, -1.0], "v": [3.0]}]
        options = {"key": "k", "value": "v", "feature_map": "relu"}
        assert folded("linear_attention", options, events) == [None]


@pytest.mark.parametrize("stream", ["scores", "readings"])
def test_the_product_agrees_with_the_direct_computation(stream: str) -> None:
    events = inputs(stream, 3_000)
    for table, outputs in pipeline_of(stream, events).items():
        found = check(table, TABLES[table]["operators"], events, outputs)
        assert found.agrees, found
        assert found.outputs > 2_000
        assert set(found.errors) == set(TABLES[table]["operators"])


def test_an_event_that_no_operator_can_use_has_no_result() -> None:
    events = inputs("readings", 3_000)
    due = sum("pressure" in event and "temp" in event for _, event, _ in events)
    found = check("climate", TABLES["climate"]["operators"], events, pipeline_of("readings", events)["climate"])
    assert found.expected == due < len(events)


def lose(outputs: list[dict[str, Any]]) -> None:
    del outputs[1_000]


def repeat(outputs: list[dict[str, Any]]) -> None:
    outputs.insert(1_000, outputs[1_000])


def swap(outputs: list[dict[str, Any]]) -> None:
    places = [i for i, output in enumerate(outputs) if output["key"] == "ada"][10:12]
    outputs[places[0]], outputs[places[1]] = outputs[places[1]], outputs[places[0]]


def move(outputs: list[dict[str, Any]]) -> None:
    next(output for output in outputs[1_000:] if output["key"] == "ada")["partition"] = 1


def bend(outputs: list[dict[str, Any]]) -> None:
    outputs[1_000]["average"] *= 1 + 1e-11


def forget(outputs: list[dict[str, Any]]) -> None:
    outputs[1_000]["last_20"] = None


def omit(outputs: list[dict[str, Any]]) -> None:
    del outputs[1_000]["form"]


def invent(outputs: list[dict[str, Any]]) -> None:
    outputs.append({**outputs[-1], "key": "nobody"})


@pytest.mark.parametrize("fault", [lose, repeat, swap, move, bend, forget, omit, invent])
def test_the_comparison_sees(
    fault: Callable[[list[dict[str, Any]]], None], scores: tuple[Inputs, dict[str, list[dict[str, Any]]]]
) -> None:
    events, outputs = scores
    faulty = deepcopy(outputs["player"])
    fault(faulty)
    assert not check("player", TABLES["player"]["operators"], events, faulty).agrees


def test_an_error_up_to_the_tolerance_is_none() -> None:
    assert TableCheck("t", 1, 1, 1, 1, 0, {"x": TOLERANCE}).agrees
    assert not TableCheck("t", 1, 1, 1, 1, 0, {"x": 2 * TOLERANCE}).agrees


def test_the_view_shows_the_newest_results(scores: tuple[Inputs, dict[str, list[dict[str, Any]]]]) -> None:
    board = Board("127.0.0.1:1", "http://127.0.0.1:2")
    for stream in ("scores", "readings"):
        for table, outputs in pipeline_of(stream, inputs(stream, 500)).items():
            for record in outputs:
                board.add(table, record)
    board.tick()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(view.live(board))
    text = console.export_text()
    newest = board.latest["player"]["ada"]
    assert f"{newest['average']:.3f}" in text
    assert all(station in text for station in ("EWR", "JFK", "LGA"))
    assert f"ada: {newest['games']} games" in view.line(board)


def demo(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.cli", "demo", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def await_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    assert any(text in line for line in process.stdout)


def descendants(pid: int) -> set[int]:
    psutil = pytest.importorskip("psutil")
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


def gone(pids: set[int], seconds: float = 15) -> bool:
    psutil = pytest.importorskip("psutil")
    deadline = time.monotonic() + seconds
    while alive := {pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"}:
        if time.monotonic() > deadline:
            return not alive
        time.sleep(0.1)
    return True


def test_it_ends_by_itself_and_says_that_it_agrees(kafka: str) -> None:
    process = demo("--seconds", "4", "--broker", kafka)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert re.search(r"[\d,]+ results, each exactly once, in order, and right to 1e-12", output)
    for table, settings in TABLES.items():
        assert table in output
        assert all(name in output for name in settings["operators"])


@pytest.mark.parametrize(
    ("number", "moment", "embedded"),
    [
        (signal.SIGINT, "starting the embedded Kafka", True),
        (signal.SIGINT, "results", True),
        (signal.SIGTERM, "results", False),
    ],
)
def test_a_signal_ends_all_of_it(kafka: str, number: signal.Signals, moment: str, embedded: bool) -> None:
    process = demo() if embedded else demo("--broker", kafka)
    await_line(process, moment)
    children = descendants(process.pid)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert gone(children)


def test_kill_takes_children_and_files_along(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = demo("--broker", kafka)
    await_line(process, "results")
    children = descendants(process.pid)
    assert children
    assert list(tmp_path.iterdir())
    process.kill()
    process.communicate(timeout=60)
    assert gone(children)
    deadline = time.monotonic() + 60
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.iterdir())
