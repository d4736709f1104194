"""What can go wrong between a task and the broker, sorted by what the task has to do about it."""

from __future__ import annotations

from aiokafka import TopicPartition

from pipeline.errors import KafkaStateError


class PartitionError(Exception):
    """Fetching one partition failed: a corrupt batch, an offset outside the log, no permission. No record was passed.

    ``error`` is what aiokafka raised. Fetching goes on by itself, so that a passing fault mends itself; with
    ``lasting`` it will not, and ``mend`` says what would help.
    """

    def __init__(self, tp: TopicPartition, error: BaseException, *, lasting: bool = False, mend: str = "") -> None:
        self.cause = f"cannot read {tp.topic}-{tp.partition}: {error!r}"
        super().__init__(self.cause)
        self.tp = tp
        self.error = error
        self.lasting = lasting
        self.mend = mend


class TransactionError(Exception):
    """A transaction did not end well. Its producer must be closed; nothing more may be sent on it.

    ``lasting`` means that trying again cannot help; ``mend`` says what would.
    """

    def __init__(self, cause: str, *, lasting: bool = False, mend: str = "") -> None:
        super().__init__(cause)
        self.lasting = lasting
        self.mend = mend


class Failed(TransactionError):
    """Failed before the commit was asked for: nothing of this transaction will ever be visible."""


class Fenced(Failed):
    """The producer's epoch is over: another producer took the id, the transaction timed out, or the id expired.

    The broker does not say which, so it is no failure by itself: whoever still owns the partition starts again.
    """


class RecordTooLarge(Failed):
    """A record does not fit the topic. ``index`` is its place in what was appended; None if the broker found it."""

    def __init__(self, topic: str, index: int | None = None, size: int | None = None, limit: int | None = None) -> None:
        which = "a record" if index is None else f"record {index} of an append ({size} bytes, limit {limit})"
        super().__init__(
            f"{which} exceeds max.message.bytes of {topic}",
            lasting=True,
            mend=f"raise max.message.bytes of {topic}, or make the state or output record of a key smaller",
        )
        self.topic = topic
        self.index = index
        self.size = size
        self.limit = limit


class InDoubt(TransactionError):
    """The commit was asked for, its outcome is unknown. A new producer settles it; then the committed offset tells."""


class Unreachable(KafkaStateError, Failed):
    """The broker does not answer: a task tries again, a command ends."""


class Superseded(Exception):
    """Someone else committed for this partition: the state in memory is not the newest any more."""
