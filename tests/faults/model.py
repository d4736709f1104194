"""The ownership protocol in small: an abstract Kafka, and owners of one source partition that may be wrong on purpose.

An `Owner` has the methods of the product's task, committer and restore, by their names, as generators. Each ``yield``
is a point where something else may happen first, and where the answer to the request that follows may be lost. Whoever
steps them decides on the schedule: an owner that is not stepped is paused, and one that goes on after another took over
is a zombie. The `Rules` that an owner keeps can be switched off one by one.

=======================  ====================================================================================
model                    product
=======================  ====================================================================================
`Owner.hear`             `Plane.revoke`, `Plane.assign`: `Task.park`, `Task.assign`, `Task.close`
`Owner.fetch`, `fold`    `ColumnarConsumer.drain`, `Task.fold`
`Owner._live` and below  the methods of the same names in `Task`, `Committer` and `Restore`
`Partition`              `pipeline.core.partition.Partition`: ``fold``, ``cut``; `pipeline.core.changelog`
=======================  ====================================================================================
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import TypeVar

from tests.faults.model_kafka import Failed, Fenced, Kafka, Log, OutOfRangeError
from tests.faults.model_rules import Rules
from tests.faults.model_state import Batch, Cut, GapError, Partition

T = TypeVar("T")

ID = "streamfold/app/source/0"
SLICE = 2
ASKS = 3


class Fate(enum.Enum):
    """What becomes of a request."""

    ANSWERED = "answered"
    LATE = "late"
    """Given up; it arrives at some time, or never."""
    REPEATED = "repeated"
    """Sent twice by the client; the first was answered, the second is on its way. Only an EndTxn makes a difference."""


class InDoubt(Exception):
    """The commit may have gone through."""


class Superseded(Exception):
    """Someone else committed: the state in memory is not the newest."""


class Refused(Exception):
    """State and offsets do not belong together (`KafkaStateError`): the process ends."""


Steps = Generator[str, Fate, T]
"""Yields the name of what comes next, is sent what becomes of it."""


class Phase(enum.Enum):
    """Where an owner is in its life, as in the product."""

    WAITING = "waiting"
    RESTORING = "restoring"
    RUNNING = "running"
    PARKED = "parked"


class Producer:
    """`TransactionalProducer`: one fence of the transactional id."""

    def __init__(self, transactional_id: str, epoch: int) -> None:
        self.id = transactional_id
        self.epoch = epoch
        self.must_renew = False
        self.in_transaction = False


class Owner:
    """A worker with its task for the partition."""

    def __init__(self, kafka: Kafka, name: str, rules: Rules) -> None:
        self.kafka = kafka
        self.name = name
        self.rules = rules
        self.seen: Counter[str] = Counter()
        self._ids = 0
        self.start()

    def start(self) -> None:
        """A new process, which knows nothing. What the old one sent is still on its way."""
        self.phase = Phase.WAITING
        self.assignment: int | None = None
        self.partition: Partition | None = None
        self.producer: Producer | None = None
        self.committed: int | None = None
        self.broken: Exception | None = None
        self.batch: Batch | None = None
        self.fetch_position = 0
        self._life = self._live()
        self.next = next(self._life)

    def step(self, fate: Fate = Fate.ANSWERED) -> None:
        """Do what is next."""
        try:
            self.next = self._life.send(fate)
        except StopIteration:
            self.start()

    # What the plane asks of it

    def hear(self) -> None:
        """Learn what the group decided: first that the old assignment is over, then what the new one is."""
        ours = self.kafka.generation if self.kafka.assigned == self.name else None
        if self.assignment is not None and self.assignment != ours:
            self.assignment = None
        elif ours is not None:
            self.assignment = ours
        elif self.partition is not None:
            self.start()

    @property
    def ready(self) -> bool:
        return self.phase is Phase.RUNNING and self.assignment is not None and self.broken is None

    def slip(self, position: int) -> None:
        """The consumer goes on elsewhere: its position was reset, or a batch lost on the way."""
        self.fetch_position = position

    def fetch(self, limit: int) -> None:
        """Take what is stable from the fetch position on; it is folded later, if nothing comes in between."""
        if self.ready and self.batch is None and self.assignment is not None:
            start = self.fetch_position
            records, self.fetch_position = self.kafka.source.read(start, limit)
            self.batch = Batch(start, self.fetch_position, records, self.assignment)

    def fold(self) -> None:
        batch, self.batch = self.batch, None
        if batch is None or self.partition is None or not self.ready or batch.assignment != self.assignment:
            return
        try:
            self.partition.fold(batch, contiguous=self.rules.checks_contiguity)
        except GapError as error:
            self.broken = error

    # Its life

    def _live(self) -> Steps[None]:
        while True:
            try:
                while self.assignment is None:
                    yield "assignment_given"
                if self.partition is None:
                    yield from self._own()
                elif self.phase is Phase.PARKED:
                    yield from self._reclaim()
                if self.partition is None or self.assignment is None:
                    continue
                self._run(self.partition)
                yield from self._commit_until_revoked(self.partition)
                self.phase = Phase.PARKED
            except (Superseded, GapError, Failed, InDoubt) as trouble:
                self.partition, self.phase = None, Phase.WAITING
                yield from self._stumble(trouble)
            except Refused:
                self.seen["refused"] += 1
                return

    def _own(self) -> Steps[None]:
        assignment = self.assignment
        early = None
        if not self.rules.fences_before_reading:
            early = (yield from self._settled_bounds()), (yield from self._world_committed())
        yield from self._fence()
        if self.assignment is not assignment:
            return
        self.phase = Phase.RESTORING
        try:
            restored, self.committed = yield from self._restore(early)
        except Refused as refusal:
            if self.assignment is not assignment:
                raise Superseded from refusal
            if self.rules.proves_refusals:
                yield from self._prove_fence()
            raise
        self.partition, self.broken = restored, None
        if self.committed is None:
            cut = restored.cut()
            yield from self._committer_commit(cut)
            self.committed = cut.next_offset
        self.seen["owned"] += 1

    def _reclaim(self) -> Steps[None]:
        committed = yield from self._world_committed()
        if committed != self.committed:
            raise Superseded
        self.seen["reclaimed"] += 1

    def _run(self, partition: Partition) -> None:
        self.fetch_position = partition.position
        self.phase = Phase.RUNNING

    def _commit_until_revoked(self, partition: Partition) -> Steps[None]:
        while True:
            yield "wait_for_work"
            leaving = self.assignment is None
            if self.broken is not None or partition.position != partition.cut_position:
                yield from self._commit(partition)
            if leaving:
                return

    # Restore

    def _restore(self, early: tuple[tuple[int, int], int | None] | None) -> Steps[tuple[Partition, int | None]]:
        partition = Partition()
        position, end = early[0] if early else (yield from self._settled_bounds())
        while position < end:
            yield "read"
            try:
                records, position = self.kafka.changelog.read(position, SLICE, end)
            except OutOfRangeError as error:
                raise Refused from error
            partition.apply(records)
        meta = partition.meta
        if self.rules.counts_keys and meta is not None and meta.keys != len(partition.state):
            raise Refused
        committed = early[1] if early else (yield from self._world_committed())
        for _ in range(ASKS):
            if meta is None or committed in (None, meta.next_offset):
                break
            committed = yield from self._world_committed()
        if meta is None and committed is None:
            partition.resume(self.kafka.source.start)
            return partition, None
        if meta is not None and committed is not None and committed < meta.next_offset:
            committed = None  # an own offset that the coordinator has not caught up from
        if meta is None or committed not in (None, meta.next_offset):
            raise Refused
        partition.resume(meta.next_offset)
        return partition, committed

    def _settled_bounds(self) -> Steps[tuple[int, int]]:
        """Start and high watermark of the changelog, once no open transaction holds it up."""
        log = self.kafka.changelog
        while True:
            yield "settled_bounds"
            if log.stable >= log.end:
                return log.start, log.end

    def _world_committed(self) -> Steps[int | None]:
        yield "committed"
        return self.kafka.committed

    # Committing

    def _commit(self, partition: Partition) -> Steps[None]:
        if self.broken is not None:
            self.seen["gap"] += 1
            raise self.broken
        cut = partition.cut()
        while True:
            try:
                if self.producer is not None and self.producer.must_renew and (yield from self._before_commit(cut)):
                    break
                yield from self._committer_commit(cut)
                break
            except (Failed, InDoubt) as trouble:
                if (yield from self._settle(cut, trouble)):
                    break
        self.committed = cut.next_offset
        self.seen["committed"] += 1

    def _before_commit(self, cut: Cut) -> Steps[bool]:
        if self.rules.looks_after_renewing:
            return (yield from self._renew(cut))
        yield from self._fence()
        return False

    def _settle(self, cut: Cut, trouble: Exception) -> Steps[bool]:
        while True:
            yield from self._stumble(trouble)
            if isinstance(trouble, Fenced) and self.assignment is None:
                raise Superseded
            try:
                if not self.rules.settles:
                    yield from self._fence()
                    return False
                return (yield from self._renew(cut))
            except (Failed, InDoubt) as again:
                trouble = again

    def _renew(self, cut: Cut) -> Steps[bool]:
        yield from self._fence()
        committed = yield from self._world_committed()
        if committed == self.committed != cut.next_offset:
            self.kafka.show_offset()  # what the second of waiting is for
            committed = yield from self._world_committed()
        self.seen["settled: " + ("done" if committed == cut.next_offset else "not done")] += 1
        if committed == cut.next_offset:
            return True
        if committed == self.committed:
            return False
        self.seen["superseded"] += 1
        raise Superseded

    def _stumble(self, trouble: Exception) -> Steps[None]:
        self.seen[type(trouble).__name__] += 1
        yield from self._abandon()

    def _abandon(self) -> Steps[None]:
        """Abort what is open, if the broker hears of it, and close the producer."""
        producer, self.producer = self.producer, None
        if producer is not None and producer.in_transaction:
            with suppress(Failed):
                yield from self._ask("abort", partial(self.kafka.end, producer.id, producer.epoch, commit=False))

    def _fence(self) -> Steps[None]:
        self.producer = None
        transactional_id = ID
        if not self.rules.fences:
            self._ids += 1
            transactional_id = f"{self.name}-{self._ids}"
        epoch = yield from self._ask("fence", partial(self.kafka.init_producer_id, transactional_id))
        self.producer = Producer(transactional_id, epoch)

    def _prove_fence(self) -> Steps[None]:
        assert self.producer is not None
        producer = self.producer
        producer.in_transaction = True
        yield from self._ask("prove_fence", partial(self.kafka.add_offset, producer.id, producer.epoch, 0))
        yield from self._abandon()

    def _committer_commit(self, cut: Cut) -> Steps[None]:
        """`Committer.commit`: steps 2 to 6."""
        assert self.producer is not None
        producer, kafka = self.producer, self.kafka
        producer.must_renew, producer.in_transaction = True, True
        yield from self._write(producer, kafka.changelog, cut.changelog)
        yield from self._write(producer, kafka.output, cut.outputs)
        yield from self._ask("add_offset", partial(kafka.add_offset, producer.id, producer.epoch, cut.next_offset))
        yield from self._end(producer)

    def _write(self, producer: Producer, log: Log, records: list[tuple[str, object]]) -> Steps[None]:
        """Steps 3 and 4."""
        try:
            yield from self._ask("write", partial(self.kafka.write, producer.id, producer.epoch, log, records))
        except Fenced:
            raise
        except Failed:
            if self.rules.acknowledges:
                raise

    def _end(self, producer: Producer) -> Steps[None]:
        fate = yield "end"
        producer.in_transaction = False
        request = partial(self.kafka.end, producer.id, producer.epoch, commit=True)
        if fate is not Fate.ANSWERED:
            self.kafka.in_flight.append(request)
        if fate is Fate.LATE:
            raise InDoubt
        try:
            request()
        except Fenced as error:
            if fate is Fate.REPEATED:
                raise InDoubt from error
            raise
        producer.must_renew = fate is Fate.REPEATED and self.rules.renews

    def _ask(self, name: str, request: Callable[[], T]) -> Steps[T]:
        """A request with a deadline."""
        fate = yield name
        if fate is Fate.LATE:
            self.kafka.in_flight.append(request)
            raise Failed
        return request()
