"""The operators of the how-to, in the table of the how-to, from topic to topic."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import App
from pipeline.core.config.load import loads
from pipeline.errors import RunError
from tests.kafka.pipelines import Site, drained, refusal, running, scenario, until
from tests.test_readme import ROOT, files

FILES = files(ROOT / "docs" / "how-to" / "own-operator.md")
FILES["wary.py"] = """
from dataclasses import dataclass

from strength import RootMeanSquare


@dataclass(frozen=True, kw_only=True)
class Wary(RootMeanSquare):
    def fold(self, state, batch, *, each):
        result = super().fold(state, batch, each=each)
        if (batch.columns["value"] < 0).any():
            raise ArithmeticError("power runs backwards")
        return result
"""
"""The class of the how-to, with an exception after it has changed the state."""

MACHINES = ["m-0", "m-1", "m-2", "m-3"]
TOO_MUCH, BACKWARDS = 2e6, -5.0
REASONS = {
    TOO_MUCH: "ValueError: no machine has that much power",
    BACKWARDS: "ArithmeticError: power runs backwards",
}
"""What the function refuses, and what the class does."""


@pytest.fixture
def site(kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site in a folder with the modules of the how-to."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield Site(kafka, topic_prefix, partitions=2)
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def app(site: Site, on_error: str = "dead-letter") -> App:
    """The how-to's app, with its second operator too, on the site's topics."""
    text = FILES["machines.toml"]
    for was, now in {
        'name = "machines"': f'name = "{site.name}"\nbrokers = "{site.kafka}"\ncommit_interval = "20ms"',
        '"machine-readings"': f'"{site.source}"',
        'stream = "readings"': f'stream = "readings"\non_error = "{on_error}"',
        'type = "count" }': 'type = "count" }\nrms = { type = "wary:Wary", value = "power" }',
    }.items():
        assert text.count(was) == 1, was
        text = text.replace(was, now)
    return loads(text, Path("machines.toml"), {})


def send(site: Site, powers: dict[str, list[float]]) -> None:
    for machine, values in powers.items():
        events = [json.dumps({"machine": machine, "power": power}).encode() for power in values]
        site.send_raw(events, machine, MACHINES.index(machine) % 2)


def expected(powers: list[float]) -> list[tuple[int, float, float]]:
    """Of each good event in turn: its number, the forecast, the root of the mean square."""
    results, level, trend, squares = [], 0.0, 0.0, []
    for power in powers:
        if power not in REASONS:
            before = level
            level = 0.3 * power + 0.7 * (level + trend)
            trend = 0.1 * (level - before) + 0.9 * trend
            squares.append(power * power)
            results.append((len(squares), level + trend, math.sqrt(math.fsum(squares) / len(squares))))
    return results


def test_the_function_is_as_short_as_promised() -> None:
    assert len([line for line in FILES["memories.py"].splitlines() if line.strip()]) < 15


def test_a_restart_in_the_middle_changes_nothing_and_bad_events_are_dead_letters(site: Site) -> None:
    rng = np.random.default_rng(1)
    parts = [{machine: rng.normal(100, 9, 700).tolist() for machine in MACHINES} for _ in range(2)]
    for part in parts:
        for values in part.values():
            values[300], values[301], values[500] = TOO_MUCH, BACKWARDS, BACKWARDS

    async def work() -> None:
        send(site, parts[0])
        async with running(app(site)) as plane:
            await until(lambda: (site.committed(0) or 0) > 0, "something is committed", plane)
        send(site, parts[1])
        async with running(app(site)) as plane:
            await drained(site, plane)

    scenario(work)
    results = defaultdict(list)
    for output in site.outputs("machine"):
        results[output["key"]].append((output["readings"], output["forecast"], output["rms"]))
    for machine in MACHINES:
        wanted = expected(parts[0][machine] + parts[1][machine])
        assert [count for count, *_ in results[machine]] == [count for count, *_ in wanted]
        np.testing.assert_allclose(np.array(results[machine]), np.array(wanted), rtol=1e-12)
    letters = list(site.records(f"{site.name}-dead-letters"))
    refused = [json.loads(letter.value) for letter in letters]
    assert sorted(event["machine"] for event in refused) == sorted(6 * MACHINES)
    for event, letter in zip(refused, letters, strict=True):
        headers = dict(letter.headers)
        assert headers["stage"] == b"operator"
        assert headers["reason"].decode() == REASONS[event["power"]]


@pytest.mark.parametrize("bad", REASONS, ids=["function", "class"])
def test_with_stop_the_worker_ends_at_the_event_and_goes_on_where_the_policy_is_another(site: Site, bad: float) -> None:
    powers = {"m-0": [1.0, 2.0, bad, 3.0]}

    async def work() -> None:
        send(site, {"m-0": powers["m-0"][:2]})
        async with running(app(site, "stop")) as plane:
            await drained(site, plane)
        send(site, {"m-0": powers["m-0"][2:]})
        refused = await refusal(app(site, "stop"))
        assert isinstance(refused, RunError)
        assert f"at offset 2 (operator: {REASONS[bad]})" in refused.cause
        async with running(app(site)) as plane:
            await drained(site, plane)

    scenario(work)
    results = [(output["readings"], output["forecast"], output["rms"]) for output in site.outputs("machine")]
    np.testing.assert_allclose(np.array(results), np.array(expected(powers["m-0"])), rtol=1e-12)
