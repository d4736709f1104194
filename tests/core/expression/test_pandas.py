"""Expressions agree with pandas on random columns: absent values, zeros, overflow, infinities on the way."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.expression import Column, Kind, Scope, read
from pipeline.core.expression.kind import texts

NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e308, -1e308, 5e-324, 1e17, np.nan]) | st.floats(
    allow_infinity=False
)
WORDS = st.none() | st.sampled_from(["", "a", "b", "final", "é", "a\0", " a"])
FLAGS = st.none() | st.booleans()

ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": pd.Series.round,
}
PAIRS = {"min": np.minimum, "max": np.maximum}

Part = tuple[str, Any]
"""An expression's text, and what pandas makes of it."""


class Maker:
    """Draws expressions of each kind over a frame."""

    def __init__(self, draw: st.DrawFn, frame: pd.DataFrame) -> None:
        self.draw = draw
        self.frame = frame

    def of(self, *makers: Callable[[int], Part], depth: int) -> Part:
        return self.draw(st.sampled_from(makers))(depth - 1)

    def number(self, depth: int) -> Part:
        if depth <= 0:
            name = self.draw(st.sampled_from(["x", "y"]))
            return name, self.frame[name]
        return self.of(self.number, self.combined, self.called, self.paired, self.chosen, self.negated, depth=depth)

    def combined(self, depth: int) -> Part:
        symbol = self.draw(st.sampled_from(sorted(ARITHMETIC)))
        left, right = self.number(depth), self.number(depth)
        if self.draw(st.booleans()):
            literal = self.draw(st.sampled_from([0.0, 1.0, 2.0, 0.5, 1e308, 3.25]))
            left, right = (
                ((repr(literal), literal), right) if self.draw(st.booleans()) else (left, (repr(literal), literal))
            )
        return f"({left[0]} {symbol} {right[0]})", ARITHMETIC[symbol](left[1], right[1])

    def negated(self, depth: int) -> Part:
        text, value = self.number(depth)
        return f"(-{text})", -value

    def called(self, depth: int) -> Part:
        name = self.draw(st.sampled_from(sorted(FUNCTIONS)))
        text, value = self.number(depth)
        return f"{name}({text})", FUNCTIONS[name](value)

    def paired(self, depth: int) -> Part:
        name = self.draw(st.sampled_from(sorted(PAIRS)))
        left, right = self.number(depth), self.number(depth)
        return f"{name}({left[0]}, {right[0]})", PAIRS[name](left[1], right[1])

    def chosen(self, depth: int) -> Part:
        test, left, right = self.condition(depth), self.number(depth), self.number(depth)
        return f"({left[0]} if {test[0]} else {right[0]})", left[1].where(test[1], right[1])

    def condition(self, depth: int) -> Part:
        if depth <= 0:
            return "flag", self.frame["flag"] == True  # noqa: E712
        return self.of(self.compared, self.worded, self.listed, self.joined, self.nulls, self.flags, depth=depth)

    def compared(self, depth: int) -> Part:
        symbol = self.draw(st.sampled_from(sorted(COMPARISONS)))
        left, right = self.number(depth), self.number(depth)
        if self.draw(st.booleans()):
            return f"(0.5 {symbol} {right[0]})", COMPARISONS[symbol](0.5, right[1])
        return f"({left[0]} {symbol} {right[0]})", COMPARISONS[symbol](left[1], right[1])

    def worded(self, _: int) -> Part:
        symbol = self.draw(st.sampled_from(sorted(COMPARISONS)))
        if self.draw(st.booleans()):
            return f"(w {symbol} v)", COMPARISONS[symbol](self.frame["w"], self.frame["v"])
        word = self.draw(st.sampled_from(["", "a", "final", "é"]))
        return f"(w {symbol} '{word}')", COMPARISONS[symbol](self.frame["w"], word)

    def listed(self, depth: int) -> Part:
        negated = self.draw(st.booleans())
        if self.draw(st.booleans()):
            found, text = self.frame["w"].isin(["a", "final"]), "(w {} ['a', \"final\"])"
        else:
            number = self.number(depth)
            found, text = number[1].isin([1.0, -0.5]), f"({number[0]} {{}} [1, -0.5])"
        return text.format("not in" if negated else "in"), ~found if negated else found

    def joined(self, depth: int) -> Part:
        left, right = self.condition(depth), self.condition(depth)
        if self.draw(st.booleans()):
            return f"(not {left[0]} and {right[0]})", ~left[1] & right[1]
        return f"({left[0]} or {right[0]})", left[1] | right[1]

    def nulls(self, depth: int) -> Part:
        text, value = self.number(depth) if self.draw(st.booleans()) else ("w", self.frame["w"])
        return f"is_null({text})", value.isna()

    def flags(self, _: int) -> Part:
        symbol, literal = self.draw(st.sampled_from(["==", "!="])), self.draw(st.booleans())
        return f"(flag {symbol} {str(literal).lower()})", COMPARISONS[symbol](self.frame["flag"], literal)


def frames() -> st.SearchStrategy[pd.DataFrame]:
    rows = st.lists(st.tuples(NUMBERS, NUMBERS, WORDS, WORDS, FLAGS), max_size=8)

    def frame(cells: list[tuple[Any, ...]]) -> pd.DataFrame:
        columns = list(zip(*cells, strict=True)) or [()] * 5
        kinds = {"x": float, "y": float, "w": object, "v": object, "flag": object}
        named = zip(kinds.items(), columns, strict=True)
        return pd.DataFrame({name: pd.Series(list(column), dtype=kind) for (name, kind), column in named})

    return rows.map(frame)


def columns_of(frame: pd.DataFrame) -> dict[str, Column]:
    return {
        **{name: frame[name].to_numpy(np.float64) for name in ("x", "y")},
        **{name: texts(frame[name].tolist()) for name in ("w", "v")},
        "flag": np.array([np.nan if flag is None else float(flag) for flag in frame["flag"]], np.float64),
    }


def compare(text: str, expected: Any, frame: pd.DataFrame, kind: Kind) -> None:
    expression = read(text, Scope(), kind)
    assert expression.kind is kind
    got = expression(columns_of(frame), len(frame))
    assert got.shape == (len(frame),)
    np.testing.assert_array_equal(got, expected.to_numpy(np.float64 if kind is Kind.NUMBER else bool), strict=True)


@given(st.data(), frames(), st.integers(1, 4))
def test_numbers(data: st.DataObject, frame: pd.DataFrame, depth: int) -> None:
    with np.errstate(all="ignore"):
        text, expected = data.draw(st.composite(lambda draw: Maker(draw, frame).number(depth))())
    compare(text, expected, frame, Kind.NUMBER)


@given(st.data(), frames(), st.integers(0, 4))
def test_conditions(data: st.DataObject, frame: pd.DataFrame, depth: int) -> None:
    with np.errstate(all="ignore"):
        text, expected = data.draw(st.composite(lambda draw: Maker(draw, frame).condition(depth))())
    compare(text, expected, frame, Kind.BOOLEAN)


@pytest.mark.parametrize(
    "text",
    [
        "x + y * 2 > 3 and w == 'a' or not y < x",
        "-x ** 2 < y",
        "(x * 1e308) ** 0.5 != y",
        "0 < x <= y != 3",
        "x / y > 1 or x % y == 0",
        "w in ['a', 'b'] and x not in [1, 2.5]",
        "2 ** -x // y >= x - y - 1",
        "w == v or w < v",
        "w != v and 'a' >= v",
        "w != v",
        '`w` == "final"',
    ],
)
@given(frame=frames())
def test_what_pandas_evaluates_of_the_same_text(text: str, frame: pd.DataFrame) -> None:
    with np.errstate(all="ignore"):
        expected = frame.eval(text, engine="python")
    compare(text, expected, frame, Kind.BOOLEAN)
