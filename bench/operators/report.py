"""The figures as a page and two charts."""

from __future__ import annotations

from collections.abc import Iterable

from bench.operators.measure import BATCH, Results, Speed
from bench.operators.subjects import SIZE, WINDOW
from scripts.drawing import COLOURS, GREY, Axis, Line, chart, decades, dots
from scripts.markdown import Cells, table

SHOWN = ("mean", "ewma", "linear_attention", "delta_rule", "kv_window")
"""Subjects in the chart beside what keeps everything."""


def page(results: Results) -> str:
    """The page, in Markdown."""
    sizes, first, last = results.sizes, results.sizes.ages[0], results.sizes.ages[-1]
    ages = [f"{age:,}" for age in sizes.ages]
    return f"""# What an event costs in each operator

Written by `make bench-operators`; run it to have your own machine's figures. They are CPU nanoseconds an event of one
thread, the median of {sizes.rounds} rounds. What is compared ran by turns, in one process. A fold is what the engine
does with a batch: group it by key, gather the state of those keys, fold, look for overflow, put the state back.

## However old a key is

One key has had {", ".join(ages[:-1])} or {ages[-1]} events. Then {BATCH:,} more are folded, with every event's result.
The last column is the cost after {last:,} events, relative to that after {first:,}.

![Relative cost](images/operators-flat.svg)

{table(("operator", *ages, "ratio"), _age_rows(results))}

Vectors have {SIZE} numbers. Windows have {WINDOW} events, or as many seconds with one event in each. All events of a
batch are of one key, the hardest case for what has to go from one event to the next.

## Beside keeping everything

The cost of one more result if every event is kept and gone through again.

![Cost of an event](images/operators-kept.svg)

{table(("", *ages), ((name, *map(_whole, costs)) for name, costs in results.kept.items()))}

## Beside a loop over the events

A batch of {sizes.events:,} events of {sizes.keys:,} keys, drawn evenly. *Every* is with every event's result; *last*
makes no results, and leaves each key's state up to date. Loops do the same in plain Python, one event after the other,
from the same row numbers. A ratio is the cost of a loop over that of the fold.

### Means of numbers

*Records* is how a program goes through events that takes any operator: an object a key, and for each event a call that
folds it and gives the result. It carries along what rounding takes away, as the operators do. *Loop* is written out for
this one mean, over lists, and sums as Python does: the least that Python can do.

{table(_NUMBER_HEAD, (_number_row(name, speed) for name, speed in results.numbers.items()))}

### Matrices of {SIZE} x {SIZE} numbers

The loop uses NumPy on each event.

{table(_LOOP_HEAD, (_loop_row(name, speed) for name, speed in results.matrices.items()))}

## Conditions

{results.machine}.
"""


_LOOP_HEAD = ("operator", "fold, every", "loop, every", "ratio", "fold, last", "loop, last", "ratio")
_NUMBER_HEAD = (*_LOOP_HEAD, "records", "ratio, every", "ratio, last")


def flat(results: Results) -> str:
    """Each operator's cost for an old key, relative to a young one."""
    ratios = {name: costs[-1] / costs[0] for name, costs in results.ages.items()}
    first, last = results.sizes.ages[0], results.sizes.ages[-1]
    return dots(f"Cost of an event after {last:,} events, relative to that after {first:,}", ratios, 0.5, 2)


def kept(results: Results) -> str:
    """Cost over age, for some operators and for what keeps everything."""
    ages = results.sizes.ages
    lines = [Line(name, list(zip(ages, costs, strict=True)), GREY, dashed=True) for name, costs in results.kept.items()]
    lines += [
        Line(name, list(zip(ages, results.ages[name], strict=True)), colour)
        for name, colour in zip(SHOWN, COLOURS, strict=False)
    ]
    low, high = 10, 1e9
    return chart(
        "CPU time of one more event",
        Axis("events that the key has had", ages[0], ages[-1], decades(ages[0], ages[-1]), log=True),
        Axis("nanoseconds", low, high, decades(low, high), log=True),
        lines,
    )


def _age_rows(results: Results) -> Iterable[Cells]:
    for name, costs in results.ages.items():
        yield (f"`{name}`", *map(_whole, costs), f"{costs[-1] / costs[0]:.2f}")


def _loop_row(name: str, speed: Speed) -> Cells:
    every, final = (_beside(speed.loop_each, speed.each), _beside(speed.loop_final, speed.final))
    return (f"`{name}`", _whole(speed.each), *every, _whole(speed.final), *final)


def _number_row(name: str, speed: Speed) -> Cells:
    assert speed.records is not None
    whole, every = _beside(speed.records, speed.each)
    return (*_loop_row(name, speed), whole, every, _beside(speed.records, speed.final)[1])


def _beside(loop: float, fold: float) -> tuple[str, str]:
    return _whole(loop), f"{loop / fold:.1f}"


def _whole(nanoseconds: float) -> str:
    return f"{nanoseconds:,.0f}"
