"""Labels come when there is something to tell of them, and go with the partition that they belong to."""

from __future__ import annotations

from aiokafka import TopicPartition

from pipeline.edges.metrics import Metrics

HERE, THERE = TopicPartition("events", 0), TopicPartition("events", 1)


def shown(metrics: Metrics) -> dict[str, float]:
    """By operator, the values that there are."""
    (family,) = metrics.value.collect()
    return {sample.labels["operator"]: sample.value for sample in family.samples}


def test_a_value_that_is_not_shown_again_vanishes() -> None:
    metrics = Metrics()
    metrics.show(HERE, {("player", "ann", "mean"): 1.0, ("player", "ann", "last"): 2.0})
    metrics.show(HERE, {("player", "ann", "mean"): 3.0})
    assert shown(metrics) == {"mean": 3.0}


def test_the_values_of_a_partition_go_with_it_and_those_of_others_stay() -> None:
    metrics = Metrics()
    metrics.show(HERE, {("player", "ann", "mean"): 1.0})
    metrics.show(THERE, {("player", "bob", "last"): 2.0})
    metrics.lag_events.labels("events", 0).set(5)
    metrics.lag_events.labels("events", 1).set(6)
    metrics.forget(HERE, "events", ["player"])
    assert shown(metrics) == {"last": 2.0}
    (lags,) = metrics.lag_events.collect()
    assert [(sample.labels["partition"], sample.value) for sample in lags.samples] == [("1", 6.0)]


def test_the_collector_of_garbage_is_watched() -> None:
    assert 'python_gc_collections_total{generation="2"}' in Metrics().text().decode()
