"""The reference page of the expressions, made from the code that reads and evaluates them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite, nan
from pathlib import Path

import numpy as np

from pipeline.core.expression import FUNCTIONS, Column, Kind, Scope, read, texts
from pipeline.core.expression.syntax import MAX_DEPTH, MAX_LENGTH, MAX_NODES
from scripts.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "expressions.md"

EVENT: Mapping[str, object] = {
    "distance": 120.0,
    "seconds": 60.0,
    "kind": "Final",
    "ok": True,
    "air temp": -2.5,
    "at": 1774792800.0,
    "note": None,
    "laps": None,
}

_HEAD = """\
# Expressions

`where` and `select` of a stream are expressions over an event's fields: [choose events](../how-to/choose-events.md).
They are written as in Python and pandas, and evaluated on whole columns, in double precision. Python's parser reads
the text, and a list of what is allowed, this page, turns it into NumPy calls. Nothing of the text is ever run; what is
not on this page is refused by `streamfold validate`, with its column in the expression. White space outside of
quotation marks has no meaning, line breaks neither.

The examples are those of the event
`{"distance": 120, "seconds": 60, "kind": "Final", "ok": true, "air temp": -2.5, "at": 1774792800, "note": null}`."""

_ALLOWED: tuple[tuple[str, str], ...] = (
    ("numbers", "1_000 + .5 + 1e3"),
    ("a field", "distance"),
    ("a field whose name is no plain word: letters outside of ASCII, spaces, dots, words of Python", "`air temp`"),
    ("arithmetic", "distance / seconds + 1 - 2 * 3"),
    ("rounded down, and what is left of it", "-7 // 2 + -7 % 2"),
    ("powers", "-seconds ** 2"),
    ("text, in either quotation marks, which stands as it is", "kind == 'Final'"),
    ("comparisons, of text by its code points", "kind < 'Z'"),
    ("several at once", "0 < seconds <= 60"),
    ("one of a list of numbers or texts", "kind in ['Final', 'Heat']"),
    ("none of it", "seconds not in [1, 2, 60]"),
    ("true and false, also as True and False", "ok == true"),
    ("and, or, not", "ok and not (distance > 500 or seconds < 1)"),
    ("one of two values", "'long' if distance > 100 else 'short'"),
    ("a function", "max(distance, seconds)"),
)

_KINDS = """\
## What a field is

A field is what the expressions of its stream do with it, all of them together: **text** if it is compared with text,
**true or false** if it is compared with that or is a condition by itself, else **a number**; a field of which is only
asked whether it `is_null` may be anything. A field that is used as two of them is refused, and so is text that an
operator reads as a number. Nothing is converted: an event with a number where text is due is a bad event (stage
`decode`), as one is with text where an operator reads a number. The key field is text, an integer as decimal text; the
time field is a number, in Unix seconds whatever its unit. Fields of float64 and float32 records are numbers. Vectors
can't be used.

## What is absent, and what is infinite

As in pandas: a field that is absent or null is NaN, or None if it is text. Arithmetic with it gives NaN; a comparison
with it is false, but `!=`, which is true; a condition that is absent is not true. Numbers follow IEEE 754: among fields
`1 / 0` is infinite, `0 / 0` is NaN, what overflows is infinite; `//` and `%` are those of NumPy, and so are
`1 ** NaN` and `NaN ** 0`, which are 1.

A selected number that is NaN counts as absent, for which a table has `missing`. One that is infinite makes a bad event
(stage `select`, reason `non-finite number: NAME`), if `where` keeps the event and anything reads the name. A constant
that is not finite is refused, as is an integer that a double can't hold exactly."""


def page() -> str:
    """The page's text."""
    allowed = table(("what", "example", "gives"), (_row(what, example) for what, example in _ALLOWED))
    functions = table(("function", "what", "example", "gives"), _functions())
    return (
        "\n\n".join([_HEAD, f"## What there is\n\n{allowed}", f"## Functions\n\n{functions}", _KINDS, _limits()]) + "\n"
    )


def _row(what: str, example: str) -> tuple[str, str, str]:
    return what, _code(example), f"`{value(example)}`"


def _functions() -> Iterator[tuple[str, str, str, str]]:
    for name, function in FUNCTIONS.items():
        arguments = ("x, y, ..." if function.most is None else "x") if function.takes is not Kind.TEXT else "text"
        example = f"{name}({_ARGUMENTS.get(name, _ARGUMENT[function.takes])})"
        yield f"`{name}({arguments})`", function.doc, _code(example), f"`{value(example)}`"


_ARGUMENT = {Kind.NUMBER: "`air temp`", Kind.TEXT: "kind", None: "note"}
_ARGUMENTS = {
    **{"min": "distance, seconds, 90", "max": "distance, seconds, 90", "date": "at", "hour": "at"},
    **{"sqrt": "seconds", "log": "seconds", "log2": "seconds", "log10": "seconds"},
}


def _limits() -> str:
    return f"""\
## Limits

An expression has at most {MAX_LENGTH:,} characters, {MAX_NODES} parts and {MAX_DEPTH} levels. There are no attributes,
no indices, no functions but those above, nothing that assigns, repeats or imports."""


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def value(text: str) -> str:
    """What an expression comes to for the example's event, as JSON would write it."""
    scope = Scope()
    expression = read(text, scope)
    (found,) = expression({name: _column(EVENT[name], slot.kind) for name, slot in scope.slots.items()}, 1).tolist()
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, str):
        return f'"{found}"'
    return f"{found:.6g}" if isinstance(found, float) and isfinite(found) else "null"


def _column(found: object, kind: Kind) -> Column:
    if kind is Kind.TEXT:
        return texts([found])
    return np.array([float(found) if isinstance(found, float | bool) else nan])
