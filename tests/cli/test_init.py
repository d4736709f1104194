"""`init --from`: whatever is in a file, what is written is valid, and keeps what the columns are good for."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.core.config.load import load
from tests.cli.pipelines import games

KILN = """\
zone,at,celsius,gas,note
left,2026-03-01T06:00:00Z,812.5,3,
right,2026-03-01T06:00:00Z,815,4,opened
left,2026-03-01T06:01:00Z,813,3.5,
right,2026-03-01T06:01:00Z,816,,
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str, **files: str | bytes) -> Result:
    """Run it beside files: ``kiln_csv`` is kiln.csv."""
    for name, content in files.items():
        Path(name.replace("_", ".")).write_bytes(content.encode() if isinstance(content, str) else content)
    return CliRunner().invoke(main, ["init", *arguments])


def kept(file: str) -> tuple[Any, Any, Any, list[tuple[str, str, Any]]]:
    """Key, time, unit of the time, and all operators as (name, field, window)."""
    load(Path(file), {})
    config = tomllib.loads(Path(file).read_text("utf-8"))
    stream, operators = config["streams"]["events"], config["tables"]["averages"]["operators"]
    read = [(name, options.get("value", ""), options.get("window")) for name, options in operators.items()]
    return stream.get("key"), stream.get("time"), stream.get("time_unit"), read


def means(*fields: str, window: int | str = 20) -> list[tuple[str, str, Any]]:
    pairs = [[(f"{field}_mean", field, None), (f"{field}_last_{window}", field, window)] for field in fields]
    return [("events", "", None), *(operator for pair in pairs for operator in pair)]


def test_a_spreadsheet_becomes_a_table_and_the_next_commands_are_told() -> None:
    result = init("--from", "kiln.csv", kiln_csv=KILN)
    assert result.exit_code == 0, result.stderr
    assert kept("kiln.toml") == ("zone", "at", None, means("celsius", "gas"))
    commands = [line.strip() for line in result.stdout.splitlines() if line.startswith("  streamfold ")]
    assert commands == [
        "streamfold run kiln.toml --embedded",
        "streamfold send kiln.toml events kiln.csv",
        "streamfold watch kiln.toml averages --from-start",
        "streamfold query kiln.toml averages left",
    ]
    assert [line.removeprefix("#   ") for line in Path("kiln.toml").read_text().splitlines()[2:6]] == commands


UNIX = "ts,score\n1763690000,1\n1763690001,2\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "\ufeff" + KILN.replace(",", ";"), ("zone", "at", None, means("celsius", "gas"))),
        ("a.tsv", KILN.replace(",", "\t"), ("zone", "at", None, means("celsius", "gas"))),
        ("a.CSV", KILN.replace("\n", "\r\n"), ("zone", "at", None, means("celsius", "gas"))),
        ("a.csv", '"zone","a;b;c","x"\n"left, 1",4,"1"\n"left, 1",4,2\n', ("zone", None, None, [*means("a;b;c", "x")])),
        ("a.csv", UNIX, ("all", "ts", "s", means("score"))),
        ("a.csv", re.sub(r"(17\d+)", r"\g<1>000", UNIX), ("all", "ts", "ms", means("score"))),
        ("a.csv", re.sub(r"(17\d+)", r"\g<1>000000", UNIX), ("all", "ts", "us", means("score"))),
        ("a.csv", re.sub(r"(17\d+)", r"\g<1>000000000", UNIX), ("all", "ts", "ns", means("score"))),
        ("a.csv", "date,price\n2026-03-01,1\n2026-03-01,2\n", ("all", None, None, means("price"))),
        ("a.csv", "id,x\n1,10\n2,20\n3,30\n", ("all", None, None, means("x"))),
        ("a.csv", "sensorId,x\n7,10\n7,20\n8,30\n8,30\n", ("sensorId", None, None, means("x"))),
        ("a.csv", "ID,roomID,x\n1,7,10\n2,7,20\n", ("roomID", None, None, means("x"))),
        ("a.csv", "kind,player,x\ng,a,1\ng,b,1\ng,a,2\ng,b,2\n", ("player", None, None, means("x"))),
        ("a.csv", "player,x\nann,3\nbob,4\nann,5\n", ("player", None, None, means("x"))),
        ("a.csv", "word,x\nann,3\nbob,4\nann,5\n", ("all", None, None, means("x"))),
        ("a.csv", "orderID,x\na,1\nb,2\nc,3\nd,4\na,5\n", ("all", None, None, means("x"))),
        ("a.csv", "all,x\n1,10\n", ("all_", None, None, means("all", "x"))),
        ("a.jsonl", "".join(f"{json.dumps(game)}\n" for game in games(20)), ("player", "ts", "s", means("score"))),
    ],
)
def test_columns_are_taken_for_what_they_look_like(
    name: str, content: str, expected: tuple[object, object, object, list[tuple[str, str, Any]]]
) -> None:
    Path(name).write_text(content, "utf-8", newline="")
    result = init("--from", name)
    assert result.exit_code == 0, result.stderr
    key, time, unit, operators = kept("a.toml")
    assert (key, time, unit) == expected[:3]
    assert operators == [(re.sub(r"\W", "_", kind), field, window) for kind, field, window in expected[3]]


def test_options_answer_the_questions() -> None:
    answers = ("--key", "-", "--time", "-", "--values", "gas, celsius", "--window", "1h")
    result = init("my kiln.toml", "--from", "kiln.csv", *answers, kiln_csv=KILN)
    assert result.exit_code == 0, result.stderr
    assert kept("my kiln.toml") == ("all", None, None, means("gas", "celsius", window="1h"))
    assert "streamfold watch 'my kiln.toml' averages --from-start" in result.stdout
    assert load(Path("my kiln.toml"), {}).name == "my-kiln"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["--key", "zon"], '--key: found the unknown column "zon"'),
        (["--key", "zon"], 'did you mean "zone"?'),
        (["--key", "celsius"], '--key: found "celsius", expected a column that has text or an integer in every event'),
        (["--key", "note"], '--key: found "note", expected a column that has text'),
        (["--time", "zone"], '--time: found "zone", expected a column that has RFC 3339 text'),
        (["--key", "at", "--time", "at"], '--time: found "at", expected another column than the key'),
        (["--values", "note"], '--values: found the unknown column of numbers "note", expected "celsius" or "gas"'),
        (["--values", ""], '--values: found the unknown column of numbers ""'),
        (["--window", "0"], "--window: found 0, expected"),
        (["--window", "1 hour"], "--window: found '1 hour', expected"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_written(answers: list[str], told: str) -> None:
    result = init("--from", "kiln.csv", *answers, kiln_csv=KILN)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not Path("kiln.toml").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "a.csv:1: found nothing, expected a header"),
        ("a.csv", b"\n\n", "a.csv:1: found nothing, expected a header"),
        ("a.csv", b"x,y\n", "a.csv: found no event"),
        ("a.csv", b"1,1\n2,3\n", "a.csv:1: found"),
        ("a.csv", b"x,y\n1\n", "a.csv:2: found 1 cells, expected 2"),
        ("a.csv", b"a,b\nx,\n", 'found no column of numbers to average, but a: "x"'),
        ("a.csv", b"zone;x\na;3,5\n", 'x: "3,5"'),
        ("a.csv", b"a,b\n,\n", "found no column of numbers to average, but empty cells"),
        ("a.csv", bytes(range(256)) * 10, "a.csv:1: "),
        ("a.csv", "x\n1\n".encode("utf-16"), "a.csv:1: not UTF-8"),
        ("a.csv", b"x" * 2_000_000, "a.csv:1: longer than 1,048,576 bytes"),
        ("a.json", b'[{"x": 1}]', "a.json:1: Expected `object`"),
        ("a.txt", b"x,y\n1,2\n", "a.txt:1: "),
    ],
)
def test_a_file_that_is_none_of_events_is_refused(name: str, content: bytes, told: str) -> None:
    Path(name).write_bytes(content)
    result = init("--from", name)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 2, "a cause and a mend"
    assert [path.name for path in Path().iterdir()] == [name]


def test_cells_that_will_be_dead_letters_are_told() -> None:
    result = init("--from", "kiln.csv", kiln_csv=KILN.replace("813", "NA"))
    assert "celsius: has 1 that is no number, like NA: such events become dead letters" in result.stdout
    assert kept("kiln.toml")[3] == means("celsius", "gas")


@pytest.mark.parametrize("written", ["2026-03-01 06:00", "1/3/26", "01.03.2026 06:00:00"])
def test_a_time_that_is_written_otherwise_is_told(written: str) -> None:
    result = init("--from", "a.csv", a_csv=f"x,day\n1,{written}\n2,{written}\n")
    assert "day: no time of the event, for it is not written like 2026-03-01T12:00:00Z" in result.stdout
    assert kept("a.toml") == ("all", None, None, means("x"))
    assert "no time of the event" not in init("--from", "kiln.csv", kiln_csv=KILN).stdout


def test_numbers_with_a_decimal_comma_are_told() -> None:
    result = init("--from", "a.csv", a_csv="room;celsius;watts\nhall;21,5;3\nhall;21,5;4\n")
    assert "celsius: no numbers, for they have a comma where a point is expected" in result.stdout
    assert kept("a.toml") == ("room", None, None, means("watts"))
    assert "a comma" not in init("--from", "kiln.csv", kiln_csv=KILN).stdout


def test_of_a_long_file_only_the_beginning_is_read() -> None:
    result = init("--from", "long.csv", long_csv="x\n" + "1\n" * 1_000 + "not,csv\n")
    assert "looked at the first 1,000 events" in result.stdout


def test_every_comment_can_be_switched_on() -> None:
    for content in (KILN, "celsius of it,x\n1,2\n"):
        assert init("--from", "kiln.csv", "--force", kiln_csv=content).exit_code == 0
        lines = Path("kiln.toml").read_text("utf-8").splitlines()
        text = "\n".join(line.removeprefix("# ") if " = " in line else line for line in lines)
        assert len(re.findall(r"^(?:repartition|where|emit|ttl) = ", text, re.MULTILINE)) == (
            4 if "zone" in text else 3
        )
        Path("kiln.toml").write_text(text, "utf-8")
        load(Path("kiln.toml"), {})


def test_a_file_that_is_there_stays() -> None:
    Path("kiln.toml").write_text("mine")
    result = init("--from", "kiln.csv", kiln_csv=KILN)
    assert result.exit_code == 2
    assert "kiln.toml is there already" in result.stderr
    assert Path("kiln.toml").read_text() == "mine"
    assert init("--from", "kiln.csv", "--force").exit_code == 0


def test_answers_without_a_file_are_refused() -> None:
    result = init("--key", "zone")
    assert result.exit_code == 2
    assert "--key goes with --from DATA" in result.stderr
    assert list(Path().iterdir()) == []


def test_data_is_never_written_over() -> None:
    for arguments in (["kiln.csv", "--force"], ["kiln.csv", "--from", "kiln.csv", "--force"]):
        result = init(*arguments, kiln_csv=KILN)
        assert result.exit_code == 2
        assert "begin with it by --from kiln.csv" in result.stderr
        assert Path("kiln.csv").read_text() == KILN


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    result = init("--from", "a.csv", a_csv="x,\x1b[2Jz\n1,\x1b]0;title\x07\n")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "?[2Jz" in result.stdout


def test_a_key_that_a_terminal_would_obey_is_not_the_example() -> None:
    result = init("--from", "a.csv", "--key", "site", a_csv="site,x\n\x1b[2J,1\noven,2\n")
    assert result.exit_code == 0, result.stderr
    assert "query a.toml averages oven" in result.stdout
    assert "\x1b" not in result.stdout + Path("a.toml").read_text()
    result = init("--from", "b.csv", "--key", "site", b_csv="site,x\n\x1f,1\n\x1f,2\n")
    assert "query b.toml averages KEY" in result.stdout
    load(Path("b.toml"), {})


CELLS = st.one_of(st.sampled_from(["", "1", "-2.5e3", "007", "NA", "2026-03-01T06:00:00Z"]), st.text(max_size=8))


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True), st.data())
def test_what_is_written_is_valid_whatever_the_columns_are_called(names: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    text = io.StringIO()
    csv.writer(text).writerows([names, *rows])
    Path("any.csv").write_text(text.getvalue(), "utf-8", newline="")
    result = init("--from", "any.csv", "--force")
    assert result.exit_code in (0, 2), result.stderr
    assert "unexpected" not in result.stderr
    if result.exit_code == 0:
        load(Path("any.toml"), {})


def on_a_terminal(answers: str) -> tuple[int, str]:
    """Exit code, and what is on the screen in the end."""
    screen, terminal = pty.openpty()
    os.write(screen, answers.encode())
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "init", "--from", "kiln.csv"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=60,
    )
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    return done.returncode, shown


def test_a_terminal_is_asked_and_return_takes_what_looks_right() -> None:
    Path("kiln.csv").write_text(KILN)
    status, shown = on_a_terminal("\n" * 4)
    assert status == 0
    for proposed in ("[zone]", "[at]", "[celsius,gas]", "[20]"):
        assert proposed in shown
    assert kept("kiln.toml") == ("zone", "at", None, means("celsius", "gas"))


def test_a_terminal_is_asked_again_after_a_wrong_answer() -> None:
    Path("kiln.csv").write_text(KILN)
    status, shown = on_a_terminal("zon\n-\n-\ngas\n0\n3\n")
    assert status == 0
    assert 'did you mean "zone"?' in shown
    assert kept("kiln.toml") == ("all", None, None, means("gas", window=3))
