"""What expressions come to, and what kinds their fields have."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.expression import FUNCTIONS, ExpressionError, Kind, Scope, canonical, read
from pipeline.core.expression.kind import texts

NAN = math.nan
COLUMNS = {
    "x": np.array([1.0, -2.5, NAN]),
    "y": np.array([0.0, 2.0, 3.0]),
    "w": texts(["a", "É", None]),
    "air temp": np.array([20.0, NAN, 0.0]),
    "a.b": texts(["x", "y", "z"]),
    "flag": np.array([1.0, 0.0, NAN]),
    "t": np.array([0.0, 1_767_225_599.9, NAN]),
}


def value(text: str) -> list[object]:
    found: list[object] = read(text, Scope())(COLUMNS, 3).tolist()
    return [None if isinstance(one, float) and math.isnan(one) else one for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + y", [1.0, -0.5, None]),
        ("1 + 2 * 3", [7.0, 7.0, 7.0]),
        ("-x ** 2", [-1.0, -6.25, None]),
        ("x / y", [math.inf, -1.25, None]),
        ("y // 2 + y % 2", [0.0, 1.0, 2.0]),
        ("x * 1e308 * 10", [math.inf, -math.inf, None]),
        ("0x10 + 1_000 + .5", [1016.5] * 3),
        ("x > 0", [True, False, False]),
        ("x != x", [False, False, True]),
        ("-3 < x < y", [False, True, False]),
        ("x > 0 or y >= 3", [True, False, True]),
        ("not (x > 0 and y >= 0)", [False, True, True]),
        ("w == 'a'", [True, False, False]),
        ("w != 'a'", [False, True, True]),
        ("w == w", [True, True, False]),
        ("w != w", [False, False, True]),
        ("w < 'b'", [True, False, False]),
        ("'A' <= w", [True, True, False]),
        ("w in ['a', \"É\"]", [True, True, False]),
        ("w not in ['a', \"É\"]", [False, False, True]),
        ("x in [1, -2.5]", [True, True, False]),
        ("'a' in ['a'] and 1 not in [1]", [False] * 3),
        ("flag", [1.0, 0.0, None]),
        ("flag == true", [True, False, False]),
        ("flag == (x > 0)", [True, True, False]),
        ("not flag", [False, True, True]),
        ("flag and true", [True, False, False]),
        ("(true if x > 0 else flag) and y < 3", [True, False, False]),
        ("True or False", [True] * 3),
        ("x if flag else -y", [1.0, -2.0, -3.0]),
        ("w if flag else 'none of them'", ["a", "none of them", "none of them"]),
        ("`air temp` - 20", [0.0, None, -20.0]),
        ("`a.b` == 'y' or `x` == 1", [True, True, False]),
        ("is_null(x)", [False, False, True]),
        ("is_null(w)", [False, False, True]),
        ("is_null(0 * x / y)", [True, False, True]),
        ("is_null(x > 0)", [False, False, False]),
        ("is_null(date(t))", [False, False, True]),
        ("round(x) + floor(x) + ceil(x)", [3.0, -7.0, None]),
        ("round(2.5) + round(3.5)", [6.0] * 3),
        ("min(x, y, 1)", [0.0, -2.5, None]),
        ("max(x, y)", [1.0, 2.0, None]),
        ("sqrt(x)", [1.0, None, None]),
        ("log(0 * abs(y) + 1) + exp(0)", [1.0] * 3),
        ("date(t)", ["1970-01-01", "2025-12-31", None]),
        ("date(t) >= '2000-01-01'", [False, True, False]),
        ("date(1e300 * (y + 1)) == date(1e300)", [False] * 3),
        ("date(0)", ["1970-01-01"] * 3),
        ("hour(t)", [0.0, 23.0, None]),
        ("hour(-1)", [23.0] * 3),
        ("lower(w)", ["a", "é", None]),
        ("upper('é') == w", [False, True, False]),
    ],
)
def test_values(text: str, expected: list[object]) -> None:
    assert value(text) == expected


@given(st.integers(-62_135_596_800, 253_402_300_799), st.floats(0, 0.99))
def test_days_and_hours_are_those_of_the_calendar(seconds: int, fraction: float) -> None:
    columns = {"t": np.array([seconds + fraction])}
    stamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert read("date(t)", Scope())(columns, 1).tolist() == [stamp.date().isoformat()]
    assert read("hour(t)", Scope())(columns, 1).tolist() == [stamp.hour]


@pytest.mark.parametrize("seconds", ["-62135596801", "253402300800", "1e300", "-1e300"])
def test_a_time_without_a_date_of_four_digits_has_none(seconds: str) -> None:
    assert value(f"date({seconds})") == [None] * 3


@pytest.mark.parametrize(
    ("texts", "kinds"),
    [
        (["a + 1"], {"a": Kind.NUMBER}),
        (["a == 'x'"], {"a": Kind.TEXT}),
        (["a in ['x']"], {"a": Kind.TEXT}),
        (["lower(a) == b"], {"a": Kind.TEXT, "b": Kind.TEXT}),
        (["a and not b"], {"a": Kind.BOOLEAN, "b": Kind.BOOLEAN}),
        (["a != true"], {"a": Kind.BOOLEAN}),
        (["a == b"], {"a": Kind.NUMBER, "b": Kind.NUMBER}),
        (["a == b", "b == c", "c == 'x'"], {"a": Kind.TEXT, "b": Kind.TEXT, "c": Kind.TEXT}),
        (["a if b else c", "c == 'x'"], {"a": Kind.TEXT, "b": Kind.BOOLEAN, "c": Kind.TEXT}),
        (["is_null(a)"], {"a": Kind.ANY}),
        (["is_null(a)", "a == 'x'"], {"a": Kind.TEXT}),
        (["a"], {"a": Kind.NUMBER}),
        (["'a' == 'b' or `true` == 1"], {"true": Kind.NUMBER}),
    ],
)
def test_kinds_follow_from_what_is_done_with_a_field(texts: list[str], kinds: dict[str, Kind]) -> None:
    for order in (texts, texts[::-1]):
        scope = Scope()
        for text in order:
            read(text, scope)
        assert {name: slot.kind for name, slot in scope.slots.items()} == kinds


def test_a_known_kind_holds_and_a_defined_name_has_that_of_its_expression() -> None:
    scope = Scope()
    scope.know("player", Kind.TEXT)
    with pytest.raises(ExpressionError, match='column 5: found "player", which is text, expected a number'):
        read("1 + player", scope)
    day = read("date(t)", scope)
    scope.define("day", day)
    assert read("day == '2026-01-01'", scope).names == {"day"}
    with pytest.raises(ExpressionError, match='found "day", which is text, expected a number'):
        read("day + 1", scope)


def test_what_is_expected_of_an_expression() -> None:
    assert read("flag", Scope(), Kind.BOOLEAN)(COLUMNS, 3).tolist() == [True, False, False]
    with pytest.raises(ExpressionError, match="column 1: found a number, expected true or false"):
        read("x + 1", Scope(), Kind.BOOLEAN)


def test_texts_that_differ_in_white_space_only_are_one() -> None:
    assert canonical("a>1 and  b=='x  y'") == canonical(" a > 1\n and b == 'x  y' ") != canonical("a>1 and b=='x y'")
    assert canonical("ab") != canonical("a b")
    assert canonical("`a b`") != canonical("`a  b`")


def test_no_events() -> None:
    for text in ("x > 1", "1", "'a'", "date(t)", "w in ['a']", "lower(w) < w"):
        columns = {name: column[:0] for name, column in COLUMNS.items()}
        assert read(text, Scope())(columns, 0).shape == (0,)


def test_every_function_takes_what_it_says_and_gives_what_it_says() -> None:
    for name, function in FUNCTIONS.items():
        argument = {Kind.TEXT: "w", None: "w"}.get(function.takes, "x")
        expression = read(f"{name}({', '.join([argument] * function.least)})", Scope())
        assert expression.kind is function.gives
        dtype = expression(COLUMNS, 3).dtype
        assert dtype == {Kind.NUMBER: np.float64, Kind.TEXT: object, Kind.BOOLEAN: bool}[function.gives]


def test_what_is_nested_in_comparisons_is_evaluated_once() -> None:
    text = "x"
    for _ in range(25):  # 2 ** 25 evaluations, were it twice at each level
        text = f"1<(x if 0<{text}<9 else y)<5"[: -len("<5")].removeprefix("1<")
    assert len(text) < 1000
    assert read(text, Scope())(COLUMNS, 3).tolist()[0] == 1.0
