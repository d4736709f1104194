"""Transactions that nobody ends: whoever reads committed records waits behind them, a worker too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from aiokafka import TopicPartition
from aiokafka.errors import TransactionalIdAuthorizationFailed
from kafka import TopicPartition as Partition
from kafka.admin import AbortTransactionSpec, KafkaAdminClient
from kafka.errors import TransactionalIdAuthorizationFailedError, TransactionalIdNotFoundError

from pipeline.core.config.model import App
from pipeline.edges.doctor.finding import Finding, ok, problem, warning
from pipeline.edges.doctor.patience import patiently
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.commit import transactional_id
from pipeline.edges.kafka.producer import FORBIDDEN
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.errors import KafkaStateError


@dataclass(frozen=True)
class Open:
    """An open transaction of one producer on one partition; ``silent`` is the seconds since it last wrote there.

    ``transactional_id`` is None where no coordinator knows it: then nothing but `end` will ever end it.
    """

    partition: Partition
    producer_id: int
    producer_epoch: int
    transactional_id: str | None
    silent: float


def owners(admin: Admin, app: App, topics: Mapping[str, TopicInfo]) -> Iterator[Finding]:
    """Whether this user may own partitions, by the transactional id of each."""
    ids = [
        transactional_id(app.group, TopicPartition(stream.topic, number))
        for stream in app.streams.values()
        if stream.topic in topics and app.tables_of(stream)
        for number in range(topics[stream.topic].partitions)
    ]
    for name in ids:
        if not patiently(partial(admin.ask, partial(_may_use, name))):
            mend = FORBIDDEN[TransactionalIdAuthorizationFailed].replace("<app>", app.group)
            yield problem("transactions", KafkaStateError(f"this user may not use the transactional id {name}", mend))
            return
    if ids:
        yield ok("transactions", f"this user may use the transactional id of each of {len(ids)} partitions")


def _may_use(name: str, client: KafkaAdminClient) -> bool:
    try:
        client.describe_transactions([name])
    except TransactionalIdAuthorizationFailedError:
        return False
    except TransactionalIdNotFoundError:
        pass
    return True


def transactions(
    admin: Admin, topics: Mapping[str, TopicInfo], older_than: float, abort: Callable[[list[Open]], list[Open]] | None
) -> Iterator[Finding]:
    """Those on our topics in which nothing was written for ``older_than`` seconds; with ``abort``, they are ended."""
    partitions = [Partition(info.name, number) for info in topics.values() for number in range(info.partitions)]
    try:
        found = open_transactions(admin, partitions, older_than)
    except KafkaStateError as error:
        yield warning("transactions", f"not looked at: {error.cause}", "grant Read on the topics")
        return
    aborted = abort(found) if abort is not None and found else []
    for transaction in found:
        where = f"{transaction.partition.topic}-{transaction.partition.partition}"
        whose = transaction.transactional_id or f"producer {transaction.producer_id}, unknown to its coordinator"
        text = f"{where} is held up by {whose}, silent for {transaction.silent:.0f} s"
        if transaction in aborted:
            yield ok("transactions", f"{text}: aborted")
        else:
            yield problem(
                "transactions",
                KafkaStateError(text, "end its producer, or abort it: `streamfold doctor FILE --abort-hanging`"),
            )
    if not found:
        yield ok("transactions", f"none is open and silent for {older_than:g} s")


def open_transactions(admin: Admin, partitions: Iterable[Partition], older_than: float) -> list[Open]:
    """The open transactions on these partitions in which nothing was written for so many seconds."""

    def ask(client: KafkaAdminClient) -> list[Open]:
        names = {
            listing.producer_id: listing.transactional_id
            for listings in client.list_transactions().values()
            for listing in listings
        }
        now = time.time()
        return [
            Open(tp, found.producer_id, found.producer_epoch, names.get(found.producer_id), silent)
            for tp, producers in sorted(client.describe_producers(partitions).items())
            for found in producers.active_producers
            if found.current_transaction_start_offset >= 0
            and (silent := now - found.last_timestamp / 1000) >= older_than
        ]

    return admin.ask(ask)


def end(admin: Admin, transactions: Iterable[Open]) -> list[Open]:
    """Abort them; returns those that could be.

    One that its coordinator knows is ended by taking over its id, as its next producer would. Of any other the brokers
    are told to write the mark themselves.
    """
    ended = []
    for transaction in transactions:
        try:
            if transaction.transactional_id is not None:
                admin.fence([transaction.transactional_id])
            else:
                mark(admin, transaction)
        except KafkaStateError:
            continue
        ended.append(transaction)
    return ended


def mark(admin: Admin, transaction: Open) -> None:
    """Have the partition's leader write the abort itself. Needs ClusterAction on the cluster."""
    spec = AbortTransactionSpec(transaction.partition, transaction.producer_id, transaction.producer_epoch)
    admin.ask(lambda client: client.abort_transaction(spec))
