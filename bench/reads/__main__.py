"""`make bench-reads`: the lag of a worker at half its largest load, quiet, with readers elsewhere, and read."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import click
import msgspec
import numpy as np
import psutil
from aiokafka import TopicPartition

from bench.reads.readers import Met
from bench.reads.source import pool
from operators.columns.grouping import Floats
from pipeline.core.config.load import load
from pipeline.edges.bench.rounds import cpu_seconds
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topics import make_sources
from pipeline.edges.process import Worker

CONFIG = """\
[app]
name = "${BENCH_NAME}"
brokers = "${BENCH_BROKERS}"
http = "${BENCH_HTTP}"

[streams.scores]
topic = "${BENCH_NAME}-scores"
time = "ts"

[tables.player]
stream = "scores"
emit = "commit"
[tables.player.operators]
games = { type = "count" }
average = { type = "mean", value = "score" }
"""

_WAYS = ("quiet", "elsewhere", "read")
_UNDISTURBED = {"log.cleaner.backoff.ms": "3600000"}
"""A compaction takes most of a core for a while, at the same minute of each run, so always from the same way."""
_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.1
_SETTLE_SECONDS = 3.0
_LARGEST_SECONDS = 10.0
_READY_SECONDS = 60.0
_CALM_SECONDS = 30.0
_FULL_SPEED = 1e9
_CALM_LAG = 0.25
"""In seconds of the load: so much lag is that of commits under way."""


@dataclass(frozen=True)
class Window:
    """A while: lags in seconds of the load, and how much of a core the worker took, and of all cores everybody.

    ``stolen`` is what part of all cores went to others on the host of a virtual machine: what is left is no longer the
    machine whose largest load was measured.

    ``trend`` is by how many seconds the lag grew in each second, by least squares. What is not folded as it comes makes
    it grow: by 0.01 if that is one event of a hundred. ``error`` is the trend's standard error, where several windows
    tell it.
    """

    lags: Sequence[float]
    trend: float
    worker: float
    machine: float
    stolen: float
    error: float | None = None

    @classmethod
    def together(cls, windows: Sequence[Window]) -> Window:
        """All of them as one."""
        lags = [lag for window in windows for lag in window.lags]
        trend, worker, machine, stolen = (
            fmean(getattr(window, part) for window in windows) for part in ("trend", "worker", "machine", "stolen")
        )
        return cls(lags, trend, worker, machine, stolen, _error([window.trend for window in windows]))

    @property
    def lag(self) -> float:
        """The median."""
        return median(self.lags)

    @property
    def movement(self) -> str:
        """For people: the trend, in milliseconds a second."""
        return _milliseconds(self.trend, self.error)

    def __str__(self) -> str:
        half, most, top = (np.percentile(self.lags, [50, 95, 100]) * 1000).tolist()
        return (
            f"lag of {half:,.0f} ms at the median, {most:,.0f} ms at 95 %, {top:,.0f} ms at most, "
            f"moving by {self.movement} ms a second; "
            f"the worker took {self.worker:.0%} of a core, everybody {self.machine:.0%} of the machine, "
            f"others on its host {self.stolen:.0%}"
        )


def _error(numbers: Sequence[float]) -> float | None:
    """The standard error of the mean; None of a single number."""
    return stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else None


def _milliseconds(mean: float, error: float | None) -> str:
    return f"{mean * 1000:+.1f}" + (f" ± {error * 1000:.1f}" if error is not None else "")


def raised(quiet: Sequence[Window], read: Sequence[Window]) -> str:
    """For people: how much more the lag of a round is with readers, in milliseconds."""
    more = [after.lag - before.lag for before, after in zip(quiet, read, strict=True)]
    return _milliseconds(fmean(more), _error(more))


class Load:
    """A worker, and events that come to it."""

    def __init__(self, stack: ExitStack, brokers: str | None) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamfold-bench-")))
        self._rate = 0.0
        self._folder, self._config = folder, folder / "bench.toml"
        self._config.write_text(CONFIG, "utf-8")
        self._settings = ClientSettings(brokers or stack.enter_context(EmbeddedKafka(properties=_UNDISTURBED)).address)
        self._admin = stack.enter_context(closing(Admin(self._settings)))
        self.port = free_port(_HOST)
        self._environment = {
            "BENCH_NAME": f"bench-{uuid.uuid4().hex[:6]}",
            "BENCH_BROKERS": self._settings.bootstrap_servers,
            "BENCH_HTTP": f"{_HOST}:{self.port}",
        }
        self._app = load(self._config, {**os.environ, **self._environment})
        make_sources(self._admin, self._app)
        (stream,) = self._app.streams.values()
        self._parts = [TopicPartition(stream.topic, number) for number in range(stream.partitions)]
        self._worker = stack.enter_context(Worker(self._config, self._environment, self._folder))
        self._worker.await_ready(f"http://{_HOST}:{self.port}", _READY_SECONDS)

    def fill(self) -> None:
        """Have each player scored once at least: readers ask for all of them."""
        shares = [len(share) for share in pool(len(self._parts))]
        with self._source(_FULL_SPEED):
            self._await(lambda done: all(done.get(part, 0) >= n for part, n in zip(self._parts, shares, strict=True)))

    def largest(self, seconds: float) -> float:
        """Events a second that are committed for a while, as the source sends all that this machine lets it."""
        with self._source(_FULL_SPEED):
            time.sleep(_SETTLE_SECONDS)
            began, before = time.monotonic(), self._committed()
            time.sleep(seconds)
            came = self._await(lambda done: sum(done.values()) > before) - before
            return came / (time.monotonic() - began)

    @contextmanager
    def coming(self, rate: float) -> Iterator[None]:
        """So many events a second come meanwhile."""
        self._rate = rate
        self.calm()
        with self._source(rate):
            time.sleep(_SETTLE_SECONDS)
            yield

    def _source(self, rate: float) -> AbstractContextManager[object]:
        topic, count = self._parts[0].topic, str(len(self._parts))
        return _process("bench.reads.source", self._settings.bootstrap_servers, topic, count, str(rate))

    def watch(self, seconds: float) -> Window:
        """What is so for a while."""
        done, ends = list[tuple[float, int]](), [self._ends()]
        began, cpu, before = time.monotonic(), self._cpu(), psutil.cpu_times()
        while time.monotonic() < began + seconds:
            asked, committed = time.monotonic(), self._committed()
            done.append(((asked + time.monotonic()) / 2, committed))
            ends.append(self._ends())
            time.sleep(_LOOK_SECONDS)
        share = (self._cpu() - cpu) / (time.monotonic() - began)
        times, lags = np.array(done)[:, 0], behind(done, ends) / self._rate
        trend = float(np.polyfit(times, lags, 1)[0])
        return Window(lags.tolist(), trend, share, *_shares(before, psutil.cpu_times()))

    def calm(self) -> None:
        """Wait, within a bound, until the lag of what was before is gone."""
        deadline = time.monotonic() + _CALM_SECONDS
        while self._lag() > self._rate * _CALM_LAG and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _cpu(self) -> float:
        return cpu_seconds(self._worker.pid) or 0.0

    def _committed(self) -> int:
        return sum(self._admin.committed(self._app.group).values())

    def _await(self, enough: Callable[[Mapping[TopicPartition, int]], bool]) -> int:
        """How many events are committed, once they are enough."""
        deadline = time.monotonic() + _READY_SECONDS
        while not enough(done := self._admin.committed(self._app.group)):
            if time.monotonic() > deadline:
                said = f"within {_READY_SECONDS:g} s no more than {sum(done.values()):,} events were committed"
                raise click.ClickException(f"{said}: see that Kafka is up")
            time.sleep(_LOOK_SECONDS)
        return sum(done.values())

    def _ends(self) -> tuple[float, int]:
        """Up to where all logs go, and when that was so."""
        ends = sum(bound.end for bound in self._admin.all_bounds(self._parts).values())
        return time.monotonic(), ends

    def _lag(self) -> int:
        committed = self._committed()
        return self._ends()[1] - committed


def behind(done: Sequence[tuple[float, int]], ends: Sequence[tuple[float, int]]) -> Floats:
    """How many events a group is behind, each time that it was asked how far it is.

    Both are pairs of a time and an offset. One can't ask for both at once, and the logs grow meanwhile: their end at
    the time of an answer lies between the look before it and the one after.
    """
    times, offsets = np.array(done).T
    lags: Floats = np.interp(times, *np.array(ends).T) - offsets
    return lags


def _shares(before: Any, after: Any) -> tuple[float, float]:
    """Of the time of all cores, what part everybody here took, and what part others on the host."""
    parts = [part for part in after._fields if not part.startswith("guest")]  # which are part of the others
    took = {part: getattr(after, part) - getattr(before, part) for part in parts}
    every = sum(took.values()) or 1.0
    stolen = took.get("steal", 0.0)
    return 1 - (took["idle"] + took.get("iowait", 0.0) + stolen) / every, stolen / every


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _with_readers(load: Load, port: int, reads: float, seconds: float) -> tuple[Window, Met]:
    """Readers begin a little earlier, as the source does: what their coming moves is no trend."""
    with _process("bench.reads.readers", str(port), str(reads), str(seconds + _SETTLE_SECONDS)) as readers:
        time.sleep(_SETTLE_SECONDS)
        window = load.watch(seconds)
        said, _ = readers.communicate(timeout=seconds + 60)
    return window, msgspec.json.decode(said, type=Met)


@contextmanager
def _elsewhere() -> Iterator[int]:
    """The port of a server that does nothing."""
    port = free_port(_HOST)
    with _process("bench.reads.elsewhere", str(port)) as server:
        assert server.stdout is not None
        if not server.stdout.readline():
            raise click.ClickException("the server that does nothing did not start: see above")
        yield port


@click.command()
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True, help="Of the largest load."
)
@click.option("--reads", type=click.FloatRange(min=1), default=1_000, show_default=True, help="A second.")
@click.option("--seconds", type=click.FloatRange(min=1), default=20, show_default=True, help="Each time.")
@click.option("--rounds", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--brokers", help="Another Kafka than the embedded one.")
def command(*, share: float, reads: float, seconds: float, rounds: int, brokers: str | None) -> None:
    """Measure the largest load, then the lag at a share of it in three ways, every round another one first.

    Quiet; while readers ask a server that does nothing, for they share the machine, and have one of their own where it
    matters; and while they ask the worker. Each round begins with its own largest load: how much a machine does that
    others work on too is another thing a minute later.
    """
    for library in ("kafka", "aiokafka"):
        logging.getLogger(library).setLevel(logging.ERROR)
    windows: dict[str, list[Window]] = {way: [] for way in _WAYS}
    met = list[Met]()
    with ExitStack() as stack:
        load = Load(stack, brokers)
        load.fill()
        ports = {"elsewhere": stack.enter_context(_elsewhere()), "read": load.port}
        for number in range(1, rounds + 1):
            largest = load.largest(_LARGEST_SECONDS)
            click.echo(f"round {number}: largest load {largest:,.0f} events a second; now {largest * share:,.0f} come")
            first = (number - 1) % len(_WAYS)
            with load.coming(largest * share):
                for way in (*_WAYS[first:], *_WAYS[:first]):
                    load.calm()
                    if way in ports:
                        window, seen = _with_readers(load, ports[way], reads, seconds)
                        click.echo(f"round {number}, {way}: {window}\n    {seen}")
                        met += [seen] if way == "read" else []
                    else:
                        window = load.watch(seconds)
                        click.echo(f"round {number}, {way}: {window}")
                    windows[way].append(window)
    a_second = sum(seen.answers for seen in met) / sum(seen.seconds for seen in met)
    whole = {way: Window.together(of) for way, of in windows.items()}
    for way, window in whole.items():
        click.echo(f"all, {way}: {window}")
    quiet, elsewhere, read = whole.values()
    click.echo(
        f"{a_second:,.0f} reads a second at {share:.0%} of the largest load: a lag of {read.lag * 1000:,.0f} ms beside "
        f"{elsewhere.lag * 1000:,.0f} ms at the median while a server that does nothing is asked as much, and "
        f"{quiet.lag * 1000:,.0f} ms while nobody is; {raised(windows['elsewhere'], windows['read'])} and "
        f"{raised(windows['quiet'], windows['read'])} ms a round, moving by {read.movement}, {elsewhere.movement} and "
        f"{quiet.movement} ms a second, {(read.worker - quiet.worker) / a_second * 1e6:,.0f} microseconds of CPU a read"
    )


if __name__ == "__main__":
    command()
