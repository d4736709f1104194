"""The JSON Schema agrees with the constructors about what a file may hold."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from operators import TYPES
from pipeline.core.config import App, Dedupe, KafkaSecurity, Stream, Table
from pipeline.core.config.option import options_of
from pipeline.core.config.schema import schema

GOOD = (Path(__file__).parent / "good.toml").read_text()
INIT = files("pipeline.cli").joinpath("init.toml").read_text()


def mistakes(text: str) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema()).iter_errors(tomllib.loads(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("text", [GOOD, INIT], ids=["good", "init"])
def test_good_files_pass(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("commit_interval", "commit_intervall", "$.app"),
        ('"100ms"', "100", "$.app.commit_interval"),
        ('"100ms"', '"100"', "$.app.commit_interval"),
        ('name = "arcade"', 'name = "ar cade"', "$.app.name"),
        ('format = "float64"', 'format = "float46"', "$.streams.raw.format"),
        ("k = 2", "k = 0", "$.streams.raw.vectors.k"),
        ('stream = "scores"\n', "", "$.tables.player"),
        ('"mean"', '"maen"', "$.tables.player.operators.average"),
        (', value = "score" }', " }", "$.tables.player.operators.average"),
        ('"30s" }', "30 }", "$.tables.player.operators.recent"),
        ('half_life = "30s"', 'heads = ["30s", 60]', "$.tables.player.operators.recent"),
        ('"count" }', '"count", publish = "all" }', "$.tables.player.operators.games"),
        ('output = "pl', 'dedupe = { field = "id", window = 0 }\noutput = "pl', "$.tables.player.dedupe.window"),
        ('output = "pl', 'dedupe = { field = "id", window = "9" }\noutput = "pl', "$.tables.player.dedupe.window"),
        ('key = "player"', "key = []", "$.streams.scores.key"),
        ('key = "player"', "key = [5]", "$.streams.scores.key"),
        ('where = "ok', 'where = 5 # "ok', "$.streams.air.where"),
        ('heat = "', 'heat = 5, hot = "', "$.streams.air.select.heat"),
        ('output = "pl', 'dedupe = { window = 9 }\noutput = "pl', "$.tables.player.dedupe"),
    ],
)
def test_mistakes_do_not(old: str, new: str, path: str) -> None:
    assert mistakes(GOOD.replace(old, new, 1)) == [path]


def test_a_list_of_durations_passes() -> None:
    assert mistakes(GOOD.replace('half_life = "30s"', 'heads = ["30s", "${LONG:-1h}"]')) == []


def test_references_to_the_environment_pass_where_text_is_limited() -> None:
    assert mistakes(GOOD.replace('"100ms"', '"${EVERY:-1s}"').replace('"float64"', '"${FORMAT}"')) == []


def test_an_operator_of_ones_own_passes() -> None:
    assert mistakes(GOOD.replace('"count" }', '"my.module:Own", depth = 3 }')) == []


def test_every_option_of_the_model_and_every_operator_is_in_it() -> None:
    made: dict[str, Any] = schema()["properties"]
    app = made["app"]["properties"]
    table = made["tables"]["additionalProperties"]["properties"]
    assert set(app) == set(options_of(App)) - {"tables", "streams"}
    assert set(app["kafka"]["properties"]) == set(options_of(KafkaSecurity))
    assert set(table["dedupe"]["properties"]) == set(options_of(Dedupe))
    assert set(made["streams"]["additionalProperties"]["properties"]) == set(options_of(Stream)) - {"name"}
    assert set(table) == (set(options_of(Table)) - {"name", "metrics_keys"}) | {"metrics"}
    named = [one["properties"]["type"].get("const") for one in table["operators"]["additionalProperties"]["anyOf"]]
    assert named == [*TYPES, None]
