"""Forgets what an app knows, so that its next run folds every event of its sources again.

The order is what makes it safe: while a step is missing, the next run refuses to start (offsets without a changelog) or
goes on from a state that is whole; and no worker that slept through the reset can commit old rows into a new changelog.
Every step can be repeated, after a crash between two of them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from pipeline.core.config.model import App, Stream
from pipeline.core.config.repartition import rewritten
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.commit import transactional_id
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.errors import KafkaStateError


@dataclass(frozen=True)
class Refold:
    """What the next run folds again of a source topic.

    ``events`` are in it now; ``gone`` is how many were folded before but are no longer kept. With ``latest`` nothing is
    folded again: a new group begins at the end.
    """

    topic: str
    events: int
    gone: int
    latest: bool


class Reset:
    """The reset of one app, with its output topics and dead letters if ``outputs``. Looks at once, changes nothing yet.

    Raises:
        KafkaStateError: the app's group has members, or the broker does not answer.
    """

    def __init__(self, admin: Admin, app: App, *, outputs: bool) -> None:
        self._admin = admin
        self._app = app = rewritten(app)
        self._refuse_members()
        read = [stream for stream in app.streams.values() if app.tables_of(stream)]
        changelogs = [app.changelog(table) for table in app.tables.values()]
        # What is between tables is made again as well, and would be folded twice.
        changelogs += [stream.topic for stream in read if stream not in app.sources]
        declared = [table for table in app.tables.values() if not table.internal]
        published = [*map(app.output, declared), app.dead_letters] if outputs else []
        published = [topic for topic in published if topic not in changelogs]
        there = admin.describe([stream.topic for stream in read] + changelogs + published)
        committed = admin.committed(app.group)
        self.committed = bool(committed)
        self.changelogs = [topic for topic in changelogs if topic in there]
        self.outputs = [topic for topic in published if topic in there]
        self.transactional_ids = [
            transactional_id(app.group, TopicPartition(stream.topic, partition))
            for stream in read
            for partition in range(self._partitions(stream, there, committed))
        ]
        self.refolds = [
            self._refold(stream, there[stream.topic], committed) for stream in app.sources if stream.topic in there
        ]

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What each step does, and the step itself, in the order that they have to be taken."""
        yield f"fence whoever had one of {len(self.transactional_ids)} partitions", self.fence
        yield "delete the changelogs, and what is between tables", self.delete_changelogs
        if self.outputs:
            yield "delete what was published", self.delete_outputs
        yield "delete the offsets", self.delete_offsets

    def fence(self) -> None:
        """Whoever held a partition can't commit any more, not even after a long sleep.

        Raises:
            KafkaStateError: a worker was started since the reset was made.
        """
        self._refuse_members()
        self._admin.fence(self.transactional_ids)

    def delete_changelogs(self) -> None:
        """Delete the state, and wait until it is gone."""
        self._admin.delete(self.changelogs)

    def delete_outputs(self) -> None:
        """Delete what was published, dead letters included, and wait until it is gone."""
        self._admin.delete(self.outputs)

    def delete_offsets(self) -> None:
        """Delete the group. From here on, the next run starts from the first event."""
        self._admin.delete_committed(self._app.group)

    def _refuse_members(self) -> None:
        members = self._admin.members(self._app.group)
        if members:
            raise KafkaStateError(
                f"group {self._app.group} still has members: {', '.join(members)}",
                "stop its workers; one that was killed leaves the group after session_timeout",
            )

    def _partitions(
        self, stream: Stream, there: Mapping[str, TopicInfo], committed: Mapping[TopicPartition, int]
    ) -> int:
        """How many partitions of a source may have had an owner: the source itself may have been deleted."""
        topics = [stream.topic, *(self._app.changelog(table) for table in self._app.tables_of(stream))]
        counts = [there[topic].partitions for topic in topics if topic in there]
        counts += [tp.partition + 1 for tp in committed if tp.topic == stream.topic]
        return max(counts, default=0)

    def _refold(self, stream: Stream, info: TopicInfo, committed: Mapping[TopicPartition, int]) -> Refold:
        bounds = self._admin.all_bounds(TopicPartition(info.name, partition) for partition in range(info.partitions))
        events = sum(bound.end - bound.start for bound in bounds.values())
        gone = sum(min(bound.start, committed.get(tp, 0)) for tp, bound in bounds.items())
        return Refold(info.name, events, gone, stream.start == "latest")
