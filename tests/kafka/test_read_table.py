"""`read_table`: the latest results of a table as columns, and what pandas, Polars and a notebook make of them."""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline.edges.frame import TableFrame
from pipeline.edges.kafka.subscribe import Update, Updates
from pipeline.errors import InputError, KafkaStateError, RunError
from tests.cli.pipelines import Pipeline, games, pipeline_in

RECORDS: list[dict[str, Any]] = [
    {
        "key": "ada",
        "time": 1_763_690_000.123,
        "partition": 0,
        "offset": 7,
        "games": 3,
        "average": 2.5,
        "memory": {"value": [1.0, 2.0], "error": None},
        "mu.state": {"mu": [[1, 2], [3, 4]]},
    },
    {
        "key": "<b>",
        "time": 1e18,
        "partition": 1,
        "offset": 9,
        "games": 1,
        "average": None,
        "memory": {"value": None, "error": [0.5, 0.5]},
        "mu.state": {"mu": [[5, 6], [7, 8]]},
    },
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Pipeline:
    """With 23 events folded, of five players."""
    source = pipeline_in(tmp_path_factory.mktemp("frame"), kafka, f"frame-{uuid.uuid4().hex[:8]}")
    source.send(games(23))
    with source.working():
        assert source.run("watch", "player", "--from-start", "--limit", "23").returncode == 0
    return source


# Read from a topic


def test_the_latest_committed_result_of_each_key(source: Pipeline) -> None:
    frame = pipeline.read_table(source.file, "player")
    assert list(frame.columns) == ["key", "time", "partition", "offset", "games", "average"]
    assert frame.columns["key"].tolist() == [f"player-{number}" for number in range(5)]
    assert frame.columns["games"].tolist() == [5, 5, 5, 4, 4]
    assert frame.columns["average"].tolist() == [10.0, 11.0, 12.0, 10.5, 11.5]
    assert frame.columns["time"].max() == 1_700_000_022

    value = b'{"key":"%s","time":0.5,"partition":0,"offset":%d,"games":1,"average":0.0}'
    source.publish([(b"eve", value % (b"eve", 1)), (b"bob", value % (b"bob", 2))], commit=True)
    source.publish([(b"eve", value % (b"eve", 3)), (b"mallory", value % (b"mallory", 4))], commit=False)
    source.publish([(b"bob", None)], commit=True)
    frame = pipeline.read_table(source.app, "player")
    assert frame.columns["key"].tolist() == ["eve", *(f"player-{number}" for number in range(5))]
    assert frame.columns["offset"][0] == 1


def test_what_cannot_be_read_says_why_and_what_to_do(source: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='unknown table "players", expected "player"'):
        pipeline.read_table(source.file, "players")
    other = tmp_path / "other.toml"
    other.write_text(source.file.read_text().replace(source.app.name, "nobodys"))
    with pytest.raises(KafkaStateError, match="topic nobodys-player does not exist") as caught:
        pipeline.read_table(other, "player")
    assert caught.value.__notes__ == ["hint: `streamfold run FILE` makes it"]
    unreachable = tmp_path / "nobody.toml"
    unreachable.write_text(source.file.read_text().replace(source.app.brokers, "127.0.0.1:1"))
    with pytest.raises(KafkaStateError, match=r"127\.0\.0\.1:1"):
        pipeline.read_table(unreachable, "player", timeout=0.5)


def test_a_topic_that_takes_too_long_says_how_far_it_came(source: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Updates) -> Iterator[Update]:
        time.sleep(0.1)
        return iter(())

    monkeypatch.setattr(Updates, "_poll", nothing)
    with pytest.raises(RunError, match=r"was not read to its end within 5 s: 0 of \d+ records were read"):
        pipeline.read_table(source.file, "player", timeout=5)


# Columns


def test_columns_are_numbers_vectors_or_objects() -> None:
    columns = TableFrame.of("player", RECORDS).columns
    assert columns["games"].dtype == np.int64
    assert columns["average"].dtype == np.float64
    assert np.isnan(columns["average"][1])
    assert columns["key"].tolist() == ["ada", "<b>"]
    np.testing.assert_array_equal(columns["memory.value"], [[1, 2], [np.nan, np.nan]])
    np.testing.assert_array_equal(columns["memory.error"], [[np.nan, np.nan], [0.5, 0.5]])
    assert columns["mu.state.mu"].shape == (2, 2, 2)
    nested = TableFrame.of("player", RECORDS, flatten=False).columns
    assert nested["memory"].tolist() == [record["memory"] for record in RECORDS]
    assert "memory.value" not in nested


def test_columns_of_records_that_differ() -> None:
    head = {"key": "a", "time": 0.0, "partition": 0, "offset": 0}
    records = [head | {"vector": [1, 2], "big": 2**70}, head | {"vector": [1], "added": 7, "big": 1}]
    columns = TableFrame.of("player", records).columns
    assert columns["vector"].tolist() == [[1, 2], [1]]
    assert columns["big"].tolist() == [2**70, 1]
    assert np.isnan(columns["added"][0])
    assert columns["added"][1] == 7


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = TableFrame.of("player", RECORDS).to_pandas()
    assert frame.index.tolist() == ["ada", "<b>"]
    assert frame.loc["ada", "time"] == pandas.Timestamp("2025-11-21T01:53:20.123Z")
    assert pandas.isna(frame.loc["<b>", "time"])
    assert frame.loc["ada", "average"] == 2.5
    assert frame.loc["ada", "memory.value"].tolist() == [1, 2]
    assert TableFrame.of("player", RECORDS, flatten=False).to_pandas().loc["ada", "memory"]["value"] == [1, 2]
    assert len(TableFrame.of("player", []).to_pandas()) == 0


def test_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = TableFrame.of("player", RECORDS).to_polars()
    assert frame["key"].to_list() == ["ada", "<b>"]
    assert frame["time"].dtype == polars.Datetime("ms", "UTC")
    assert f"{frame['time'][0]:%Y-%m-%d %H:%M:%S.%f}" == "2025-11-21 01:53:20.123000"
    assert frame["memory.value"][0].to_list() == [1, 2]
    nested = TableFrame.of("player", RECORDS, flatten=False).to_polars()
    assert nested["memory"][0]["value"] == [1, 2]
    assert len(TableFrame.of("player", []).to_polars()) == 0


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_without_the_library_it_is_said_which(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    frame = TableFrame.of("player", RECORDS)
    with pytest.raises(ImportError, match=f"to_{name} needs {name}: pip install {name}"):
        getattr(frame, f"to_{name}")()


def test_a_notebook_shows_the_first_rows_and_nothing_that_a_key_smuggles_in() -> None:
    html = TableFrame.of("player", RECORDS)._repr_html_()
    assert "<b>" not in html
    assert "<td>&lt;b&gt;</td>" in html
    assert "<td>2025-11-21 01:53:20.123</td>" in html
    assert "<td>[1.0, 2.0]</td>" in html
    assert "player: 2 keys<" in html
    many = TableFrame.of("player", [RECORDS[0] | {"key": str(number)} for number in range(1_000)])
    assert "1,000 keys, the first 20 are shown" in many._repr_html_()
    assert len(re.findall("<tr>", many._repr_html_())) == 21
    assert repr(many).startswith("<TableFrame player: 1,000 keys, key, time, partition, offset, games")
    assert len(many) == 1_000
