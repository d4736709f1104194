"""How two memories of one key become one where rings are part of them."""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Floats, Ints, group
from operators.columns.history import newest
from operators.operator import Batch, Operator, OperatorError, RingView, State


def joined(state: State, other: State, role: str) -> Floats:
    """A ring of G keys continued by the other one's: the newest inputs of both, (G, length, *shape), oldest first.

    What was never there reads as 0.
    """
    own, more = state.rings[role], other.rings[role]
    length, count = own.array.shape[1], other["count"]
    older, newer = newest(own, state["count"], length), newest(more, count, length)
    place = np.arange(length)
    is_new = place >= length - count[:, None]
    older = older[np.arange(len(count))[:, None], np.minimum(place + count[:, None], length - 1)]
    return np.where(is_new.reshape((*is_new.shape, *(1,) * (newer.ndim - 2))), newer, older)


def replay(operator: Operator, state: State, other: State) -> None:
    """Fold the inputs that the other one's rings hold into the fields of the same G keys; counts add up.

    Raises:
        OperatorError: its rings differ in length, or an input has none, so that of some event only a part is known.
    """
    lengths = {ring.array.shape[1] for ring in other.rings.values()}
    if len(lengths) > 1 or not operator.inputs().keys() <= other.rings.keys():
        message = f"{type(operator).__name__} does not keep the same events of all its inputs"
        raise OperatorError("type", f"{message}, so it needs a merge of its own")
    (length,) = lengths
    both = state["count"] + other["count"]
    some = np.flatnonzero(other["count"])
    reach = np.minimum(other["count"][some], length)
    kept = np.arange(length) >= length - reach[:, None]
    _, groups = group(np.repeat(np.arange(len(some)), reach))
    columns = {role: newest(_of(ring, some), other["count"][some], length)[kept] for role, ring in other.rings.items()}
    time = columns.pop("time", np.zeros(len(groups.order)))
    part = State(
        {name: array[some] for name, array in state.fields.items()},
        {role: _of(ring, some) for role, ring in state.rings.items()},
    )
    operator.fold(part, Batch(groups, columns, time), each=False)
    for name, array in state.fields.items():
        array[some] = part[name]
    state["count"] = both


def _of(ring: RingView, keys: Ints) -> RingView:
    return RingView(ring.array, ring.rows[keys])
