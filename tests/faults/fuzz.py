"""Events broken in every way that a producer, a disk or a stranger breaks them, and what has to be said of each.

What is good is not decided by who broke it, but by Python's own json: a flipped byte may leave a good event behind.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable

from tests.core.decoding import strict

Random = random.Random


def numbers(value: bytes | None, fields: Iterable[str]) -> dict[str, float] | str:
    """The numbers that an event has in these fields, or how the reason begins for which it has to be refused."""
    if value is None:
        return "null value"
    if not value:
        return "empty value"
    try:
        event = strict(value)
    except (ValueError, RecursionError):
        return "malformed value"
    if not isinstance(event, dict):
        return "malformed value"
    there = {field: event[field] for field in fields if event.get(field) is not None}
    try:
        found = {field: float(number) for field, number in there.items() if type(number) in (int, float)}
    except OverflowError:
        return "invalid field"
    return found if len(found) == len(there) and all(map(math.isfinite, found.values())) else "invalid field"


def _cut_short(good: bytes, chance: Random) -> bytes:
    return good[: chance.randrange(1, len(good))]


def _flipped(good: bytes, chance: Random) -> bytes:
    raw = bytearray(good)
    for _ in range(chance.randint(1, 3)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(raw)


def _with_a_wrong_type(good: bytes, chance: Random) -> bytes:
    event = json.loads(good)
    event[chance.choice(sorted(event))] = chance.choice(["1", True, [1.0], {"x": 1.0}, ""])
    return json.dumps(event).encode()


def _no_object(good: bytes, chance: Random) -> bytes:
    return chance.choice([b"null", b"[%b]" % good, b"17", b'"text"', b" ", good + good, good + b"\x00"])


def _no_number(good: bytes, chance: Random) -> bytes:
    return b'{"x": %b}' % chance.choice([b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"0x10", b"01", b"+1", b"1,5"])


def _lacking(good: bytes, chance: Random) -> bytes:
    return chance.choice([b"{}", b'{"y": 1.0}', b'{"x": null, "y": 2.0}', b'{"X": 1.0}'])


def _deep(good: bytes, chance: Random) -> bytes:
    depth = chance.randint(20_000, 100_000)
    return b'{"x": 1.0, "z": ' + chance.choice([b"[", b'{"a":']) * depth


def _no_text(good: bytes, chance: Random) -> bytes:
    return good[:-1] + b', "z": "%b"}' % chance.choice([b"\xff", b"\xed\xa0\x80", b"\xc3", b"\\ud800", b"\n"])


def _noise(good: bytes, chance: Random) -> bytes:
    return chance.randbytes(chance.randint(1, 200))


def _oversized(good: bytes, chance: Random) -> bytes:
    return b'{"x": "' + bytes(chance.choices(b"abc", k=1)) * chance.randint(100_000, 900_000) + b'"}'


BREAKS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _cut_short, _flipped, _with_a_wrong_type, _no_object, _no_number, _lacking, _deep, _no_text, _noise, _oversized,
)  # fmt: skip


def broken(good: bytes, chance: Random, turn: int) -> tuple[bytes | None, str]:
    """A good event broken in the way whose turn it is, and the way's name; it may be good even so."""
    way = turn % (len(BREAKS) + 2)
    if way >= len(BREAKS):
        return (b"", "empty") if way == len(BREAKS) else (None, "null")
    return BREAKS[way](good, chance), BREAKS[way].__name__
