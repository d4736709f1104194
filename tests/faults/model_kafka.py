"""As much of Kafka as the ownership protocol leans on: logs, transactions and their epochs, a group, a slow network."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field


class Failed(Exception):
    """A request got no answer in time."""


class Fenced(Failed):
    """A newer producer has the transactional id, or the transaction took too long."""


class OutOfRangeError(Exception):
    """A read from before the log's start."""


class Outcome(enum.Enum):
    """What became of a transaction."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(eq=False)
class Transaction:
    """Decided at once, seen bit by bit: each log it wrote to shows its records when its marker is written there."""

    outcome: Outcome = Outcome.OPEN
    unmarked: list[Log] = field(default_factory=list)
    offset: int | None = None


@dataclass(frozen=True, eq=False)
class Record:
    """One record; a null value deletes its key. Those of no transaction count as committed."""

    offset: int
    key: str
    value: object
    transaction: Transaction | None

    @property
    def committed(self) -> bool:
        """Whether it was decided that it counts."""
        return self.transaction is None or self.transaction.outcome is Outcome.COMMITTED


class Log:
    """The log of one partition. Markers take an offset each; compaction leaves holes, and never reorders."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.start = 0
        self.end = 0

    def append(self, key: str, value: object, transaction: Transaction | None = None) -> None:
        self.records.append(Record(self.end, key, value, transaction))
        self.end += 1
        if transaction is not None and self not in transaction.unmarked:
            transaction.unmarked.append(self)

    def mark(self, transaction: Transaction) -> None:
        """Write a decided transaction's marker."""
        transaction.unmarked.remove(self)
        self.end += 1

    @property
    def stable(self) -> int:
        """The last stable offset: the first one of a transaction without its marker, or the high watermark."""
        for record in self.records:
            if record.transaction is not None and self in record.transaction.unmarked:
                return record.offset
        return self.end

    def read(self, position: int, limit: int, end: int | None = None) -> tuple[list[Record], int]:
        """At most ``limit`` committed records below ``end``, as a read_committed reader sees them; where to go on."""
        if position < self.start:
            raise OutOfRangeError
        stop = self.stable if end is None else min(end, self.stable)
        found = [record for record in self.records if position <= record.offset < stop and record.committed]
        if len(found) > limit:
            return found[:limit], found[limit - 1].offset + 1
        return found, max(position, stop)

    def compact(self, upto: int, *, tombstones: bool) -> int:
        """Clean what is stable below ``upto``; old tombstones go too if asked. Returns how many records went."""
        upto = min(upto, self.stable)
        last = {record.key: record.offset for record in self.records if record.committed and record.offset < upto}
        before = len(self.records)
        self.records = [
            record
            for record in self.records
            if record.offset >= upto
            or (record.offset == last.get(record.key) and not (tombstones and record.value is None))
        ]
        return before - len(self.records)

    def lose(self, upto: int) -> None:
        """Lose the head, as by retention or by deleting records."""
        self.start = max(self.start, min(upto, self.stable))
        self.records = [record for record in self.records if record.offset >= self.start]


class Kafka:
    """A source, a changelog and an output partition; the transaction coordinator; the group; what is on its way."""

    def __init__(self) -> None:
        self.source, self.changelog, self.output = Log(), Log(), Log()
        self.committed: int | None = None
        self.decided: int | None = None
        self.in_flight: list[Callable[[], object]] = []
        self.generation = 0
        self.assigned: str | None = None
        self.fenced = 0
        self._hidden: int | None = None
        self._epochs: dict[str, int] = {}
        self._transactions: dict[str, Transaction] = {}

    # The transaction coordinator

    def init_producer_id(self, transactional_id: str) -> int:
        """A new epoch. The open transaction of the old one is aborted, what was decided is finished first."""
        self.time_out(transactional_id)
        self._finish(transactional_id)
        self._epochs[transactional_id] = self._epochs.get(transactional_id, 0) + 1
        return self._epochs[transactional_id]

    def write(self, transactional_id: str, epoch: int, log: Log, records: list[tuple[str, object]]) -> None:
        transaction = self._ongoing(transactional_id, epoch)
        for key, value in records:
            log.append(key, value, transaction)

    def add_offset(self, transactional_id: str, epoch: int, offset: int) -> None:
        """Nobody asks for the member or the generation: the epoch is the only fence."""
        self._ongoing(transactional_id, epoch).offset = offset

    def end(self, transactional_id: str, epoch: int, *, commit: bool) -> None:
        self._check(transactional_id, epoch)
        transaction = self._transactions.get(transactional_id)
        if transaction is None or transaction.outcome is not Outcome.OPEN:
            return
        transaction.outcome = Outcome.COMMITTED if commit else Outcome.ABORTED
        if commit and transaction.offset is not None:
            self.decided = self._hidden = transaction.offset

    def time_out(self, transactional_id: str) -> None:
        """Abort the open transaction of an id, if there is one; its producer is fenced by it."""
        transaction = self._transactions.get(transactional_id)
        if transaction is not None and transaction.outcome is Outcome.OPEN:
            transaction.outcome = Outcome.ABORTED
            self._epochs[transactional_id] += 1

    def time_out_all(self) -> None:
        for transactional_id in self._transactions:
            self.time_out(transactional_id)

    def mark(self) -> None:
        """Write one marker that is due."""
        for transaction in self._transactions.values():
            if transaction.outcome is not Outcome.OPEN and transaction.unmarked:
                transaction.unmarked[0].mark(transaction)
                return

    def current(self, transactional_id: str, epoch: int) -> bool:
        """Whether this producer is the newest of its id."""
        return self._epochs[transactional_id] == epoch

    def _check(self, transactional_id: str, epoch: int) -> None:
        if not self.current(transactional_id, epoch):
            self.fenced += 1
            raise Fenced

    def _ongoing(self, transactional_id: str, epoch: int) -> Transaction:
        self._check(transactional_id, epoch)
        transaction = self._transactions.get(transactional_id)
        if transaction is None or transaction.outcome is not Outcome.OPEN:
            self._finish(transactional_id)
            transaction = self._transactions[transactional_id] = Transaction()
        return transaction

    def _finish(self, transactional_id: str) -> None:
        transaction = self._transactions.get(transactional_id)
        while transaction is not None and transaction.unmarked:
            transaction.unmarked[0].mark(transaction)

    # The group

    def show_offset(self) -> None:
        """The newest committed offset can be read: older brokers finish a transaction a moment before that."""
        if self._hidden is not None:
            self.committed, self._hidden = self._hidden, None

    def expire_offsets(self) -> None:
        """Forget the offset of a group that has been empty for long."""
        if self.assigned is None:
            self.committed = self._hidden = None

    def rebalance(self, member: str | None) -> None:
        """Give the partition to a member, or to none; each hears of it when it hears of it."""
        self.generation += 1
        self.assigned = member

    # The network

    def deliver(self, number: int) -> None:
        """A late request arrives; nobody waits for its answer."""
        if self.in_flight:
            request = self.in_flight.pop(number % len(self.in_flight))
            with suppress(Fenced):
                request()
