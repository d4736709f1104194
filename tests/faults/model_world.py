"""The model under the oracle: two owners and a Kafka, their steps, and what must hold of them at any time."""

from __future__ import annotations

from tests.faults.model import Owner
from tests.faults.model_kafka import Kafka, Log, Outcome, Transaction
from tests.faults.model_rules import Rules
from tests.faults.model_state import Meta, Partition, fold_event


class Violation(AssertionError):
    """The promise is broken."""


class World:
    """Two owners, one Kafka, and the oracle. If the changelog is ``lossy``, owners may refuse it."""

    def __init__(self, rules: Rules) -> None:
        self.kafka = Kafka()
        self.one, self.other = self.owners = [Owner(self.kafka, name, rules) for name in ("one", "other")]
        self.damaged = self.lossy = False

    def send(self, *keys: str, value: object = "event", aborted: bool = False) -> None:
        """Events come in; those of a transaction that aborts count for nothing and leave a hole."""
        transaction = Transaction() if aborted else None
        for key in keys:
            self.kafka.source.append(key, value, transaction)
        if transaction is not None:
            transaction.outcome = Outcome.ABORTED
            self.kafka.source.mark(transaction)

    def give(self, owner: Owner) -> None:
        """The group gives the partition to an owner, which hears of it; the other hears of it some time."""
        self.kafka.rebalance(owner.name)
        owner.hear()

    def until(self, owner: Owner, point: str) -> None:
        """Step an owner until this comes next; markers are written meanwhile."""
        for _ in range(50):
            if owner.next == point:
                return
            owner.step()
            self.kafka.mark()
        raise AssertionError(f"{owner.name} does not get to {point}, but to {owner.next}")

    def work(self, owner: Owner) -> None:
        """An owner takes the partition over, if it has not yet, and folds what there is."""
        self.until(owner, "wait_for_work")
        owner.fetch(10)
        owner.fold()

    def commit(self, owner: Owner) -> None:
        """An owner commits what it folded, and what goes wrong with that is settled."""
        owner.step()
        self.kafka.mark()
        self.until(owner, "wait_for_work")

    def lose(self, upto: int) -> None:
        """The head of the changelog is lost, long after the last commit could be seen."""
        self.kafka.show_offset()
        self.kafka.changelog.lose(upto)
        self.damaged = self.lossy = True

    def check(self) -> None:
        """Compare what is committed, and what each owner has, with a fold of the source."""
        kafka = self.kafka
        position = kafka.decided or 0
        state, outputs = fold(kafka.source, position)
        written = [(record.key, record.value) for record in kafka.output.records if record.committed]
        if written != outputs:
            raise Violation(f"outputs: of events up to {position} {written}, not {outputs}")
        visible = [(record.key, record.value) for record in kafka.output.read(0, 10**6)[0]]
        if visible != outputs[: len(visible)]:
            raise Violation(f"outputs that are seen: {visible}, of {outputs}")
        if kafka.decided is not None and not self.damaged:
            logged = Partition()
            logged.apply(record for record in kafka.changelog.records if record.committed)
            if logged.state != state or logged.meta != Meta(position, len(state)):
                raise Violation(f"changelog: {logged.state} and {logged.meta}, not {state} at {position}")
        for owner in self.owners:
            self._check_memory(owner)
            if owner.seen["refused"] and not self.lossy:
                raise Violation(f"{owner.name} refuses what is sound")

    def _check_memory(self, owner: Owner) -> None:
        """The state of an owner that can commit: nobody fenced it, and nobody committed since it did."""
        partition, producer = owner.partition, owner.producer
        if partition is None or producer is None or owner.committed != self.kafka.decided:
            return
        if self.kafka.current(producer.id, producer.epoch) and owner.broken is None:
            state, _ = fold(self.kafka.source, partition.position)
            if partition.state != state:
                raise Violation(f"{owner.name} at {partition.position}: {partition.state}, not {state}")


def fold(source: Log, upto: int) -> tuple[dict[str, tuple[int, ...]], list[tuple[str, object]]]:
    """The oracle: state and outputs of the events below an offset, each folded once, in order."""
    state: dict[str, tuple[int, ...]] = {}
    events = [record for record in source.records if record.committed and record.offset < upto]
    return state, [fold_event(state, event) for event in events]
