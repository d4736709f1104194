"""The example notebook gives what it shows."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.notebook import EXAMPLES, NOTEBOOK, execute, folded

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def outputs(notebook: dict[str, Any]) -> list[str]:
    """Everything that the cells give, one text each."""
    shown = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    texts = [text for output in shown for text in (output.get("text"), *output.get("data", {}).values()) if text]
    return ["".join(text) for text in texts]


def test_the_notebook_gives_what_it_shows(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    text = (EXAMPLES / "weather.toml").read_text("utf-8")
    for old, new in (('"weather"', topic_prefix), ('"weather-readings"', f"{topic_prefix}-readings")):
        assert text.count(f" = {old}") == 1
        text = text.replace(f" = {old}", f' = "{new}"')
    (tmp_path / "weather.toml").write_text(text, "utf-8")
    kept = json.loads(NOTEBOOK.read_text("utf-8"))
    run = copy.deepcopy(kept)
    with folded(kafka, tmp_path / "weather.toml"):
        execute(run, tmp_path)
    was, now = outputs(kept), outputs(run)
    assert len(was) >= len([cell for cell in kept["cells"] if cell["cell_type"] == "code"]) >= 5
    assert [NUMBER.sub("#", one) for one in now] == [NUMBER.sub("#", one) for one in was]
    for old, new in zip(was, now, strict=True):
        if "offset" not in old:  # which depends on the order in which readings of several partitions met
            assert list(map(float, NUMBER.findall(new))) == pytest.approx(list(map(float, NUMBER.findall(old))))


def test_it_is_what_jupyter_reads() -> None:
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        assert cell.keys() == keys | ({"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
