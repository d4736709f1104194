"""A task that fails in a way that nobody foresaw starts over, later each time, and ends the worker if it goes on."""

from __future__ import annotations

import pytest

from pipeline.core.batch import WireBatch
from pipeline.core.partition import Cut, Partition
from pipeline.edges.kafka.backoff import Backoff
from pipeline.edges.kafka.troubles import FAILURES_IN_A_ROW
from pipeline.errors import RunError
from tests.kafka.pipelines import Site, drained, ended, running, sample, scenario


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix, partitions=2)


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 2.0)
    for longest in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
        assert longest / 2 <= backoff.failed() <= longest
    for _ in range(5_000):
        assert 1.0 <= backoff.failed() <= 2.0
    assert backoff.failures == 5_007
    backoff.succeeded()
    assert backoff.failed() <= 0.1
    assert backoff.failures == 1


def test_tasks_that_failed_together_do_not_try_again_together() -> None:
    assert len({Backoff(0.1, 2.0).failed() for _ in range(50)}) == 50


class Fault:
    """A method that fails after its work is done, so that state is ahead of what is committed: ``times`` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, times: int, partition: int = 0) -> None:
        self.met = 0
        original = getattr(Partition, method)

        def fail(owner: Partition, *given: object) -> Cut | None:
            done: Cut | None = original(owner, *given)
            folded = not isinstance(given[0] if given else None, WireBatch) or len(given[0]) > 0  # type: ignore[arg-type]
            if owner.partition == partition and folded and self.met < times and owner.position:
                self.met += 1
                raise ZeroDivisionError("nobody foresaw this")
            return done

        monkeypatch.setattr(Partition, method, fail)


@pytest.mark.parametrize("method", ["fold", "cut"])
def test_a_task_that_fails_a_few_times_starts_over_and_folds_each_event_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def work() -> None:
        for partition in range(2):
            site.send(5, key=f"k{partition}", partition=partition)
        fault = Fault(monkeypatch, method, FAILURES_IN_A_ROW - 1)
        async with running(site.app()) as plane:
            await drained(site, plane)
            for partition in range(2):
                site.send(5, key=f"k{partition}", partition=partition)
            await drained(site, plane)
            assert sample(plane.metrics, "restores_total", reason="assigned") == 2 + fault.met
        assert fault.met == FAILURES_IN_A_ROW - 1

    scenario(work)
    counted = sorted((output["key"], output["games"]) for output in site.outputs())
    assert counted == [(f"k{partition}", n + 1) for partition in range(2) for n in range(10)]


def test_a_task_that_fails_every_time_ends_the_worker_with_1_and_the_others_are_committed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        site.send(5, key="k0", partition=0)
        site.send(5, key="k1", partition=1)
        fault = Fault(monkeypatch, "fold", 1_000)
        async with running(site.app()) as plane:
            error = await ended(plane)
        assert isinstance(error, RunError)
        assert error.exit_code == 1
        assert f"{site.source}-0 failed {FAILURES_IN_A_ROW} times in a row" in error.cause
        assert "ZeroDivisionError: nobody foresaw this" in error.cause
        assert fault.met == FAILURES_IN_A_ROW

    scenario(work)
    assert (site.committed(0), site.committed(1)) == (0, 5)
    assert [output["key"] for output in site.outputs()] == ["k1"] * 5
