"""aiokafka's producer where it has to be another one: what it can't bound, count or keep quiet about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, cast

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager, TransactionResult

from pipeline.edges.kafka.client import ClientSettings


def see(future: asyncio.Future[Any] | None) -> None:
    """Retrieve the exception of a future that no one waits for any more, or the loop reports it as lost."""
    if future is not None and future.done() and not future.cancelled():
        future.exception()


def nothing() -> None:
    """Nobody wants to know."""


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """aiokafka's producer with our transaction manager and sender in place of its own."""

    def __init__(
        self,
        settings: ClientSettings,
        transactional_id: str,
        *,
        batch_bytes: int,
        request: float,
        transaction: float,
        lull: Callable[[], None] = nothing,
    ) -> None:
        """``request`` and ``transaction`` are bounds in seconds. See `TransactionalProducer.fence` for ``lull``."""
        super().__init__(
            **settings.for_aiokafka(),
            acks="all",
            linger_ms=0,
            max_batch_size=batch_bytes,
            request_timeout_ms=int(request * 1000),
            transactional_id=transactional_id,
        )
        self.transactions = _Transactions(transactional_id, int(transaction * 1000))
        self._txn_manager = self._message_accumulator._txn_manager = self.transactions
        self.sender = self._sender = _Sender(
            self.client,
            acks=-1,
            txn_manager=self.transactions,
            message_accumulator=self._message_accumulator,
            retry_backoff_ms=100,
            request_timeout_ms=self._request_timeout_ms,
        )
        self.sender.lull = lull

    @property
    def failure(self) -> BaseException | None:
        """What the transaction failed of, or what the sender died of, down to the broker's word."""
        routine = self.sender.sender_task
        if routine is None or not routine.done() or routine.cancelled():
            return self.transactions.error
        error: BaseException | None = routine.exception()
        return error.__cause__ or error if error is not None else None

    def see_drains(self) -> None:
        """Of a batch that is refused before it is sent, its acknowledgement tells: nobody waits for the sending too."""
        for batch in chain.from_iterable(self._message_accumulator._batches.values()):
            batch._drain_waiter.add_done_callback(see)

    async def close(self, timeout: float) -> None:
        """Close without flushing: aiokafka's `stop` waits for batches that no one will ever take."""
        if self._closed:
            return
        self._closed: bool | None = True
        await self.sender.shut(timeout)
        see(self.transactions.wait_for_transaction_end())
        for batches in self._message_accumulator._batches.values():
            for batch in batches:
                see(batch._drain_waiter)
        closing = asyncio.ensure_future(self.client.close())
        await asyncio.wait([closing], timeout=timeout)


class _Transactions(TransactionManager):  # type: ignore[misc]
    """Counts sequence numbers the way the broker does, and adds to a transaction at once all that it will touch."""

    def __init__(self, transactional_id: str, timeout_ms: int) -> None:
        super().__init__(transactional_id, timeout_ms)
        self.error: BaseException | None = None
        self._group: str | None = None

    def begin_transaction(self) -> None:
        """Nothing has failed yet, and nothing is announced."""
        super().begin_transaction()
        self.error = self._group = None

    def announce(self, partitions: Iterable[TopicPartition], group: str) -> None:
        """Add partitions and a group to the transaction before there are records or offsets for them."""
        for tp in partitions:
            self.maybe_add_partition_to_txn(tp)
        self._group = group
        self.notify_task_waiter()

    def consumer_group_to_add(self) -> str | None:
        """The group that is announced, or whose offsets are there, unless it has been added."""
        if self._txn_consumer_group is None and self._group is not None and self.is_in_transaction():
            return self._group
        return cast("str | None", super().consumer_group_to_add())

    def error_transaction(self, exc: BaseException) -> None:
        """Fail the transaction. Whoever does not get as far as to wait for its end hears of it elsewhere."""
        super().error_transaction(exc)
        self.error = exc
        see(self._transaction_waiter)

    def fatal_error(self, exc: BaseException) -> None:
        """Fail for good. Each request under way may hear of it, and each time the one before is forgotten."""
        super().fatal_error(exc)
        see(self._transaction_waiter)

    def increment_sequence_number(self, tp: TopicPartition, increment: int) -> None:
        """After 2**31 - 1 comes 0; aiokafka goes on with the smallest negative number, and the broker refuses that."""
        self._sequence_numbers[tp] = (self._sequence_numbers[tp] + increment) % 2**31


class _Sender(Sender):  # type: ignore[misc]
    """Counts the requests that end a transaction, and knows its own tasks so that it can be shut within a bound.

    ``lull`` is called when it has asked the broker something that takes a while, and nothing else can be done for the
    transaction.
    """

    def __init__(self, client: Any, **arguments: Any) -> None:
        super().__init__(client, **arguments)
        self.ends = 0
        self.lull: Callable[[], None] = nothing
        self._requests: set[asyncio.Task[Any]] = set()

    async def shut(self, timeout: float) -> None:
        """Stop sending: let the requests under way finish for ``timeout`` seconds, then cancel them."""
        if self._sender_task is None:
            return
        self._sender_task.cancel()
        running = {self._sender_task, *self._requests}
        _, running = await asyncio.wait(running, timeout=timeout)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=timeout)

    def _maybe_do_transactional_request(self) -> asyncio.Task[Any] | None:
        task: asyncio.Task[Any] | None = super()._maybe_do_transactional_request()
        if task is not None:
            self._track(task)
        return task

    async def _send_produce_req(self, node_id: int, batches: Any) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._track(task)
        self._wait_soon()
        await super()._send_produce_req(node_id, batches)

    async def _do_txn_offset_commit(self, offsets: Any, group: str) -> Any:
        self._wait_soon()
        return await super()._do_txn_offset_commit(offsets, group)

    async def _do_txn_commit(self, commit_result: TransactionResult) -> None:
        self.ends += 1
        await super()._do_txn_commit(commit_result)

    def _wait_soon(self) -> None:
        """A request is about to be sent whose answer takes the broker a while."""
        asyncio.get_running_loop().call_soon(self.lull)

    def _track(self, task: asyncio.Task[Any]) -> None:
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
