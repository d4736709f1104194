"""What the documentation shows is true: files are valid, commands print that, events become those records."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from operators import TYPES
from pipeline.cli import main
from pipeline.core.batch import WireBatch
from pipeline.core.config.load import load, loads
from pipeline.core.partition import Identity, Partition
from pipeline.edges.metrics import Metrics

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def sessions() -> list[tuple[Path, str, str]]:
    """Every command that is shown with its output: page, command, output."""
    shown = []
    for page in PAGES:
        for block in blocks(page, "console"):
            for part in block.removeprefix("$ ").split("\n$ "):
                command, _, output = part.partition("\n")
                shown.append((page, command, output))
    return shown


def files(page: Path) -> dict[str, str]:
    """Blocks that begin with a comment that is a file's name are that file."""
    shown = [block for language in ("python", "toml") for block in blocks(page, language)]
    named = [(re.match(r"# ([\w.-]+\.(?:py|toml))\n", block), block) for block in shown]
    return {match[1]: block for match, block in named if match}


def by_page(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)[:40].strip()


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a reader of the README and of the test's page would be, with the files that they speak of."""
    (config,) = blocks(README, "toml")
    page = request.node.callspec.params.get("page", README) if hasattr(request.node, "callspec") else README
    for name, content in files(page).items():
        (tmp_path / name).write_text(content, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "arcade.toml").write_text(config, "utf-8")
    (tmp_path / "mistake.toml").write_text(config.replace("window = 2", "windw = 2"), "utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    yield tmp_path
    for name in files(page):
        sys.modules.pop(name.removesuffix(".py"), None)


def test_the_configuration_has_ten_lines() -> None:
    (config,) = blocks(README, "toml")
    assert len(config.splitlines()) == 10


@pytest.mark.parametrize("page", PAGES, ids=by_page)
@pytest.mark.usefixtures("folder")
def test_configurations_are_valid(page: Path) -> None:
    for config in blocks(page, "toml"):
        loads(config, page, dict.fromkeys(re.findall(r"\$\{(\w+)\}", config), "0123456789abcdef"))


@pytest.mark.parametrize(("page", "command", "output"), sessions(), ids=by_page)
def test_commands_print_what_is_shown(page: Path, command: str, output: str, folder: Path) -> None:
    name, *arguments = command.split()
    assert name == "streamfold", page
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.stdout.strip() == output.strip()


def test_the_events_become_the_records(folder: Path) -> None:
    events, records = blocks(README, "json")
    app = load(folder / "arcade.toml", {})
    stream = app.streams["scores"]
    partition = Partition(app, stream, 0, 1)
    partition.resume(0, Identity("id", "source", {"player": "changelog"}, 0, 1_000_000))
    values: list[bytes | None] = [line.encode() for line in events.splitlines()]
    count = len(values)
    times = [int(json.loads(record)["time"] * 1000) for record in records.splitlines()]
    partition.fold(WireBatch(stream.topic, 0, 0, count, [None] * count, values, list(range(count)), times))
    published = {append.topic: append.values for append in partition.cut().appends}
    assert published["arcade-player"] == [record.encode() for record in records.splitlines()]
    assert msgspec.json.decode(records.splitlines()[-1])["average"] == 30.0


@pytest.mark.parametrize("page", [ROOT / "docs/how-to/choose-events.md"], ids=by_page)
def test_the_events_that_are_chosen_become_the_records(page: Path, folder: Path) -> None:
    events, records = (block.splitlines() for block in blocks(page, "json"))
    app = load(folder / "weather.toml", {})
    stream = app.streams["readings"]
    partition = Partition(app, stream, 0, 4)
    partition.resume(0, Identity("id", "source", {"daily": "changelog"}, 0, 1_000_000))
    keys: list[bytes | None] = [json.loads(event)["station"].encode() for event in events]
    values: list[bytes | None] = [event.encode() for event in events]
    count = len(values)
    partition.fold(WireBatch(stream.topic, 0, 0, count, keys, values, list(range(count)), [0] * count))
    published = {append.topic: append.values for append in partition.cut().appends}
    assert [(value or b"").decode() for value in published["weather-daily"]] == records
    assert "weather-dead-letters" not in published


def test_the_python_makes_the_same_app(folder: Path) -> None:
    (code,) = blocks(README, "python")
    made: dict[str, object] = {}
    exec(code, made)
    assert made["app"] == load(folder / "arcade.toml", {})


def test_every_operator_is_named() -> None:
    _, _, section = README.read_text("utf-8").partition("## What a key can remember\n")
    assert set(re.findall(r"`(\w+)`", section.partition("\n## ")[0])) == TYPES.keys()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "pycon")], ids=by_page)
@pytest.mark.usefixtures("folder")
def test_python_sessions_give_what_is_shown(page: Path) -> None:
    session = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0)
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "mermaid")], ids=by_page)
def test_diagrams_are_those_of_the_file_that_is_named_below(page: Path, folder: Path) -> None:
    command = re.compile(r"^```mermaid\n(.*?)^```\s+That is what `streamfold (.*?)` prints", re.MULTILINE | re.DOTALL)
    shown = command.findall(page.read_text("utf-8"))
    assert len(shown) == len(blocks(page, "mermaid"))
    for diagram, line in shown:
        _, file, *options = line.split()
        assert CliRunner().invoke(main, ["describe", str(folder / file), *options]).stdout == diagram


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for block in blocks(page, "sh"):
        for target in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_commands_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(r"(?:`|^)streamfold ([a-z]+)\b", page.read_text("utf-8"), re.MULTILINE))
    assert named <= set(main.list_commands(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:pipeline|operators|examples|docs|dashboards|deploy)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_every_metric_is_documented_as_it_is() -> None:
    metrics = Metrics()
    labels = {m._name: list(m._labelnames) for m in vars(metrics).values() if hasattr(m, "_labelnames")}
    expected = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("streamfold_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            expected[name] = (family.type, labels.get(family.name, ["version"]), family.documentation)
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", (ROOT / "docs/reference/metrics.md").read_text(), re.M
    )
    assert {name: (kind, re.findall(r"`(\w+)`", given), meaning) for name, kind, given, meaning in rows} == expected
