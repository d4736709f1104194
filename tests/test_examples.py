"""The examples are valid, their input is what they say it is, and they show every operator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from itertools import islice
from pathlib import Path

import pytest

import operators
from pipeline.core.batch import WireBatch
from pipeline.core.config.load import load
from pipeline.core.config.model import App, Stream
from pipeline.core.decode import Decoder
from pipeline.edges.demo.games import Games
from pipeline.edges.demo.readings import read, replay

ROOT = Path(__file__).parent.parent
DATA = ROOT / "pipeline" / "edges" / "demo" / "data"
FILES = [*sorted((ROOT / "examples").glob("*.toml")), DATA / "demo.toml"]
BASIC = {
    operators.Count,
    operators.Mean,
    operators.MovingMean,
    operators.WeightedMovingMean,
    operators.Ewma,
    operators.KvMean,
    operators.KvWindow,
    operators.LinearAttention,
}


def undecodable(app: App, stream: Stream, events: list[dict[str, object]]) -> list[str]:
    """Why events are refused by the decoder that the app would use."""
    shapes = app.fields_read(stream)
    decoder = Decoder(
        stream,
        [field for field, shape in shapes.items() if not shape],
        {field: shape[0] for field, shape in shapes.items() if shape},
    )
    values: list[bytes | None] = [json.dumps(event).encode() for event in events]
    count = len(values)
    keys: list[bytes | None] = [None] * count
    _, rejects = decoder.decode(WireBatch(stream.topic, 0, 0, count, keys, values, list(range(count)), [0] * count))
    return [reject.reason for reject in rejects]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_valid(path: Path) -> None:
    assert load(path, {}).tables


@pytest.mark.parametrize("paths", [FILES[:-1], FILES[-1:]], ids=["examples", "demo"])
def test_every_basic_operator_is_shown(paths: list[Path]) -> None:
    shown = [
        operator for path in paths for table in load(path, {}).tables.values() for operator in table.operators.values()
    ]
    assert {type(operator) for operator in shown} >= BASIC
    decays = [operator for operator in shown if isinstance(operator, operators.Ewma)]
    assert any(decay.alpha is not None for decay in decays)
    assert any(decay.half_life is not None for decay in decays)


@pytest.mark.parametrize(
    ("path", "stream"), [(ROOT / "examples" / "arcade.toml", "scores"), (DATA / "demo.toml", "scores")]
)
def test_the_games_fit_the_streams(path: Path, stream: str) -> None:
    app = load(path, {})
    events = [{**score, "ts": 1.7e9} for score in islice(Games(3).events(), 500)]
    assert undecodable(app, app.streams[stream], events) == []


@pytest.mark.parametrize("path", [ROOT / "examples" / "weather.toml", DATA / "demo.toml"], ids=lambda path: path.name)
def test_the_readings_fit_the_streams(path: Path) -> None:
    app = load(path, {})
    assert undecodable(app, app.streams["readings"], list(islice(replay(), 7_000))) == []


def test_the_readings_are_a_small_slice_with_real_gaps_and_an_attribution() -> None:
    data = files("pipeline.edges.demo") / "data"
    assert len((data / "weather.csv").read_bytes()) <= 200_000
    assert "CC0" in (data / "ATTRIBUTION.md").read_text("utf-8")
    readings = read()
    assert {reading["origin"] for reading in readings} == {"EWR", "JFK", "LGA"}
    for field in ("temp", "pressure", "wind_gust"):
        assert 0 < sum(field in reading for reading in readings) < len(readings)


def test_the_example_ships_the_same_readings() -> None:
    assert (ROOT / "examples" / "weather.csv").read_bytes() == (DATA / "weather.csv").read_bytes()


def test_replayed_readings_only_move_forward() -> None:
    times = [reading["time_hour"] for reading in islice(replay(), 2 * len(read()) + 10)]
    assert times == sorted(times)
    assert times[len(read())] > times[len(read()) - 1]


def test_the_same_seed_gives_the_same_games() -> None:
    first, again, other = (list(islice(Games(seed).events(), 2_500)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_a_few_players_play_most_games_and_scores_are_plausible() -> None:
    games = list(islice(Games(1).events(), 20_000))
    played = Counter(game["player"] for game in games)
    assert len(played) > 150
    assert sum(count for _, count in played.most_common(10)) > len(games) / 3
    assert all(0 < game["score"] < 30_000 for game in games)
    assert 1_000 < sum(game["score"] for game in games) / len(games) < 3_000


def test_the_generator_prints_a_document_a_line() -> None:
    command = [sys.executable, str(ROOT / "examples" / "games.py"), "--rate", "0", "--events", "20", "--seed", "5"]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    ).stdout.splitlines()
    printed = [json.loads(line) for line in lines]
    assert [{name: game[name] for name in game if name != "ts"} for game in printed] == list(
        islice(Games(5).events(), 20)
    )


def test_the_attribution_counts_the_gaps_as_they_are() -> None:
    readings = read()
    missing = {field: sum(field not in reading for reading in readings) for field in ("wind_gust", "pressure", "temp")}
    hours = 46 * 24 * 3
    assert (missing["wind_gust"], missing["pressure"], missing["temp"]) == (2_929, 260, 1)
    assert hours - len(readings) == 16
