"""What the live page tells of a worker besides its keys: whether it is ready, how far behind, and its totals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import Counter as Metric

from pipeline.core.config.model import Table
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.task import Task
from pipeline.version import VERSION

if TYPE_CHECKING:
    from pipeline.edges.host.app import FaustApp

Told = Mapping[str, object]


def status(host: FaustApp, workers: Sequence[str]) -> Told:
    """Everything at this moment; totals count from the start of the worker, ``workers`` are the others of the group."""
    plane, metrics = host.plane, host.metrics
    events, outputs = _totals(metrics.events, "stream"), _totals(metrics.outputs, "table")
    reasons = reasons_of(plane)
    return {
        "time": time.time(),
        "app": host.config.name,
        "version": VERSION,
        "worker": str(host.address.advertised()),
        "workers": workers,
        "ready": not reasons,
        "reasons": reasons,
        "streams": {
            name: {"topic": stream.topic, "events": events[name]}
            for name, stream in plane.app.streams.items()
            if plane.app.tables_of(stream)
        },
        "tables": {name: _table(plane, table) | {"outputs": outputs[name]} for name, table in declared(plane).items()},
        "partitions": [_partition(plane, task) for _, task in sorted(plane.tasks.items())],
        "dead_letters": _totals(metrics.dead_letters, "stage"),
    }


def reasons_of(plane: Plane) -> list[str]:
    """Why the worker is not ready; none if it is."""
    return ["starting"] if plane.watch is None else plane.watch.reasons()


def declared(plane: Plane) -> dict[str, Table]:
    """The tables of the configuration, each with the stream that it is folded from."""
    return {name: table for name, table in plane.app.tables.items() if not table.internal}


def _table(plane: Plane, table: Table) -> dict[str, object]:
    held = [task.partition.tables[table.name] for task in _tasks_of(plane, table) if task.partition is not None]
    return {
        "topic": table.stream.topic,
        "output": plane.app.output(table),
        "keys": sum(part.state.live for part in held),
        "operators": {name: _operator(table.origin, name) for name in table.origin.operators},
    }


def _tasks_of(plane: Plane, table: Table) -> list[Task]:
    """The tasks of this worker that fold a table."""
    return [task for tp, task in plane.tasks.items() if tp.topic == table.stream.topic]


def _operator(table: Table, name: str) -> Told:
    """Its type; and the query that its memory takes, if it does: how many numbers, and the fields that they are."""
    operator, shape = table.operators[name], table.shapes(name).get("key")
    fields = operator.inputs().get("key")
    query = {"length": shape[0], "fields": fields} if shape else None
    return {"type": type(operator).__name__, "query": query}


def _partition(plane: Plane, task: Task) -> Told:
    partition, restore = task.partition, task.restore
    marks = None if partition is None else plane.consumer.watermarks(task.tp)
    return {
        "topic": task.tp.topic,
        "partition": task.tp.partition,
        "phase": task.phase.value,
        "committed": task.committed,
        "lag": None if partition is None or marks is None else max(0, marks.high - partition.position),
        "restoring": None if restore is None else sum(restore.remaining.values()),
    }


def _totals(metric: Metric, label: str) -> Counter[str]:
    """A counter of the worker by one of its labels."""
    totals = Counter[str]()
    for family in metric.collect():
        for sample in family.samples:
            totals[sample.labels[label]] += int(sample.value)
    return totals
