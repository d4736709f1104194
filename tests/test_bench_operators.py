"""The bench of the operators measures every one, and its loops compute what the operators do."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bench.operators import report
from bench.operators.engine import Engine
from bench.operators.loops import Events
from bench.operators.measure import Results, Sizes, Speed, measure
from bench.operators.publish import files, published
from bench.operators.subjects import MATRICES, NUMBERS, SUBJECTS, Versus, inputs
from operators import TYPES

LOOPS = {**NUMBERS, **MATRICES}


def test_every_operator_is_measured() -> None:
    assert {type(operator) for operator in SUBJECTS.values()} == set(TYPES.values())
    assert LOOPS.keys() <= SUBJECTS.keys()


@pytest.mark.parametrize("which", ["loop", "records"])
@pytest.mark.parametrize(("name", "versus"), LOOPS.items(), ids=LOOPS)
def test_a_loop_computes_what_the_operator_does(name: str, versus: Versus, which: str) -> None:
    make = getattr(versus, which)
    if make is None:
        return
    rng = np.random.default_rng(0)
    engine, loop = Engine(SUBJECTS[name], 7), make(7)
    for begin in (0, 300):
        rows, columns, times = rng.integers(0, 7, 300), inputs(300, rng), begin + rng.uniform(0, 300, 300)
        listed = Events.of(rows, columns, times)
        _, results = engine.fold(rows, columns, times, each=True)
        if isinstance(results, dict):
            results = np.column_stack(list(results.values()))
        np.testing.assert_allclose(np.array(loop(listed, True)), np.asarray(results), rtol=1e-9, atol=1e-9)
        assert loop(listed, False) == []
        engine.fold(rows, columns, times, each=False)


def test_a_small_bench_measures_everything() -> None:
    said: list[str] = []
    results = measure(Sizes(ages=(1_000, 2_000), events=400, keys=40, rounds=1), said.append)
    assert len(said) == len(SUBJECTS) + len(LOOPS) + 1
    assert results.ages.keys() == SUBJECTS.keys()
    for costs in [*results.ages.values(), *results.kept.values()]:
        assert len(costs) == 2
        assert all(cost > 0 for cost in costs)
    assert {**results.numbers, **results.matrices}.keys() == LOOPS.keys()


def test_the_figures_are_those_of_the_data() -> None:
    results = Results(Sizes(ages=(1_000, 10_000)), "a machine", ages={name: [100.0, 150.0] for name in SUBJECTS})
    results.kept = {"mean of all numbers": [1e3, 1e4]}
    results.numbers = {"mean": Speed(10.0, 5.0, 40.0, 60.0, 80.0)}
    results.matrices = {"ridge": Speed(1_000.0, 500.0, 4_000.0, 6_000.0)}
    page = report.page(results)
    assert "| `mean` | 100 | 150 | 1.50 |" in page
    assert "| `mean` | 10 | 40 | 4.0 | 5 | 60 | 12.0 | 80 | 8.0 | 16.0 |" in page
    assert "| `ridge` | 1,000 | 4,000 | 4.0 | 500 | 6,000 | 12.0 |" in page
    assert report.flat(results).count(">1.50<") == len(SUBJECTS)
    for chart in (report.flat(results), report.kept(results)):
        assert ET.fromstring(chart).tag.endswith("svg")


def test_what_is_published_is_made_of_the_published_data() -> None:
    results = published()
    assert results.ages.keys() == SUBJECTS.keys()
    for path, text in files(results).items():
        assert path.read_text("utf-8") == text, path
