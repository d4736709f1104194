"""The operators that there are: what each remembers, which options it takes, and how its states combine."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from operators import TYPES, Operator, OperatorError
from operators.operator import Algebra

MERGE: dict[Algebra, str] = {"group": "yes", "monoid": "yes", "ordered": "in order", "none": "no"}
"""Whether partial states become one: those of any events, or only of events and of those right after them."""

TAKE_BACK: dict[Algebra, str] = {"group": "yes", "monoid": "no", "ordered": "no", "none": "no"}
"""Whether an event can be taken out again."""

ORDER: dict[Algebra, str] = {"group": "any", "monoid": "any", "ordered": "of arrival", "none": "of arrival"}
"""In which order the events have to come for the same result."""


@dataclass(frozen=True)
class Entry:
    """An operator: its name, which is ``type`` in a configuration, its class, and what it remembers, in a line."""

    name: str
    cls: type[Operator]

    @property
    def summary(self) -> str:
        """What it remembers, in a line."""
        return self.doc.partition("\n")[0]

    @property
    def doc(self) -> str:
        """All that its class says of itself: formula, parameters, state, references."""
        return (inspect.getdoc(self.cls) or "").replace("``", "`")

    @property
    def algebras(self) -> list[Algebra]:
        """How its states combine: one word, or several where that depends on the options."""
        found = {operator.algebra for operator in _tried(self.cls)}
        return [algebra for algebra in MERGE if algebra in found]

    def said(self, words: Mapping[Algebra, str]) -> str:
        """That in words; several where it depends on the options."""
        return " / ".join(dict.fromkeys(words[algebra] for algebra in self.algebras))

    def plain(self) -> dict[str, Any]:
        """All of it, ready for JSON. An option without ``default`` has to be given."""
        options = {
            option.name: {} if option.default is dataclasses.MISSING else {"default": option.default}
            for option in dataclasses.fields(self.cls)
        }
        return {
            "type": self.name,
            "summary": self.summary,
            "inputs": list(self.cls.roles),
            "options": options,
            "algebras": self.algebras,
            "doc": self.doc,
        }


def entries() -> list[Entry]:
    """All operators that have a name of their own."""
    return [Entry(name, cls) for name, cls in TYPES.items()]


def _tried(cls: type[Operator]) -> Iterator[Operator]:
    """The operator with all that it needs, and then with each other option in turn, in all ways that it takes.

    Its algebra is a question to an operator that has its options: only they know, say, what the window counts.
    """
    hints = get_type_hints(cls)
    options = dataclasses.fields(cls)
    needed = [option.name for option in options if option.default is dataclasses.MISSING]
    others = [(option.name, sample) for option in options for sample in _samples(hints[option.name])]
    for given in product(*(_samples(hints[name]) for name in needed)):
        required = dict(zip(needed, given, strict=True))
        for more in [{}, *({name: sample} for name, sample in others)]:
            try:
                yield cls(**{**required, **more})
            except OperatorError:
                continue


def _samples(hint: Any) -> list[Any]:
    """Values of an option of that type, one for each way of giving it."""
    kinds = get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)
    return [sample for kind in kinds for sample in _of_kind(kind)]


def _of_kind(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) is Sequence:
        return [[sample] for sample in _samples(get_args(kind)[0])]
    return _PLAIN.get(kind, [])


_PLAIN: dict[Any, list[Any]] = {bool: [True, False], int: [2], float: [0.5, 2.0], str: ["1m"]}
"""Any text may be a field's name, but not any a duration."""
