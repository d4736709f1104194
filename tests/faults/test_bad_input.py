"""Every hundredth event of a load is broken, and the workers are killed: each refused event is a dead letter once."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.faults.arena import PARTITIONS, TOLERANCE, Arena, Truth
from tests.faults.conftest import SEED
from tests.faults.fuzz import BREAKS, broken, numbers

TOTAL = """
[tables.total]
stream = "scores"
[tables.total.operators]
n = { type = "count" }
sum = { type = "sum", value = "y" }
"""
FIELDS = {"scores": {"player": "x", "latest": "x", "total": "y"}, "sensors": {"sensor": "x"}}
"""By stream, the field that each of its tables needs."""

POINTS = ("after fold", "after cut", "mid-transaction", "after acknowledgement", "before commit", "after commit")


@dataclass(frozen=True)
class Refused:
    """An event that was sent, and by table (None: all of them) what has to be said of it."""

    sent: Any
    key: bytes | None
    value: bytes | None
    stage: str
    reasons: dict[str | None, str]


class Fuzzed(Arena):
    """An arena where one event in a hundred is broken; ``totals`` is the truth of a table that needs another field."""

    def __init__(self, brokers: str, folder: Path, name: str, seed: int) -> None:
        super().__init__(brokers, folder, name, seed)
        self.file.write_text(self.file.read_text() + TOTAL)
        self.refused: list[Refused] = []
        self.ways: Counter[str] = Counter()
        self.totals: dict[str, Truth] = defaultdict(Truth)
        self._chance = random.Random(seed + 2)

    def _send_one(self, producer: KafkaProducer, keys: int, bad: float = 0.0) -> None:
        chance = self._chance
        stream = chance.choice(["scores", "scores", "sensors"])
        good = json.dumps({"x": chance.uniform(-1e6, 1e6), "y": chance.uniform(-1e6, 1e6)}).encode()
        key: bytes | None = f"{stream}-{chance.randrange(keys)}".encode()
        key, value = self._break(key, good) if chance.random() < max(bad, 0.01) else (key, good)
        sent = producer.send(f"{self.source}-{stream}", key=key, value=value)
        found = numbers(value, set(FIELDS[stream].values()))
        if isinstance(found, str):
            self.refused.append(Refused(sent, key, value, "decode", {None: found}))
        elif key is None or len(key) > 4096:
            self.refused.append(Refused(sent, key, value, "key", {None: ""}))
        else:
            self._fold(stream, key.decode(), found)
            if lacking := {table for table, field in FIELDS[stream].items() if field not in found}:
                reasons: dict[str | None, str] = dict.fromkeys(lacking, "missing or null")
                self.refused.append(Refused(sent, key, value, "decode", reasons))

    def _break(self, key: bytes | None, value: bytes) -> tuple[bytes | None, bytes | None]:
        chance = self._chance
        if chance.random() < 0.1:
            self.ways["key"] += 1
            return chance.choice([None, b"k" * 5_000]), value
        while True:
            found, way = broken(value, chance, self.ways.total())
            event = numbers(found, ("x", "y"))
            if isinstance(event, str) or all(abs(number) < 1e6 for number in event.values()):
                self.ways[way] += 1
                return key, found

    def _fold(self, stream: str, key: str, found: dict[str, float]) -> None:
        for truth, field in ((self.truth[stream], "x"), (self.totals, "y")):
            if field in found and (field == "x" or stream == "scores"):
                truth[key].count += 1
                truth[key].total += Fraction(found[field])

    def check_letters(self) -> None:
        """Each refused event is there once for each table that refused it, byte for byte, and nothing else is."""
        expected = {
            (str(at.topic), at.partition, at.offset, table): (event.key, event.value, event.stage, reason)
            for event in self.refused
            for at in [event.sent.get(timeout=30)]
            for table, reason in event.reasons.items()
        }
        found = Counter[Any]()
        for letter in self.read(f"{self.name}-dead-letters", max(PARTITIONS.values())):
            headers = {name: content.decode() for name, content in letter.headers}
            place = (headers["topic"], int(headers["partition"]), int(headers["offset"]), headers.get("table"))
            found[place] += 1
            key, value, stage, reason = expected[place]
            assert (letter.key, letter.value, headers["stage"]) == (key, value, stage)
            assert headers["reason"].startswith(reason), headers
            assert "truncated" not in headers
        assert set(found) == set(expected)
        assert max(found.values()) == 1

    def check_totals(self) -> None:
        """The table that needs another field has folded those events that have it, in order."""
        seen = Counter[str]()
        last: dict[str, float] = {}
        for record in self.read(f"{self.name}-total", PARTITIONS["scores"]):
            value = json.loads(record.value)
            seen[value["key"]] += 1
            assert value["n"] == seen[value["key"]]
            last[value["key"]] = value["sum"]
        assert seen == {key: truth.count for key, truth in self.totals.items()}
        for key, truth in self.totals.items():
            assert last[key] == pytest.approx(float(truth.total), rel=1e-12, abs=TOLERANCE)


@pytest.fixture
def arena(kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Fuzzed]:
    print(f"replay with SEED={SEED}")
    arena = Fuzzed(kafka, tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


@pytest.mark.timeout(240)
def test_each_broken_event_of_a_load_is_a_dead_letter_once_through_kill_9(
    arena: Fuzzed, expect_exact: Callable[[], None]
) -> None:
    arena.send(6_000)
    with arena.load(rate=2_000):
        arena.start(0, arena.random.choice(POINTS))
        assert arena.wait(0, timeout=60) == -9, arena.log()
        arena.start(0)
    arena.drained()
    assert {way.__name__ for way in BREAKS} <= set(arena.ways), "a load too short to meet them all"
    arena.check_letters()
    arena.check_totals()
    expect_exact()
