"""The books see what is wrong: each thing that may not happen, done to outputs that were right."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.faults.arena import BAD, TABLES
from tests.faults.ledger import Ledger, Place, Raw, refusers, value_of

EVENTS = 40

Output = tuple[str, dict[str, Any]]
Letter = tuple[Place, str | None, Raw]


def source() -> list[tuple[str, int, int, Raw]]:
    """Events of both streams, one in ten bad."""
    rng = random.Random(1)
    events: list[tuple[str, int, int, Raw]] = []
    for offset in range(EVENTS):
        for stream in ("scores", "sensors"):
            value = rng.choice(BAD) if rng.random() < 0.1 else json.dumps({"x": rng.uniform(-9, 9)}).encode()
            events.append((stream, 0, offset, (b"%d" % rng.randrange(3), value)))
    return events


def right() -> tuple[list[Output], list[Letter]]:
    """What has to come out of them."""
    outputs: list[Output] = []
    letters: list[Letter] = []
    values: dict[tuple[str, str], list[float]] = {}
    for stream, partition, offset, (key, raw) in source():
        assert key is not None
        if refused := refusers(stream, raw):
            letters += [((stream, partition, offset), table, (key, raw)) for table in refused]
            continue
        x, name = value_of(raw), key.decode()
        assert x is not None
        mine = values.setdefault((stream, name), [])
        mine.append(x)
        for table, source_of in TABLES.items():
            if source_of != stream or (table == "latest" and len(mine) % 2):
                continue
            recent = mine[-5:]
            output = {"key": name, "partition": partition, "offset": offset, "games": len(mine)}
            output["average"] = sum(mine) / len(mine)
            if table == "player":
                output["last"] = sum(recent) / len(recent)
            outputs.append((table, output))
    for number in range(3):  # the newest of each key is always there
        mine = values["scores", str(number)]
        if len(mine) % 2:
            (output,) = [o for t, o in outputs if t == "player" and o["key"] == str(number) and o["games"] == len(mine)]
            outputs.append(("latest", {name: output[name] for name in output if name != "last"}))
    return outputs, letters


def violations(outputs: list[Output], letters: list[Letter], *, source_first: bool = True) -> list[str]:
    """What the books say of them."""
    ledger = Ledger()

    def read_source() -> None:
        for event in source():
            ledger.event(*event)

    if source_first:
        read_source()
    for table, output in outputs:
        ledger.output(table, json.dumps(output).encode())
    for place, refuser, raw in letters:
        ledger.letter(place, refuser, raw)
    if not source_first:
        read_source()
    ledger.close()
    return ledger.violations


@pytest.mark.parametrize("source_first", [True, False])
def test_nothing_is_wrong_with_what_is_right(source_first: bool) -> None:
    outputs, letters = right()
    assert letters, "some are bad"
    assert violations(outputs, letters, source_first=source_first) == []


@pytest.mark.parametrize("value", BAD)
def test_none_of_the_bad_events_is_one(value: bytes | None) -> None:
    missing = value in (b'{"y": 1}', b'{"x": null}')
    assert refusers("scores", value) == (["player", "latest"] if missing else [None])


@pytest.mark.parametrize("source_first", [True, False])
@pytest.mark.parametrize("table", TABLES)
def test_a_result_too_few_or_too_many(table: str, source_first: bool) -> None:
    outputs, letters = right()
    for at in [i for i, (t, _) in enumerate(outputs) if t == table][::7]:
        _, output = outputs[at]
        twice = [*outputs[: at + 1], *outputs[at:]]
        assert violations(twice, letters, source_first=source_first)
        newest = not any(t == table and o["key"] == output["key"] for t, o in outputs[at + 1 :])
        if table != "latest" or newest:  # of the others, a later one stands for them
            assert violations([*outputs[:at], *outputs[at + 1 :]], letters, source_first=source_first)


@pytest.mark.parametrize("field", ["games", "average", "last"])
def test_a_wrong_value(field: str) -> None:
    outputs, letters = right()
    for _, output in outputs[::7]:
        if field in output:
            output[field] += 1
            assert len(violations(outputs, letters)) == 1
            output[field] -= 1


def test_results_in_another_order() -> None:
    outputs, letters = right()
    first, second = [i for i, (t, o) in enumerate(outputs) if t == "player" and o["key"] == "0"][:2]
    outputs[first], outputs[second] = outputs[second], outputs[first]
    assert violations(outputs, letters)


def test_a_dead_letter_too_few_too_many_or_with_other_bytes() -> None:
    outputs, letters = right()
    place, table, (key, value) = letters[0]
    assert violations(outputs, letters[1:])
    assert violations(outputs, [*letters, letters[0]])
    assert violations(outputs, [(place, table, (key, (value or b"") + b" ")), *letters[1:]])
    assert violations(outputs, [(place, table, (None, value)), *letters[1:]])
    assert violations(outputs, [(place, "sensor", (key, value)), *letters[1:]])
