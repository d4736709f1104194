"""Every operator in one configuration, from topic to topic: a worker that is killed in the middle changes no bit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np
from kafka import KafkaProducer

from operators import TYPES, Memory, Operator
from operators.columns.grouping import Floats
from pipeline.core.config.load import loads
from pipeline.core.config.operator_types import listed, takes_duration, type_name
from pipeline.core.encode import HEAD
from pipeline.edges.kafka.plane import Plane
from scripts.reference.worked import plain
from tests.kafka.pipelines import Site, running, scenario, until
from tests.kafka.process import free_ports
from tests.operators.cases import Case
from tests.operators.catalogue import CASES
from tests.test_readme import ROOT

Record = dict[str, Any]

KEYS = ["ada", "bob", "cy", "dee"]
EVENTS = 60
ROUNDS = 4
KILLED = 2
"""The round whose transaction the worker does not live to commit."""

CONFIG = """
[app]
name = "{name}"
brokers = "{brokers}"
http = "127.0.0.1:{port}"
commit_interval = "20ms"
session_timeout = "6s"

[streams.events]
topic = "{source}"
time = "at"
vectors = {vectors}

[tables.every]
stream = "events"
[tables.every.operators]
{readouts}

[tables.latest]
stream = "events"
emit = "commit"
[tables.latest.operators]
{memories}
"""


@dataclass(frozen=True)
class Input:
    """A field of the events: its name, its shape and the bounds of its numbers."""

    name: str
    shape: tuple[int, ...]
    bounds: tuple[float, float]

    @classmethod
    def of(cls, case: Case, role: str) -> Input:
        shape, bounds = case.shapes[role], case.ranges.get(role, (-9.0, 9.0))
        return cls(" ".join(map(str, (role, *shape, *bounds))), shape, bounds)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the scalar fields that it can be given as."""
        return tuple(f"{self.name} [{i}]" for i in range(sum(self.shape)))


INPUTS = list(dict.fromkeys(Input.of(case, role) for case in CASES for role in case.shapes))


def operator(case: Case) -> Operator:
    """The operator of a case, reading the fields of the events."""
    given: dict[str, Any] = {}
    for role, spec in case.operator.inputs().items():
        each = Input.of(case, role)
        given[role] = each.name if isinstance(spec, str) else each.parts
    return replace(case.operator, **given)


def in_toml(value: Any, hint: Any = None) -> str:
    """A value as a file has it: durations, which are held in seconds, as text."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{in_toml(name)} = {in_toml(part)}' for name, part in value.items())} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(in_toml(part, listed(hint)) for part in value)}]"
    return json.dumps(f"{value}s" if takes_duration(hint) else value)


def line(name: str, operator: Operator) -> str:
    """The line of a table of operators."""
    hints = get_type_hints(type(operator))
    given = {field.name: getattr(operator, field.name) for field in fields(operator)}
    options = {field.name: given[field.name] for field in fields(operator) if given[field.name] != field.default}
    pairs = [f"{option} = {in_toml(value, hints[option])}" for option, value in options.items()]
    return f"{in_toml(name)} = {{ {', '.join([f'type = {in_toml(type_name(operator))}', *pairs])} }}"


READOUTS = {case.name: operator(case) for case in CASES}
MEMORIES = {name: replace(operator, publish="both") for name, operator in READOUTS.items()}


def config(site: Site, name: str) -> str:
    return CONFIG.format(
        name=name,
        brokers=site.kafka,
        port=free_ports(),
        source=site.source,
        vectors=in_toml({each.name: each.shape[0] for each in INPUTS if each.shape}),
        readouts="\n".join(map(line, READOUTS, READOUTS.values())),
        memories="\n".join(map(line, MEMORIES, MEMORIES.values())),
    )


@dataclass(frozen=True)
class Round:
    """Some events: a key and a time each, and the numbers of every field."""

    keys: list[str]
    times: Floats
    columns: Mapping[str, Floats]

    def values(self) -> Iterator[bytes]:
        columns = {"at": self.times, **self.columns}
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            yield json.dumps(dict(zip(columns, row, strict=True))).encode()


def rounds() -> Sequence[Round]:
    """Events of a few keys in the order of time, but for some that come late."""
    rng, made = np.random.default_rng(1), []
    for n in range(ROUNDS):
        times = 1.7e9 + 30 * n + np.cumsum(rng.exponential(0.5, EVENTS)) - 5.0 * (rng.random(EVENTS) < 0.1)
        columns: dict[str, Floats] = {}
        for each in INPUTS:
            columns[each.name] = rng.uniform(*each.bounds, (EVENTS, *each.shape)).round(3)
            columns |= zip(each.parts, columns[each.name].T, strict=True) if each.shape else ()
        made.append(Round([KEYS[k] for k in rng.integers(0, len(KEYS), EVENTS)], times.round(3), columns))
    return made


@dataclass(frozen=True)
class Outputs:
    """The results of every event in turn, and by key those after each round that has it."""

    every: list[Record]
    latest: dict[str, list[Record]]

    def differing(self, other: Outputs, besides: Sequence[str] = ()) -> set[str]:
        """The fields that are not the same in both."""
        pairs = list(zip(self.every, other.every, strict=True))
        for key, records in self.latest.items():
            pairs += zip(records, other.latest[key], strict=True)
        # The text of a number tells -0.0 from 0.0.
        names = {
            n for one, two in pairs for n in one.keys() | two.keys() if repr(one.get(n, "")) != repr(two.get(n, ""))
        }
        return names - set(besides)


def send(site: Site, part: Round) -> None:
    """All of a round in one batch, so that every worker folds it in one piece."""
    with closing(KafkaProducer(bootstrap_servers=site.kafka, linger_ms=10_000, batch_size=1_000_000)) as producer:
        for key, value in zip(part.keys, part.values(), strict=True):
            producer.send(site.source, value, key.encode(), partition=0)
        producer.flush()


@contextmanager
def worker(file: Path, kill_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; at that point of the transaction of a round it kills itself."""
    # The first transaction of all says where the worker begins.
    environment = os.environ | {"KILL_AT": kill_at, "KILL_ON": str(KILLED + 2)}
    command = [sys.executable, "-m", "tests.faults.worker", str(file)]
    with (
        file.with_suffix(".log").open("ab") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def expected(parts: Sequence[Round]) -> Outputs:
    """What the memories give without Kafka."""
    vectors = {each.name: each.shape[0] for each in INPUTS if each.shape}
    outputs = Outputs([{} for part in parts for _ in part.keys], {k: [{} for p in parts if k in p.keys] for k in KEYS})
    for name, operator in READOUTS.items():
        # Folds without results are free to add in another order.
        memory, final = Memory(operator, vectors), Memory(operator, vectors)
        every, latest = iter(outputs.every), {key: iter(records) for key, records in outputs.latest.items()}
        for part in parts:
            results = memory.fold(part.keys, part.columns, part.times)
            for i in range(len(part.keys)):
                next(every)[name] = plain(results, i)
            final.fold(part.keys, part.columns, part.times, each=False)
            touched = [key for key in map(str, final.keys) if key in part.keys]
            readouts, memories = final.read(touched), final.export(touched)
            for i, key in enumerate(touched):
                next(latest[key]).update({name: plain(readouts, i), f"{name}.state": as_published(memories[i])})
    return outputs


def as_published(memory: Mapping[str, object]) -> Any:
    """A memory as JSON has it: null for what is not a finite number."""
    return msgspec.json.decode(msgspec.json.encode(memory))


def published(site: Site, name: str) -> Outputs:
    """What an app wrote."""
    every, latest = ([json.loads(r.value) for r in site.records(f"{name}-{table}")] for table in ("every", "latest"))
    return Outputs(every, {key: [record for record in latest if record["key"] == key] for key in KEYS})


def test_every_type_is_configured() -> None:
    assert {type(operator) for operator in READOUTS.values()} >= set(TYPES.values())


def test_a_kill_in_the_middle_changes_no_bit_of_any_operator(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    site = Site(kafka, topic_prefix)
    quiet, struck = f"{site.name}-quiet", f"{site.name}-struck"
    app = loads(config(site, quiet))
    assert app.tables["every"].operators == READOUTS
    assert app.tables["latest"].operators == MEMORIES
    file = tmp_path / "struck.toml"
    file.write_text(config(site, struck))
    parts = rounds()

    async def committed(position: int, *groups: str, plane: Plane) -> None:
        def reached() -> bool:
            return all(site.admin.committed(group).get(site.tp()) == position for group in groups)

        await until(reached, f"{', '.join(groups)} committed {position} events", plane)

    async def work() -> None:
        async with running(app) as plane:
            with worker(file, kill_at="mid-transaction") as first:
                for n, part in enumerate(parts[:KILLED], 1):
                    await asyncio.to_thread(send, site, part)
                    await committed(n * EVENTS, quiet, struck, plane=plane)
                await asyncio.to_thread(send, site, parts[KILLED])
                await until(lambda: first.poll() is not None, "the worker is killed", plane)
                assert first.returncode == -signal.SIGKILL
                await committed(KILLED * EVENTS, struck, plane=plane)
            with worker(file):
                for n, part in enumerate(parts[KILLED + 1 :], KILLED + 1):
                    await committed(n * EVENTS, quiet, struck, plane=plane)
                    await asyncio.to_thread(send, site, part)
                await committed(ROUNDS * EVENTS, quiet, struck, plane=plane)

    scenario(work)
    one, other, alone = published(site, quiet), published(site, struck), expected(parts)
    assert len(one.every) == ROUNDS * EVENTS
    assert one.differing(other) == set()
    assert one.differing(alone, besides=HEAD) == set()
