"""Every metric of a worker, in one place. Names and labels as documented in docs/reference/metrics.md.

Base units, counters end in ``_total``, no label grows with the keys (but ``value``, for the keys that a table lists).
What belongs to a partition vanishes when the partition is revoked: a sum over workers stays right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import time

from aiokafka import TopicPartition
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from pipeline.core.partition import Cut
from pipeline.edges.kafka.errors import Fenced
from pipeline.version import VERSION

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_BATCH = (1, 10, 100, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000)


class Metrics:
    """The worker's own registry; :meth:`text` is what ``/metrics`` serves."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, doc: str, *labels: str) -> Counter:
            return Counter(f"streamfold_{name}", doc, labels, registry=registry)

        def gauge(name: str, doc: str, *labels: str) -> Gauge:
            return Gauge(f"streamfold_{name}", doc, labels, registry=registry)

        def histogram(name: str, doc: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"streamfold_{name}", doc, labels, buckets=tuple(buckets), registry=registry)

        self.events = counter("events_total", "Events folded and committed.", "stream", "partition")
        self.outputs = counter("outputs_total", "Output records committed.", "table")
        self.dead_letters = counter("dead_letters_total", "Events refused, and committed as such.", "stage", "reason")
        self.skipped = counter("skipped_total", "Events that lacked a field of every operator.", "table")
        self.filtered = counter("filtered_total", "Events that `where` left out.", "stream")
        self.duplicates = counter("duplicates_total", "Events that were folded before, by their ids.", "table")
        self.forgotten_ids = counter(
            "forgotten_ids_total", "Ids that max_events pushed out while their time was still in the window.", "table"
        )
        self.late_events = counter(
            "late_events_total", "Events that came too late for an operator's window.", "table", "operator"
        )
        self.dropped_keys = counter("dropped_keys_total", "Keys dropped, with all their state.", "table", "reason")
        self.undefined_reads = counter(
            "undefined_reads_total", "Results that are undefined (null).", "table", "operator"
        )
        self.commit_seconds = histogram("commit_seconds", "From the cut to its commit.", _SECONDS, "stream")
        self.batch_events = histogram("batch_events", "Events in a commit.", _BATCH, "stream")
        self.latency_seconds = histogram(
            "latency_seconds", "From a record's timestamp to the commit of its results (sampled).", _SECONDS, "stream"
        )
        self.lag_events = gauge("lag_events", "Events behind the end of the partition.", "topic", "partition")
        self.keys = gauge("keys", "Keys with state.", "table", "partition")
        self.state_bytes = gauge("state_bytes", "Memory that a table's state takes in this worker.", "table")
        self.changelog_bytes = counter("changelog_bytes_total", "Bytes committed to changelogs.", "table")
        self.restore_remaining = gauge(
            "restore_remaining_events", "Changelog records still to be read.", "table", "partition"
        )
        self.restores = counter("restores_total", "State rebuilt from the changelog.", "reason")
        self.rebalances = counter("rebalances_total", "Assignments received.")
        self.fenced = counter("fenced_total", "Commits refused because the partition has a newer owner, or timed out.")
        self.ready = gauge("ready", "1 while every assigned partition takes events.")
        self.value = gauge("value", "Latest results of the keys that a table lists.", "table", "key", "operator")
        self._shown: dict[TopicPartition, set[tuple[str, str, str]]] = {}
        Info("streamfold_build", "What runs.", registry=registry).info({"version": VERSION})

    def text(self) -> bytes:
        """The registry in Prometheus' text format."""
        return generate_latest(self.registry)

    def refused(self) -> dict[tuple[str, str], int]:
        """How many dead letters were committed, by stage and reason."""
        (family,) = self.dead_letters.collect()
        return {
            (sample.labels["stage"], sample.labels["reason"]): int(sample.value)
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    def committed(self, stream: str, tp: TopicPartition, cut: Cut, seconds: float) -> None:
        """A cut went through."""
        counts = cut.counts
        self.events.labels(stream, tp.partition).inc(counts.events)
        self.filtered.labels(stream).inc(counts.filtered)
        for table, number in counts.outputs.items():
            self.outputs.labels(table).inc(number)
        for (stage, reason), number in counts.dead_letters.items():
            self.dead_letters.labels(stage, reason).inc(number)
        for table, number in counts.skipped.items():
            self.skipped.labels(table).inc(number)
        for table, number in counts.duplicates.items():
            self.duplicates.labels(table).inc(number)
        for table, number in counts.forgotten_ids.items():
            self.forgotten_ids.labels(table).inc(number)
        for (table, operator), number in counts.late.items():
            if number:
                self.late_events.labels(table, operator).inc(number)
        for (table, reason), number in counts.dropped.items():
            self.dropped_keys.labels(table, reason).inc(number)
        for (table, operator), number in counts.undefined.items():
            self.undefined_reads.labels(table, operator).inc(number)
        for table, number in counts.changelog_bytes.items():
            self.changelog_bytes.labels(table).inc(number)
        self.commit_seconds.labels(stream).observe(seconds)
        if counts.events:
            self.batch_events.labels(stream).observe(counts.events)
        now = time()
        latency = self.latency_seconds.labels(stream)
        for stamp in counts.stamps:
            latency.observe(max(0.0, now - stamp / 1000))

    def stumbled(self, trouble: Exception) -> None:
        """A commit, a fence or a restore failed and is tried again."""
        if isinstance(trouble, Fenced):
            self.fenced.inc()

    def restored(self, reason: str) -> None:
        """A task's state was rebuilt."""
        self.restores.labels(reason).inc()

    def rebalanced(self) -> None:
        """The group assigned partitions."""
        self.rebalances.inc()

    def show(self, tp: TopicPartition, values: Mapping[tuple[str, str, str], float]) -> None:
        """The listed keys of a partition show these values, by table, key and operator, and no others any more."""
        for labels in self._shown.pop(tp, set()) - values.keys():
            self._remove(self.value, labels)
        for labels, value in values.items():
            self.value.labels(*labels).set(value)
        if values:
            self._shown[tp] = set(values)

    def forget(self, tp: TopicPartition, stream: str, tables: Iterable[str]) -> None:
        """A partition is not ours any more: its labels vanish."""
        self.show(tp, {})
        partition = str(tp.partition)
        for metric, labels in [
            (self.events, (stream, partition)),
            (self.lag_events, (tp.topic, partition)),
            *((self.keys, (table, partition)) for table in tables),
            *((self.restore_remaining, (table, partition)) for table in tables),
        ]:
            self._remove(metric, labels)

    @staticmethod
    def _remove(metric: MetricWrapperBase, labels: Iterable[str]) -> None:
        try:
            metric.remove(*labels)
        except KeyError:
            return
