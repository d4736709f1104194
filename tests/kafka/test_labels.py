"""Labels of a partition are those of its owner: a sum over workers counts it once."""

from __future__ import annotations

import pytest

from pipeline.edges.metrics import Metrics
from tests.kafka.pipelines import Site, drained, running, scenario, until

OF_PARTITIONS = ("events", "lag_events", "keys", "restore_remaining")


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix, partitions=2)


def partitions(metrics: Metrics) -> dict[str, set[str]]:
    """By metric, the partitions that it has."""
    return {
        name: {sample.labels["partition"] for family in getattr(metrics, name).collect() for sample in family.samples}
        for name in OF_PARTITIONS
    }


def listed(metrics: Metrics) -> set[str]:
    return {sample.labels["key"] for family in metrics.value.collect() for sample in family.samples}


def test_what_belongs_to_a_partition_goes_where_the_partition_goes(site: Site) -> None:
    table = site.table(metrics_keys=["zero", "one"])
    both = {"0", "1"}

    async def work() -> None:
        site.send(5, "zero", 0)
        site.send(5, "one", 1)
        async with running(site.app([table])) as first:
            await drained(site, first)
            await until(lambda: partitions(first.metrics) == dict.fromkeys(OF_PARTITIONS, both), "all labels", first)
            await until(lambda: listed(first.metrics) == {"zero", "one"}, "both keys", first)
            async with running(site.app([table])) as second:
                await until(lambda: len(first.tasks) == len(second.tasks) == 1, "one each", first)
                site.send(5, "zero", 0)
                site.send(5, "one", 1)
                await drained(site, first, second)
                (here,), (there,) = ({str(tp.partition) for tp in plane.tasks} for plane in (first, second))
                for plane, owned in ((first, here), (second, there)):
                    one_each = {name: {owned} for name in OF_PARTITIONS}
                    await until(lambda: partitions(plane.metrics) == one_each, f"{owned} alone", plane)  # noqa: B023
                    key = {"0": "zero", "1": "one"}[owned]
                    await until(lambda: listed(plane.metrics) == {key}, f"{key} alone", plane)  # noqa: B023
            await until(lambda: partitions(first.metrics)["lag_events"] == both, "both again", first)

    scenario(work)
