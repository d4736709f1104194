"""Functions of one's own as operators: what they are given, what they may return, what becomes of their mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operators import Memory, OperatorError, recurrent
from operators.duration import Duration
from operators.operator import Operator


@recurrent(state={"level": 0.0, "trend": 0.0}, read=lambda h: h["level"] + h["trend"])
def holt(h: Any, value: Any, *, alpha: float = 0.5, beta: float = 0.5) -> Any:
    """Level and trend of a number."""
    level = alpha * value + (1 - alpha) * (h["level"] + h["trend"])
    return {"level": level, "trend": beta * (level - h["level"]) + (1 - beta) * h["trend"]}


def fold(operator: Operator, keys: Any, **columns: Any) -> Any:
    """Every event's result; vectors are told by their shape."""
    vectors = {name: np.shape(column)[1] for name, column in columns.items() if np.ndim(column) == 2}
    return Memory(operator, vectors).fold(keys, columns)


def test_a_state_without_parts_is_handed_over_as_it_is() -> None:
    @recurrent(state=1.0)
    def product(h: Any, value: Any) -> Any:
        return h * value

    assert fold(product(value="x"), "abaa", x=[2, 3, 4, 5]).tolist() == [2, 3, 8, 40]


def test_parts_and_a_read_out() -> None:
    memory = Memory(holt(value="x"))
    assert memory.fold("aab", {"x": [4.0, 4.0, 8.0]}).tolist() == [3.0, 4.75, 6.0]  # type: ignore[union-attr]
    assert memory.export() == [{"level": 3.5, "trend": 1.25}, {"level": 4.0, "trend": 2.0}]
    assert np.asarray(memory.read(["b", "never"])).tolist() == [6.0, 0.0]


def test_without_a_read_out_the_parts_are_the_result() -> None:
    @recurrent(state={"low": 0.0, "high": 0.0})
    def span(h: Any, value: Any) -> Any:
        return {"low": np.minimum(h["low"], value), "high": np.maximum(h["high"], value)}

    result = fold(span(value="x"), "aaa", x=[3, -1, 2])
    assert {name: part.tolist() for name, part in result.items()} == {"low": [0, -1, -1], "high": [3, 3, 3]}


def test_a_part_may_start_as_an_array_as_zeros_of_a_shape_or_like_an_input() -> None:
    @recurrent(state={"p": np.diag([1.0, 2.0]), "zeros": (2, 3), "like": "value"}, read=lambda h: h["p"])
    def parts(h: Any, value: Any) -> Any:
        return h

    memory = Memory(parts(value=["x", "y"]))
    assert memory.fold(["a"], {"x": [1], "y": [2]}).tolist() == [[[1, 0], [0, 2]]]  # type: ignore[union-attr]
    assert memory.export() == [{"p": [[1, 0], [0, 2]], "zeros": [[0, 0, 0], [0, 0, 0]], "like": [0, 0]}]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_inputs_are_numbers_vectors_the_time_or_nothing(one_by_one: bool) -> None:
    seen: list[Any] = []

    @recurrent(state=0.0, one_by_one=one_by_one)
    def watch(h: Any, key: Any, value: Any, time: Any, weight: Any = None) -> Any:
        seen.append([np.asarray(part).tolist() for part in (key, value, time)] + [weight])
        return h + value

    memory = Memory(watch(key="k", value="x"), {"k": 2})
    memory.fold("ab", {"k": [[1, 2], [3, 4]], "x": [5, 6]}, times=[7, 8])
    if one_by_one:
        assert seen == [[[1, 2], 5, 7, None], [[3, 4], 6, 8, None]]
    else:
        assert seen == [[[[1, 2], [3, 4]], [5, 6], [7, 8], None]]


def test_one_by_one_gives_the_same_as_all_at_once() -> None:
    rng = np.random.default_rng(1)
    keys, columns = rng.integers(0, 9, 400), {"x": rng.normal(size=400)}
    single = recurrent(state={"level": 0.0, "trend": 0.0}, read=lambda h: h["level"] + h["trend"], one_by_one=True)(
        holt.recurrence.function
    )
    at_once, in_turn = (Memory(operator(value="x", alpha=0.3)) for operator in (holt, single))
    np.testing.assert_array_equal(at_once.fold(keys, columns), in_turn.fold(keys, columns))
    np.testing.assert_array_equal(at_once.read(), in_turn.read())
    assert at_once.fold(keys, columns, each=False) is in_turn.fold(keys, columns, each=False) is None
    assert at_once.export() == in_turn.export()


def test_the_state_that_is_given_may_be_changed_or_given_back_crosswise() -> None:
    @recurrent(state={"a": 1.0, "b": 2.0})
    def swap(h: Any, value: Any) -> Any:
        h["a"] += value
        return {"a": h["b"], "b": h["a"]}

    result = fold(swap(value="x"), "kk", x=[10, 100])
    assert {name: part.tolist() for name, part in result.items()} == {"a": [2, 11], "b": [11, 102]}


def test_options_are_those_of_both_functions() -> None:
    @recurrent(state=0.0, read=lambda h, *, unit=1.0, places: np.round(h / unit, places))
    def scaled(h: Any, value: Any, *, unit: float = 1.0) -> Any:
        return h + unit * value

    assert fold(scaled(value="x", unit=3.0, places=1), "aa", x=[1.04, 1]).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="places"):
        scaled(value="x")


def test_a_duration_comes_in_seconds() -> None:
    @recurrent(state=0.0)
    def since(h: Any, time: Any, *, pause: Duration = "5m") -> Any:
        return time - pause

    assert Memory(since(pause="1s")).fold("a", times=[10.0]).tolist() == [9.0]  # type: ignore[union-attr]
    assert since().pause == 300.0  # type: ignore[attr-defined]
    with pytest.raises(OperatorError, match="expected a duration such as"):
        since(pause="soon")


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        ("ratio", "much", "found 'much', expected a number"),
        ("ratio", True, "found True, expected a number"),
        ("ratio", float("inf"), "found inf, expected a number"),
        ("places", 1.0, "found 1.0, expected a whole number"),
        ("places", True, "found True, expected a whole number"),
        ("mode", 3, "found 3, expected text"),
        ("strict", "yes", "found 'yes', expected true or false"),
        ("value", 3, "found 3, expected the name of a field"),
        ("publish", "all", "expected one of"),
    ],
)
def test_an_option_of_another_type_is_named(option: str, given: object, said: str) -> None:
    @recurrent(state=0.0)
    def picky(h: Any, value: Any, *, ratio=0.5, places: int = 1, mode="a", strict=False, other: Any = None) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return h

    picky(value="x", ratio=1, places=2, mode="b", strict=True, other=[1])
    with pytest.raises(OperatorError, match=said) as caught:
        picky(**({"value": "x"} | {option: given}))
    assert caught.value.option == option


def returns(result: Callable[[Any], Any], **how: Any) -> Operator:
    @recurrent(**({"state": {"a": 0.0, "b": (2,)}} | how))
    def odd(h: Any, value: Any) -> Any:
        return result(h)

    return odd(value="x")


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda h: None, "returned NoneType, expected a dict of"),
        (lambda h: {"a": h["a"]}, r"returned \['a'\], expected a dict of \['a', 'b'\]"),
        (lambda h: {**h, "c": h["a"]}, r"returned \['a', 'b', 'c'\], expected"),
        (lambda h: {**h, "b": h["a"]}, "returned 'b' of the shape"),
        (lambda h: {**h, "a": np.ones(7)}, "returned 'a' of the shape"),
    ],
)
def test_a_state_of_other_parts_or_shapes_is_refused(result: Any, said: str, one_by_one: bool) -> None:
    memory = Memory(returns(result, one_by_one=one_by_one))
    with pytest.raises(ValueError, match=said):
        memory.fold("ab", {"x": [1, 2]})
    assert len(memory) == 0


def test_numbers_that_are_mixed_over_keys_are_refused() -> None:
    memory = Memory(returns(lambda h: {**h, "a": h["a"].mean()}))
    with pytest.raises(ValueError, match=r"returned 'a' of the shape \(\), expected \(2,\)"):
        memory.fold("ab", {"x": [1, 2]})


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_an_exception_leaves_the_memory_as_it_was(each: bool, one_by_one: bool) -> None:
    def check(h: Any) -> Any:
        if np.any(np.asarray(h) > 99):
            raise ArithmeticError("over the top")
        return h

    @recurrent(state=0.0, read=check, one_by_one=one_by_one)
    def limited(h: Any, value: Any) -> Any:
        if np.any(np.asarray(value) == 13):
            raise ArithmeticError("thirteen")
        return h + value

    memory = Memory(limited(value="x"))
    memory.fold("ab", {"x": [1, 2]})
    before = memory.to_bytes()
    for keys, values, said in (("abc", [3, 4, 13], "thirteen"), ("cba", [5, 6, 99], "over the top")):
        with pytest.raises(ArithmeticError, match=said):
            memory.fold(keys, {"x": values}, each=each)
        assert memory.to_bytes() == before
    with pytest.raises(OverflowError, match="would not be finite"):
        Memory(returns(lambda h: {**h, "a": h["a"] + np.inf})).fold("a", {"x": [1]}, each=each)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda h: h["a"].mean(), r"read '' of the shape \(\), expected \(2,\)"),
        (lambda h: {"x": h["a"]} if h["a"].any() else h["a"], r"read \['x'\], but \[''\] before the first event"),
    ],
)
def test_a_read_out_that_changes_its_form_is_refused(read: Any, said: str) -> None:
    operator = returns(lambda h: {**h, "a": h["a"] + 1}, read=lambda h: read(h) if len(h["a"]) > 1 else h["a"])
    with pytest.raises(ValueError, match=said):
        Memory(operator).fold("ab", {"x": [1, 2]})


def test_a_read_out_that_fails_before_the_first_event_is_refused_at_once() -> None:
    @recurrent(state={"sum": 0.0, "n": 0.0}, read=lambda h: h["sum"] / h["n"], one_by_one=True)
    def average(h: Any, value: Any) -> Any:
        return {"sum": h["sum"] + value, "n": h["n"] + 1}

    with pytest.raises(OperatorError, match="average can't be read before the first event: ZeroDivisionError"):
        Memory(average(value="x"))


def test_an_undefined_result_is_nan() -> None:
    @recurrent(state={"n": 0.0}, read=lambda h: None if h["n"] < 2 else h["n"], one_by_one=True)
    def patient(h: Any) -> Any:
        return {"n": h["n"] + 1}

    assert str(Memory(patient()).fold("aaa").tolist()) == "[nan, 2.0, 3.0]"  # type: ignore[union-attr]


def test_what_can_not_be_an_operator_is_a_mistake_of_the_code() -> None:
    def plain(h: Any, value: Any) -> Any:
        return h

    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: recurrent(state=0.0)(lambda h, *values: h), "expected an input"),
        (lambda: recurrent(state=0.0)(lambda h, value=3: h), "found 'value=3', expected an input"),
        (lambda: recurrent(state=0.0)(lambda h, /, value, **rest: h), "expected an input"),
        (lambda: recurrent(state=0.0)(lambda h, publish: h), "'publish' can't be the name of a parameter"),
        (lambda: recurrent(state=0.0)(lambda h, *, fold: h), "'fold' can't be the name of a parameter"),
        (lambda: recurrent(state=0.0, read=lambda h, value: h)(plain), "read: found the input 'value'"),
        (
            lambda: recurrent(state={"a": "key"})(plain),
            r"state 'a': found 'key', expected one of the inputs \['value'\]",
        ),
        (lambda: recurrent(state={"a": float("nan")})(plain), "state 'a': found nan, expected a number"),
        (lambda: recurrent(state={"a": [[1], [1, 2]]})(plain), "state 'a': found .*, expected a number"),
        (lambda: recurrent(state={"a": ["x"]})(plain), "state 'a': found .*, expected a number"),
        (lambda: recurrent(state={"a": (2, 0)})(plain), r"state 'a': found \(2, 0\), expected a number"),
        (lambda: recurrent(state={})(plain), "expected at least one"),
    ]
    for make, said in mistakes:
        with pytest.raises(TypeError, match=said):
            make()


def test_it_says_who_it_is() -> None:
    assert holt.__name__ == holt.__qualname__ == "holt"
    assert holt.__module__ == __name__
    assert holt.__doc__ == "Level and trend of a number."
    assert holt(value="x") == holt(value="x", alpha=0.5)
    assert holt(value="x") != holt(value="x", alpha=0.6)
    assert holt(value="x").algebra == "none"
