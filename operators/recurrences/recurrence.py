"""The operator that a function of one's own becomes: its state, and how a batch is folded with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, repeat
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Ints
from operators.duration import Duration, length
from operators.operator import Batch, Field, Layout, Operator, OperatorError, Readout, Shape, State
from operators.options import number
from operators.recurrences.functions import Options, Parts, Recurrence, check_parts, check_shape, shape_of
from operators.state.rows import read_only

Array = npt.NDArray[Any]

_KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", str: "text"}


@dataclass(frozen=True, kw_only=True)
class Recurrent(Operator):
    """An operator made of a function by :func:`operators.recurrent`; its options are those of the function."""

    recurrence: ClassVar[Recurrence]
    roles: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:

        def __init__(self, **options: Any) -> None:
            """As the parameters of the function are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, kind in self.recurrence.kinds.items():
            given = getattr(self, option)
            if kind == Duration:
                object.__setattr__(self, option, length(option, given))
            elif kind is float:
                number(option, given, "a number")
            elif kind in _KINDS and type(given) is not kind:
                raise OperatorError(option, f"found {given!r}, expected {_KINDS[kind]}")

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """Each part of the state. Raises OperatorError if there is no read-out of it before the first event."""
        fields = tuple(
            start if isinstance(start, Field) else Field(name, shapes.get(start, ()))
            for name, start in self.recurrence.start.items()
        )
        try:
            with np.errstate(all="ignore"):
                self._room(State({field.name: np.zeros((0, *field.shape)) for field in fields}), 0)
        except Exception as error:
            what = f"{type(self).__name__} can't be read before the first event: {type(error).__name__}: {error}"
            raise OperatorError("type", what) from error
        return Layout(fields)

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Call the function on the events; the result after each."""
        steps = self._one_by_one(state, batch) if self.recurrence.one_by_one else self._by_waves(state, batch)
        if each:
            return self._results(steps, state, len(batch.groups.order))
        for _ in steps:
            pass
        # A read-out that raises is the fault of the event, so it has to raise now and not when it is read.
        self.read(state)
        return None

    def read(self, state: State, query: object = None) -> Readout:
        """What ``read`` makes of the state; without it, the state."""
        keys = np.arange(len(next(iter(state.fields.values()))))
        if self.recurrence.one_by_one:
            return self._results(zip(keys, _each(state.fields), strict=True), state, len(keys))
        return self._results([(keys, state.fields)] if len(keys) else [], state, len(keys))

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """Each part of the state."""
        rows = zip(*(array.tolist() for array in state.fields.values()), strict=True)
        return [dict(zip(state.fields, row, strict=True)) for row in rows]

    def _by_waves(self, state: State, batch: Batch) -> Iterator[tuple[Ints, Parts]]:
        """Fold the first event of every key at once, then every second one, and so on: the events and the states."""
        longest = np.argsort(-batch.groups.count, kind="stable")
        start, count = batch.groups.start[longest], batch.groups.count[longest]
        held = {name: array[longest] for name, array in state.fields.items()}
        columns, options = self._columns(batch), self._values(self.recurrence.options)
        for rank in range(int(count.max(initial=0))):
            keys = slice(0, int(np.searchsorted(-count, -rank)))
            events = start[keys] + rank
            inputs = [None if column is None else column[events] for column in columns]
            before = {name: array[keys].copy() for name, array in held.items()}
            shapes = {name: array.shape for name, array in before.items()}
            for name, part in self.recurrence.after(before, inputs, options, shapes).items():
                held[name][keys] = part
            yield events, {name: array[keys] for name, array in held.items()}
        for name, array in held.items():
            state.fields[name][longest] = array

    def _one_by_one(self, state: State, batch: Batch) -> Iterator[tuple[int, Parts]]:
        """Fold one event after the other: its place, and the state of its key after it."""
        columns = [repeat(None) if column is None else _items(column) for column in self._columns(batch)]
        events = zip(count(), *columns, strict=False)
        options = self._values(self.recurrence.options)
        shapes = {name: array.shape[1:] for name, array in state.fields.items()}
        for key, (many, start) in enumerate(zip(batch.groups.count.tolist(), _each(state.fields), strict=True)):
            parts = start
            for event, *inputs in islice(events, many):
                parts = self.recurrence.after(parts, inputs, options, shapes)
                yield event, parts
            for name, part in parts.items():
                state.fields[name][key] = part

    def _columns(self, batch: Batch) -> list[Array | None]:
        """The inputs in the order of the function's parameters."""
        return [batch.time if name == "time" else batch.columns.get(name) for name in self.recurrence.inputs]

    def _values(self, options: Sequence[str]) -> Options:
        return {option: getattr(self, option) for option in options}

    def _results(self, steps: Iterable[tuple[Any, Parts]], state: State, size: int) -> Readout:
        """The read-outs of so many states, which come with their places: all at once, or one by one in order.

        Raises ValueError if they are not like that of a state without events.
        """
        recurrence, options = self.recurrence, self._values(self.recurrence.read_options)
        results = self._room(state, size)
        if recurrence.one_by_one:
            rows = [recurrence.result(parts, options) for _, parts in steps]
            for row in rows:
                check_parts(row, results)
            for name in results if rows else ():
                column = np.array([row[name] for row in rows], float)
                check_shape(name, column, results[name].shape)
                results[name] = column
            return results.get("", results)
        for places, parts in steps:
            read = recurrence.result({name: read_only(array) for name, array in parts.items()}, options)
            check_parts(read, results)
            for name, room in results.items():
                check_shape(name, read[name], (len(places), *room.shape[1:]))
                room[places] = read[name]
        return results.get("", results)

    def _room(self, state: State, size: int) -> dict[str, Array]:
        """Room for so many read-outs, each as large as that of a state without events."""
        starts = self.recurrence.start
        one = {
            name: np.full((1, *array.shape[1:]), start.initial if isinstance(start := starts[name], Field) else 0.0)
            for name, array in state.fields.items()
        }
        options, single = self._values(self.recurrence.read_options), self.recurrence.one_by_one
        result = self.recurrence.result(next(_each(one)) if single else one, options)
        return {name: np.empty((size, *shape_of(part)[0 if single else 1 :])) for name, part in result.items()}


def _each(fields: Mapping[str, Array]) -> Iterator[Parts]:
    """The states one by one."""
    return (dict(zip(fields, row, strict=True)) for row in zip(*map(_items, fields.values()), strict=True))


def _items(array: Array) -> Sequence[Any]:
    """Row by row, as plain numbers where they are no vectors."""
    return array.tolist() if array.ndim == 1 else list(array)
