"""Events in order of arrival, folded and checked against the formula."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.operator import Readout
from tests.operators.cases import Case, history, row, zipf_keys
from tests.operators.catalogue import expect
from tests.operators.driver import Driver
from tests.operators.oracle import assert_close


@dataclass(frozen=True)
class Events:
    """Keys and times (N,), inputs by role."""

    keys: Ints
    columns: dict[str, Floats]
    times: Floats

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, places: Ints | slice) -> Events:
        """Some of them, in this order."""
        columns = {role: column[places] for role, column in self.columns.items()}
        return Events(self.keys[places], columns, self.times[places])

    def then(self, more: Events) -> Events:
        """These, and more behind them."""
        columns = {role: np.concatenate([column, more.columns[role]]) for role, column in self.columns.items()}
        return Events(np.append(self.keys, more.keys), columns, np.append(self.times, more.times))

    def fold(self, case: Case, cuts: Sequence[int] = (), keys: int = 1) -> Readout:
        """Every event's result, with the batches cut at these places."""
        return case.driver(keys).fold_in_batches(self.keys, self.columns, self.times, cuts)

    def into(self, driver: Driver) -> Driver:
        """The driver, after it folded them."""
        driver.fold(self.keys, self.columns, self.times, each=False)
        return driver

    def check(self, case: Case, got: Readout, at: Iterable[int], first: int = 0) -> None:
        """These events' results, of which row i is that of event ``first + i``, are what the formula gives."""
        for event in at:
            expected = expect(case.operator, history(self.keys, self.columns, self.times, event))
            assert_close(row(got, event - first), expected.value, expected.size, case.tolerance)


def some_events(case: Case, n: int, keys: int, rng: np.random.Generator, after: float = 1.7e9) -> Events:
    """Events in the order of their times, from this one on; what is multiplied is kept from cancelling."""
    columns = {role: np.abs(c) if role in ("key", "query") else c for role, c in case.columns(n, rng).items()}
    return Events(zipf_keys(n, keys, rng), columns, after + np.cumsum(rng.exponential(0.3, n)))
