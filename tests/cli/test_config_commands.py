"""The commands that need no broker, and what every command does with options and errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from pipeline.cli import main
from pipeline.cli.main import COMMANDS
from pipeline.errors import KafkaStateError


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arcade.toml"
    assert call("init", path).exit_code == 0
    return path


@pytest.fixture
def wrong(file: Path) -> Path:
    file.write_text(file.read_text().replace('emit = "every"', 'emit = "evry"', 1))
    return file


def test_init_writes_a_file_that_is_valid_also_with_every_comment_switched_on(file: Path) -> None:
    assert call("validate", file).stdout == f"{file}: ok: arcade: 2 streams, 2 tables, 8 operators\n"
    text = file.read_text()
    lines = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in text.splitlines()]
    file.write_text(re.sub(r"\$\{\w+\}", "0123456789abcdef", "\n".join(lines)))
    assert any(line.startswith("[app.kafka]") for line in lines)
    result = call("validate", file)
    assert result.exit_code == 0, result.stderr


def test_init_refuses_to_write_over_a_file(file: Path) -> None:
    file.write_text("mine")
    result = call("init", file)
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert "--force" in result.stderr
    assert file.read_text() == "mine"
    assert call("init", file, "--force").exit_code == 0
    assert call("validate", file).exit_code == 0


def test_init_names_its_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("init").exit_code == 0
    assert (tmp_path / "streamfold.toml").exists()


def test_init_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = call("init", tmp_path / "no" / "x.toml")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_validate_tells_each_mistake_in_a_line(wrong: Path) -> None:
    result = call("validate", wrong)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    line = wrong.read_text().splitlines().index(next(x for x in wrong.read_text().splitlines() if "evry" in x)) + 1
    assert first == f'error: {wrong}:{line}: tables.player.emit: found "evry", expected "every" or "commit"'
    assert hint.startswith("hint: ")


def test_validate_as_json(file: Path) -> None:
    answer = json.loads(call("validate", file, "--json").stdout)
    assert answer["ok"] is True
    assert answer["config"]["tables"]["player"]["output"] == "player-averages"


def test_validate_as_json_with_mistakes(wrong: Path) -> None:
    result = call("validate", "--json", wrong)
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert [problem["path"] for problem in answer["problems"]] == ["tables.player.emit"]


@pytest.mark.parametrize("command", ["validate", "describe"])
def test_a_missing_file(command: str, tmp_path: Path) -> None:
    result = call(command, tmp_path / "no.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path / 'no.toml'}: No such file")
    assert "Traceback" not in result.output


def test_describe_shows_every_topic_and_the_state(file: Path) -> None:
    text = call("describe", file).stdout
    for word in ("game-scores", "player-averages", "arcade-player-changelog", "arcade-dead-letters", "bytes a key"):
        assert word in text
    assert "exactly once" in text


def test_describe_shows_what_is_chosen(file: Path) -> None:
    chosen = """key = ["game", "level"]\nselect = { level = "floor(score / 10)" }\nwhere = "kind == '\\u001b'"\n"""
    file.write_text(file.read_text().replace('key = "player"', chosen, 1))
    lines = call("describe", file).stdout.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("stream scores"))
    assert lines[start : start + 3] == [
        'stream scores <- game-scores: json, key "game"/"level" joined, time field "ts"',
        '  select level = "floor(score / 10)"',
        """  where "kind == '\\u001b'\"""",
    ]
    stream = json.loads(call("describe", file, "--json").stdout)["streams"]["scores"]
    assert (stream["key"], stream["select"]) == (["game", "level"], {"level": "floor(score / 10)"})


def test_validate_says_where_in_an_expression_a_mistake_is(file: Path) -> None:
    file.write_text(file.read_text().replace('key = "player"', 'key = "player"\nwhere = "sqr(score) > 1"', 1))
    result = call("validate", file)
    assert result.exit_code == 2
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("where = "))
    told = f'{file}:{line}: streams.scores.where: column 1: found the unknown function "sqr", expected one of abs, '
    assert told in result.stderr
    assert 'did you mean "sqrt"?' in result.stderr


def test_describe_as_json_either_way(file: Path) -> None:
    made = json.loads(call("describe", file, "--json").stdout)
    assert made == json.loads(call("describe", file, "--format", "json").stdout)
    assert made["tables"]["machine"]["changelog"] == "arcade-machine-changelog"


def test_describe_as_a_diagram_quotes_what_names_hold(file: Path) -> None:
    file.write_text(file.read_text().replace("games    =", "'a & <c>' ="))
    text = call("describe", file, "--format", "mermaid").stdout
    assert text.startswith("flowchart LR\n")
    assert "a #amp; #lt;c#gt;: count" in text
    assert text.count(" --> ") == 4
    assert len(set(text.splitlines())) == len(text.splitlines())


SEVERAL = """
[app]
name = "places"
[streams.north]
topic = "readings-north"
key = "station"
repartition = true
[streams.south]
topic = "readings-south"
key = "site"
repartition = true
[streams.rest]
topic = "unread"
[tables.place]
streams = ["north", "south"]
[tables.place.operators]
mean = { type = "mean", value = "celsius" }
[streams.places]
topic = "places-place"
[tables.newest]
stream = "places"
emit = "commit"
[tables.newest.operators]
mean = { type = "last", value = "mean" }
"""


def edges(diagram: str) -> set[tuple[str, str, str]]:
    """From, label, to: by the names of topics and tables, each of which is one node."""
    nodes = re.findall(r"""^  (\w+)\[[/(]?"(?:<b>)?([^"<]*)""", diagram, re.MULTILINE)
    names = dict(nodes)
    assert len(set(names.values())) == len(nodes), "a topic is drawn twice"
    found = re.findall(r"^  (\w+) ([-.].*>) (\w+)$", diagram, re.MULTILINE)
    return {(names[start], label.strip("-.> "), names[end]) for start, label, end in found}


def test_a_diagram_joins_what_several_streams_and_a_chain_of_tables_share(tmp_path: Path) -> None:
    file = tmp_path / "places.toml"
    file.write_text(SEVERAL)
    diagram = call("describe", file, "--format", "mermaid").stdout
    assert '[/"unread"/]' in diagram
    assert edges(diagram) == {
        ("readings-north", "events by key", "places-place-repartition"),
        ("readings-south", "events by key", "places-place-repartition"),
        ("places-place-repartition", "", "place"),
        ("place", "", "places-place"),
        ("places-place", "", "newest"),
        ("newest", "", "places-newest"),
        ("readings-north", "bad events", "places-dead-letters"),
        ("readings-south", "bad events", "places-dead-letters"),
        ("places-place", "bad events", "places-dead-letters"),
    }


def test_the_text_tells_a_table_of_several_streams_once_and_each_streams_own_key(tmp_path: Path) -> None:
    file = tmp_path / "places.toml"
    file.write_text(SEVERAL)
    text = call("describe", file).stdout
    assert text.count("bytes a key, in places-place-changelog") == 1
    assert "together with stream north, see there" in text
    north, south = (line for line in text.splitlines() if "repartitioned: events, by key" in line)
    assert 'by key field "station", through places-place-repartition' in north
    assert 'by key field "site", through places-place-repartition' in south


def test_describe_masks_secrets(file: Path) -> None:
    kafka = '[app.kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_username = "me"\nsasl_password = "hunter2"\n'
    file.write_text(file.read_text().replace("[streams.scores]", kafka + "[streams.scores]"))
    for form in ("text", "mermaid", "json"):
        result = call("describe", file, "--format", form)
        assert result.exit_code == 0
        assert "hunter2" not in result.output


def test_schema_is_printed() -> None:
    Draft202012Validator.check_schema(json.loads(call("schema").stdout))


def test_help_lists_every_command() -> None:
    text = call("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS)


def test_an_unknown_command_and_a_missing_argument_have_a_hint() -> None:
    result = call("validat")
    assert result.exit_code == 2
    assert 'did you mean "validate"?' in result.stderr
    result = call("validate")
    assert result.exit_code == 2
    assert 'hint: see "streamfold validate --help"' in result.stderr


def test_the_common_options_are_taken_before_and_after_the_command(file: Path) -> None:
    common = ("--debug", "--log-level", "error", "--log", "json")
    assert call(*common, "validate", file).exit_code == 0
    assert call("validate", *common, file).exit_code == 0
    assert call("validate", file, *common).exit_code == 0
    assert call("validate", file, "--log-level", "loud").exit_code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_common_options(command: str) -> None:
    text = call(command, "--help").stdout
    assert all(f"  {option}" in text for option in ("--debug", "--log-level [", "--log ["))


def test_a_traceback_is_for_debug_only(wrong: Path) -> None:
    assert "Traceback" not in call("describe", wrong).stderr
    for arguments in (("--debug", "describe", wrong), ("describe", wrong, "--debug")):
        result = call(*arguments)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KafkaStateError("no broker", "start one"), 3, ["error: no broker", "hint: start one"]),
        (ZeroDivisionError("a\nb"), 1, ["error: unexpected ZeroDivisionError: a b", "hint: run it again with --debug"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_an_error_of_a_command_is_its_exit_code_and_its_lines(
    error: BaseException, code: int, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr("pipeline.cli.schema.command", failing)
    result = call("schema")
    assert result.exit_code == code
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == len(told)
    assert all(line.startswith(start) for line, start in zip(lines, told, strict=True))


def test_there_is_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def colourful() -> None:
        click.secho("ok", fg="green")

    monkeypatch.setattr("pipeline.cli.schema.command", colourful)
    monkeypatch.setenv("NO_COLOR", "")
    assert CliRunner().invoke(main, ["schema"], color=True).stdout == "\x1b[32mok\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(main, ["schema"], color=True).stdout == "ok\n"


def test_help_imports_neither_numpy_nor_a_client_of_kafka() -> None:
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'faust', 'aiokafka', 'kafka', 'aiohttp', 'msgspec', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
