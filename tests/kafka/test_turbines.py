"""The example with the wind turbines as a user runs it, from the readings to the chart."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from examples.anomalies import read
from examples.turbines import events
from operators import Memory
from pipeline.core.config.load import load
from tests.kafka.process import STREAMFOLD, end, free_ports, is_ready, process, until

ROOT = Path(__file__).parent.parent.parent
READINGS = 5760


@pytest.fixture
def file(kafka: str, topic_prefix: str, tmp_path: Path) -> Path:
    """The example with topics of its own."""
    text = (ROOT / "examples" / "turbines.toml").read_text("utf-8")
    for old, new in (('"turbines"', topic_prefix), ('"turbine-readings"', f"{topic_prefix}-readings")):
        assert text.count(f" = {old}") == 1
        text = text.replace(f" = {old}", f' = "{new}"')
    path = tmp_path / "turbines.toml"
    path.write_text(text.replace("${KAFKA:-localhost:9092}", kafka), "utf-8")
    return path


def run(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=90, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(picture: Path) -> list[float]:
    """All coordinates of a chart's lines."""
    lines = ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}polyline")
    return [float(x) for line in lines for x in re.split("[ ,]", line.attrib["points"])]


def test_the_turbine_that_stood_still_is_found(file: Path, tmp_path: Path) -> None:
    port = free_ports(1)
    sent = run(sys.executable, "examples/turbines.py")
    run(*STREAMFOLD, "send", str(file), "readings", "-", given=sent)
    with process([*STREAMFOLD, "run", str(file)], HTTP=f"127.0.0.1:{port}") as worker:
        until(lambda: is_ready(port), 60, "ready", worker)
        lines = run(*STREAMFOLD, "watch", str(file), "turbine", "--from-start", "--limit", str(READINGS))
        assert end(worker, signal.SIGTERM)[0] == 0
    assert_as_computed_directly(file, lines)
    found = run(sys.executable, "-m", "examples.anomalies", "--into", str(tmp_path), given=lines)
    documented = (ROOT / "examples" / "README.md").read_text("utf-8")
    assert found.startswith("R80790  07 February 11:10 to 08 February 00:30   11802 kWh lost")
    assert found in documented
    for name in ("turbine-scores.svg", "turbine-power.svg"):
        drawn, shown = numbers(tmp_path / name), numbers(ROOT / "examples" / "images" / name)
        np.testing.assert_allclose(drawn, shown, atol=0.2)


def assert_as_computed_directly(file: Path, lines: str) -> None:
    """What was published is what the operators give without Kafka."""
    table = load(file, os.environ).tables["turbine"]
    readings, records = list(events()), [json.loads(line) for line in lines.splitlines()]
    keys = [reading["turbine"] for reading in readings]
    columns = {"curve": [reading["curve"] for reading in readings], "power": [reading["power"] for reading in readings]}
    times = np.array([reading["time"].removesuffix("Z") for reading in readings], "datetime64[s]").astype(float)
    for name, operator in table.operators.items():
        result = Memory(operator, {"curve": 13}).fold(keys, columns, times)
        assert isinstance(result, dict)
        for turbine in sorted(set(keys)):
            published = [record[name] for record in records if record["key"] == turbine]
            own = np.array(keys) == turbine
            for part, wanted in result.items():
                got = np.array([record[part] for record in published])
                np.testing.assert_allclose(got, wanted[own], rtol=1e-9, atol=1e-9)
    assert set(read(lines.splitlines())) == set(keys)
