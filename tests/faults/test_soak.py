"""The long form of the fault runs: `make soak MINUTES=30 SEED=7 REPORT=docs/soak.md`."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.doctor.transactions import open_transactions
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from tests.faults.arena import CONFIG, TABLES, TOLERANCE, Arena, until
from tests.faults.chaos import Chaos
from tests.faults.conftest import SEED
from tests.faults.reader import Reader
from tests.faults.soak_report import Soak, quarters
from tests.faults.web import get

MINUTES = float(os.environ.get("MINUTES") or 10)
REPORT = os.environ.get("REPORT")

RATE = 600
KEYS = 200
BAD = 0.01
FAULTS_A_BURST = 20
SPARED = 0
SPARED_PART = 0.75
"""The part of the run in which one worker is never ended: its memory is what a worker's memory becomes with time."""

RECOVERY_SECONDS = 180
GROWTH = 1.25
GROWTH_BYTES = 32 * 1024 * 1024
HANGING_SECONDS = 30.0


class Patient(Arena):
    """Its workers wait for the broker however long a busy machine takes to start one that is killed again and again."""

    config: ClassVar[str] = CONFIG.replace(
        "commit_interval", 'start_timeout = "300s"\nbroker_timeout = "300s"\ncommit_interval'
    )


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A broker to be stopped, killed and paused; its data outlive it."""
    with EmbeddedKafka(data=tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture
def arena(own: EmbeddedKafka, tmp_path: Path, topic_prefix: str) -> Iterator[Arena]:
    """On the broker that is struck, with workers that wait for it as long as it takes on a busy machine."""
    arena = Patient(own.address, tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_soak(
    arena: Arena, own: EmbeddedKafka, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """All faults at random for as long as asked; the report tells what came of it, and it must be nothing wrong."""
    caplog.set_level(logging.CRITICAL, logger="kafka")  # it tells of each request to a broker that is away

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"[{(time.monotonic() - began) / 60:4.1f} min] {text}", flush=True)

    began = time.monotonic()
    end = began + 60 * MINUTES
    spared_until = began + SPARED_PART * 60 * MINUTES
    recoveries: list[float] = []
    chaos = Chaos(arena, own)
    chaos.spared.add(SPARED)
    live = Reader(arena)
    again = None
    try:
        tell(f"SEED={SEED}, logs in {arena.folder}")
        with arena.load(RATE, KEYS, BAD):
            until(lambda: live.ledger.outputs.total() > 0, 60, "the first outputs")
            while time.monotonic() < end:
                chaos.burst(FAULTS_A_BURST)
                recoveries.append(recovery(chaos, live))
                tell(
                    f"{chaos.faults.total()} faults, recovered in {recoveries[-1]:.1f} s, {trouble(chaos, live)} wrong"
                )
                if time.monotonic() > spared_until:
                    chaos.spared.clear()
        recovery(chaos, live)
        last = chaos.leave_one()
        recovery(chaos, live)
        ends = live.ends()
        until(lambda: live.has_read(ends), 600, "the reader has all")
        again = Reader(arena)
        until(lambda: again.has_read(ends), 3_600, "the second reading has all")
        violations = [*chaos.violations, *settled(live, "read live"), *settled(again, "read afterwards")]
        violations += wrong_states(arena.ports[last], again)
        violations += lost_on_the_way(arena, again)
        violations += hanging(own, ends)
        violations += growth(chaos.spared_bytes)
    finally:
        for reader in (live, again):
            if reader is not None:
                reader.close()
    soak = Soak(
        MINUTES, SEED, KEYS,
        live.ledger.events, live.ledger.bad, live.ledger.outputs.total(), live.ledger.letters,
        chaos.faults, violations, recoveries, live.longest_silence(), chaos.peak_bytes, chaos.spared_bytes,
        SPARED_PART * MINUTES,
    )  # fmt: skip
    if REPORT:
        Path(REPORT).write_text(soak.markdown())
    tell(f"done\n{soak.markdown()}")
    assert violations == [], f"SEED={SEED}\n{arena.log()}"


def recovery(chaos: Chaos, reader: Reader) -> float:
    """Wait until all that the source held after the last fault is out; the seconds since the last fault."""
    ends = reader.source_ends()
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not all(reader.ledger.reached.get(where, 0) >= end for where, end in ends.items()):
        reader.check()
        chaos.rest(0.1)
        if chaos.mend_broker():
            deadline = time.monotonic() + RECOVERY_SECONDS
        if time.monotonic() > deadline:
            late = {where: end for where, end in ends.items() if reader.ledger.reached.get(where, 0) < end}
            pytest.fail(f"no recovery within {RECOVERY_SECONDS} s: {late} is not out yet\n{chaos.question()}")
    return time.monotonic() - chaos.last


def trouble(chaos: Chaos, reader: Reader) -> int:
    """How much is wrong so far."""
    return len(chaos.violations) + len(reader.ledger.violations)


def settled(reader: Reader, when: str) -> list[str]:
    """All that is wrong in what was read."""
    reader.close()
    reader.ledger.close()
    return [f"{when}: {violation}" for violation in reader.ledger.violations]


def wrong_states(port: int, reader: Reader) -> Iterator[str]:
    """What the last worker holds of each key, beside the fold of the whole source."""
    for table, stream in TABLES.items():
        for key, fold in reader.ledger.folds[stream].items():
            try:
                state = json.loads(get(port, f"/tables/{table}/{key}"))
            except OSError as error:
                yield f"the state of {key} in {table} can't be had: {error}"
                continue
            average = float(fold.total / fold.games)
            if state["games"] != fold.games or not abs(state["average"] - average) <= TOLERANCE:
                yield f"the state of {key} in {table} is {state}, not the average {average} of {fold.games} events"


def lost_on_the_way(arena: Arena, reader: Reader) -> Iterator[str]:
    """What the load has sent, beside what the source holds."""
    for stream, keys in arena.truth.items():
        for key, sent in keys.items():
            fold = reader.ledger.folds[stream][key]
            if (sent.count, sent.total) != (fold.games, fold.total):
                yield f"{sent.count} events of {key} were sent, the source has {fold.games}"


def hanging(broker: EmbeddedKafka, ends: dict[Any, int]) -> Iterator[str]:
    """Transactions that nobody ends."""
    admin = Admin(ClientSettings(broker.address))
    for found in open_transactions(admin, ends, HANGING_SECONDS):
        yield f"{found.partition} is held up by {found.transactional_id} for {found.silent:.0f} s"
    admin.close()


def growth(samples: list[int]) -> Iterator[str]:
    """Memory that went on growing once the keys were all there."""
    _, second, _, last = quarters(samples)
    if last > max(GROWTH * second, second + GROWTH_BYTES):
        yield f"a worker grew from {second / 1e6:.0f} to {last / 1e6:.0f} MB"
