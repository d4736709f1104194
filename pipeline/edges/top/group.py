"""All workers of an app as one: found, asked again and again, and told when one of them is gone or back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from pipeline.core.config.model import App
from pipeline.edges.top.figures import Figures, Report, Snapshot, State, WorkerFigures
from pipeline.edges.top.samples import Samples
from pipeline.edges.web.address import Address
from pipeline.edges.web.client import fetch, refused, stranger
from pipeline.errors import RunError, StreamfoldError

_ANSWER_SECONDS = 2.0
_FORGET_SECONDS = 300.0
_PORTS_AHEAD = 4
_AT_ONCE = 32


@dataclass(frozen=True)
class _Answer:
    samples: Samples
    reasons: tuple[str, ...]


@dataclass
class _Worker:
    """What is known of one: its last answer, the one before it, and since when there is none."""

    seen: float
    now: _Answer | None = None
    before: _Answer | None = None
    returned: int = 0

    def heard(self, answer: _Answer | None) -> None:
        """It was asked."""
        if answer is not None:
            self.returned += self.now is None and self.before is not None
            self.seen = answer.samples.at
            self.before, self.now = self.now or self.before, answer
        elif self.now is not None:
            self.before, self.now = self.now, None

    def report(self) -> Report | None:
        """What it says, if it says anything."""
        if self.now is None:
            return None
        if self.before is None:
            return Report(self.now.samples, None, 0.0)
        samples, before = self.now.samples, self.before.samples
        return Report(samples, samples.since(before), samples.at - before.at)

    def figures(self) -> WorkerFigures:
        """As it is shown."""
        if self.now is None:
            return WorkerFigures("gone", (), time.monotonic() - self.seen, self.returned)
        state: State = "not ready" if self.now.reasons else "ready"
        return WorkerFigures(state, self.now.reasons, None, self.returned)


class Group:
    """The workers of an app: those that the group names, and those that answer on the ports from ``http`` on.

    Where a token is asked for, it is only shown at ``http`` itself, and to those that the group names.
    ``members`` gives the addresses that the group names at the moment.
    """

    def __init__(self, app: App, members: Callable[[], Collection[Address]]) -> None:
        self._app = app
        self._members = members
        self._figures = Figures(app)
        self._workers: dict[Address, _Worker] = {}
        self._strangers: set[Address] = set()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "top")

    def look(self) -> Snapshot:
        """Ask everybody at once. Nothing is raised for a worker that does not answer: it is gone."""
        named = {address.advertised() for address in self._members()}
        known = {*self._workers, *named}
        asked = [*known, *(address for address in self._neighbours() if address not in known)]
        for address, answer in zip(asked, self._pool.map(self._heard, asked), strict=True):
            if address in self._workers:
                self._workers[address].heard(answer)
            elif answer is not None and (address in named or self._is_ours(address)):
                self._workers[address] = _Worker(answer.samples.at, answer)
            elif address in named:
                self._workers[address] = _Worker(time.monotonic())
        self._forget(named)
        return self._snapshot()

    def first_look(self) -> Snapshot:
        """Look for the first time. Raises RunError if there is no worker, InputError if it asks for another token."""
        snapshot = self.look()
        if all(worker.now is None for worker in self._workers.values()):
            base = Address.parse(self._app.http)
            self._ask(base)
            raise stranger(base)
        return snapshot

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown()

    def _neighbours(self) -> list[Address]:
        """Where workers of `run --workers N` would be: a few ports further than the last one that was found."""
        base = Address.parse(self._app.http).advertised()
        if not base.port:
            return []
        if self._app.http_token:
            return [base]  # a token is for those that the configuration or the group names
        found = [worker.port - base.port for worker in self._workers if worker.host == base.host]
        places = map(base.shifted, range(max([-1, *found]) + 1 + _PORTS_AHEAD))
        return [address for address in places if address.port <= 65_535 and address not in self._strangers]

    def _heard(self, address: Address) -> _Answer | None:
        try:
            return self._ask(address)
        except StreamfoldError:
            return None

    def _ask(self, address: Address) -> _Answer:
        ready_text = self._get(address, "/readyz")[1]  # first: what is ready tells all its figures
        status, text = self._get(address, "/metrics")
        if status is HTTPStatus.UNAUTHORIZED:
            raise refused()
        try:
            ready = msgspec.json.decode(ready_text, type=dict[str, Any])
            samples = Samples.parse(text.decode(), time.monotonic())
        except ValueError as error:
            raise stranger(address) from error
        if not any(samples.named("build_info")):
            raise stranger(address)
        return _Answer(samples, tuple(map(str, ready.get("reasons", ()))))

    def _get(self, address: Address, path: str) -> tuple[HTTPStatus, bytes]:
        return fetch(address, path, self._app.http_token, seconds=_ANSWER_SECONDS)

    def _is_ours(self, address: Address) -> bool:
        """Whether it has a table that is published where ours is: another app may listen on the next port."""
        try:
            _, body = self._get(address, "/tables")
            tables = msgspec.json.decode(body, type=dict[str, dict[str, dict[str, Any]]])["tables"]
        except (RunError, msgspec.DecodeError, KeyError):
            return False
        ours = {self._app.output(table) for table in self._app.tables.values()}
        if ours & {table.get("output") for table in tables.values()}:
            return True
        self._strangers.add(address)
        return False

    def _forget(self, named: Collection[Address]) -> None:
        """Who has been away for long, and is no member any more, was stopped for good."""
        late = time.monotonic() - _FORGET_SECONDS
        for address, worker in list(self._workers.items()):
            if worker.now is None and worker.seen < late and address not in named:
                del self._workers[address]

    def _snapshot(self) -> Snapshot:
        by_name = {str(address): worker for address, worker in sorted(self._workers.items(), key=_place)}
        reports = {name: report for name, worker in by_name.items() if (report := worker.report()) is not None}
        return Snapshot(
            app=self._app.name,
            time=time.time(),
            workers={name: worker.figures() for name, worker in by_name.items()},
            streams=self._figures.streams(reports),
            tables=self._figures.tables(reports),
            dead_letters_per_second=self._figures.dead_letters(reports.values()),
        )


def _place(worker: tuple[Address, _Worker]) -> tuple[str, int]:
    return worker[0].host, worker[0].port
