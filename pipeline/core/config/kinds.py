"""The kinds of options there are: what each takes, how it says so, what it holds."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol, TypeVar, get_args

from msgspec import Meta

from operators.duration import seconds
from operators.operator import Operator
from pipeline.core.config.option import REQUIRED, Given, Held, Option
from pipeline.core.config.problem import alternatives
from pipeline.core.secret import Secret

T = TypeVar("T")

_LONGEST_NAME = 200
_LONGEST_TOPIC = 249
_LONGEST_DURATION = 7 * 86_400.0
_LONGEST_AGE = 3_650 * 86_400.0
_LARGEST_WIDTH = 65_536
_LONGEST_LOOK_BACK = 10_000_000
_SHORTEST_TOKEN = 16

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")


_LETTERS = r"^[A-Za-z0-9._-]+$"

NameText = Annotated[str, Meta(pattern=_LETTERS, max_length=_LONGEST_NAME)]
"""A name in a file, as its schema has it."""

TopicText = Annotated[str, Meta(pattern=_LETTERS, max_length=_LONGEST_TOPIC)]
"""A topic in a file, as its schema has it."""

DurationText = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$")]
"""A duration in a file, as its schema has it."""


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """Which it goes by."""


N = TypeVar("N", bound=Named)


def optional(option: Option[Given, Held]) -> Option[Given | None, Held | None]:
    """The same option, but it may be left out: None then."""
    option.default = None  # type: ignore[assignment]
    return option  # type: ignore[return-value]


def name(doc: str) -> Option[str, str]:
    """A name that becomes a part of topics' names."""
    return Option(str, _allowed("a name", _LONGEST_NAME), doc=doc, convert=_name, in_file=NameText)


def topic(doc: str) -> Option[str, str]:
    """A topic's name."""
    return Option(str, _allowed("a topic", _LONGEST_TOPIC), doc=doc, convert=topic_name, in_file=TopicText)


def topic_name(text: str) -> str:
    """The text, if Kafka takes it for a topic's name. Raises ValueError if not."""
    return _plain(text, _LONGEST_TOPIC)


def text(expected: str, doc: str, *, is_path: bool = False) -> Option[str, str]:
    """Text that isn't empty. A relative path in a configuration file begins at that file's folder."""
    return Option(str, expected, doc=doc, convert=_text, is_path=is_path)


def texts(expected: str, doc: str) -> Option[Sequence[str], tuple[str, ...]]:
    """Texts, each once."""
    return Option(tuple[str, ...], expected, (), doc=doc, convert=_distinct)


def text_or_texts(expected: str, doc: str) -> Option[str | Sequence[str], str | tuple[str, ...]]:
    """A text, or several of them, each once."""
    several = Annotated[tuple[str, ...], Meta(min_length=1)]
    return Option(str | several, expected, doc=doc, convert=_text_or_texts)


def secret(doc: str) -> Option[str, Secret]:
    """Text that is never shown."""
    return Option(str, "text that isn't empty", doc=doc, convert=lambda text: Secret(_text(text)), is_secret=True)


def token(doc: str) -> Option[str, Secret]:
    """A secret that a header can carry."""
    expected = f"at least {_SHORTEST_TOKEN} letters, digits and any of -._~+/, without spaces"
    return Option(str, expected, doc=doc, convert=lambda text: Secret(_token(text)), is_secret=True)


def widths(doc: str) -> Option[Mapping[str, int], Mapping[str, int]]:
    """The lengths of vectors, by field."""
    width = Annotated[int, Meta(ge=1, le=_LARGEST_WIDTH)]
    expected = f"fields with lengths from 1 to {_LARGEST_WIDTH}, like {{ k = 3, v = 2 }}"
    return Option(dict[str, width], expected, {}, doc=doc, convert=_keyed_by_text)


def expressions(doc: str) -> Option[Mapping[str, str], Mapping[str, str]]:
    """Expressions by name."""
    expected = 'names with expressions, like { speed = "distance / seconds" }'
    return Option(dict[str, str], expected, {}, doc=doc, convert=_keyed_by_text)


def choice(kind: Any, default: T, doc: str) -> Option[T, T]:
    """One of a few words."""
    return Option(kind, alternatives(get_args(kind)), default, doc=doc)


def count(default: int, most: int, doc: str) -> Option[int, int]:
    """A whole number from 1."""
    return Option(Annotated[int, Meta(ge=1, le=most)], f"a whole number from 1 to {most}", default, doc=doc)


def flag(doc: str) -> Option[bool, bool]:
    """Yes or no; no if left out."""
    return Option(bool, "true or false", False, doc=doc)


def duration(default: str, doc: str) -> Option[str | float, float]:
    """A time span: text like "30s" or, in Python, seconds. Held in seconds."""
    expected = 'a duration from 1ms to 7d, like "250ms", "30s" or "5m"'
    return Option(str | float, expected, default, doc=doc, convert=_seconds, in_file=DurationText)


def age(doc: str) -> Option[str | float | None, float | None]:
    """A time span that may be long, or left out. Held in seconds."""
    expected = 'a duration from 1s to 3650d, like "15m", "12h" or "30d"'
    span: Option[str | float, float] = Option(str | float, expected, doc=doc, convert=_age, in_file=DurationText)
    return optional(span)


def look_back(doc: str) -> Option[int | str, int | str]:
    """How far back: a number of events, or a time span as text like "10m". Held as given."""
    events = Annotated[int, Meta(ge=1, le=_LONGEST_LOOK_BACK)]
    expected = f'a number of events from 1 to {_LONGEST_LOOK_BACK:,}, or a duration from 1ms to 7d, like "10m"'
    return Option(events | str, expected, doc=doc, convert=_look_back, in_file=events | DurationText)


def address(default: str, doc: str) -> Option[str, str]:
    """host:port."""
    return Option(str, f'host:port, like "{default}"', default, doc=doc, convert=_address)


def addresses(default: str, doc: str) -> Option[str, str]:
    """Some host:port, by commas."""
    return Option(str, f'host:port, by commas if several, like "{default}"', default, doc=doc, convert=_addresses)


def instance(kind: type[T], doc: str) -> Option[T, T]:
    """An object of a class."""
    return Option(Any, f"an object of the class {kind.__name__}", doc=doc, convert=lambda value: _only(kind, value))


def either(option: Option[T, T]) -> Option[T | None, T]:
    """The same option, which another one may stand in for: whoever has both fills it in."""
    option.default = None  # type: ignore[assignment]
    return option  # type: ignore[return-value]


def instances(kind: type[T], doc: str) -> Option[Sequence[T], tuple[T, ...]]:
    """Objects of a class, none if left out."""
    expected = f"objects of the class {kind.__name__}"

    def convert(value: object) -> tuple[T, ...]:
        return tuple(_only(kind, item) for item in _only(Iterable, value))  # type: ignore[type-abstract]

    return Option(Any, expected, (), doc=doc, convert=convert)


def named(kind: type[N], doc: str, default: Any = REQUIRED) -> Option[Iterable[N] | Mapping[str, N], Mapping[str, N]]:
    """Objects of a class with different names; held by name."""
    expected = f"objects of the class {kind.__name__} with different names"
    return Option(Any, expected, default, doc=doc, convert=lambda value: _by_name(kind, value))


def operators(doc: str) -> Option[Mapping[str, Operator], Mapping[str, Operator]]:
    """Operators by name, at least one."""
    return Option(Any, "at least one operator, by name", doc=doc, convert=_operators)


def _allowed(what: str, most: int) -> str:
    return f"{what} of at most {most} letters, digits, '.', '_' and '-'"


def _name(text: str) -> str:
    return _plain(text, _LONGEST_NAME)


def _plain(text: str, most: int) -> str:
    return _check(text, _PLAIN.fullmatch(text) is not None and len(text) <= most and text not in {".", ".."})


def _text(text: str) -> str:
    text.encode()  # a lone surrogate is a ValueError
    return _check(text, text)


def _token(text: str) -> str:
    return _check(text, _TOKEN.fullmatch(text) is not None and len(text) >= _SHORTEST_TOKEN)


def _distinct(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _check(texts, len(set(texts)) == len(texts) and all(map(_text, texts)))


def _text_or_texts(given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return _text(given) if isinstance(given, str) else _distinct(given)


def _keyed_by_text(values: Mapping[str, T]) -> Mapping[str, T]:
    return _check(dict(values), all(map(_text, values)))


def _age(value: str | float) -> float:
    span = seconds(value) if isinstance(value, str) else value
    return _check(span, 1.0 <= span <= _LONGEST_AGE)


def _seconds(value: str | float) -> float:
    span = seconds(value) if isinstance(value, str) else value
    return _check(span, 0.001 <= span <= _LONGEST_DURATION)


def _look_back(value: int | str) -> int | str:
    if isinstance(value, str):
        _seconds(value)
    return value


def _addresses(text: str) -> str:
    return ",".join(_address(part.strip()) for part in text.split(","))


def _address(text: str) -> str:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError
    if match["v6"]:
        ipaddress.IPv6Address(match["v6"])
    return _check(text, 1 <= int(match["port"]) <= 65_535)


def _by_name(kind: type[N], value: object) -> Mapping[str, N]:
    values: Iterable[object] = _only(Iterable, value.values() if isinstance(value, Mapping) else value)  # type: ignore[type-abstract]
    objects = [_only(kind, item) for item in values]
    by_name = {item.name: item for item in objects}
    return _check(by_name, len(by_name) == len(objects))


def _operators(value: object) -> Mapping[str, Operator]:
    values: Mapping[str, Operator] = _only(dict, value)
    return _check(dict(values), all(isinstance(operator, Operator) for operator in values.values()) and values)


def _only(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise ValueError
    return value


def _check(value: T, sound: object) -> T:
    """The value, if it is sound. Raises ValueError if not."""
    if not sound:
        raise ValueError
    return value
