"""One app, examined in the order in which a run would meet what is wrong. Changes nothing, unless it is to abort."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pipeline.core.config.model import App
from pipeline.core.config.repartition import rewritten
from pipeline.edges.doctor.cluster import cluster
from pipeline.edges.doctor.finding import Finding, problem
from pipeline.edges.doctor.state import group, state
from pipeline.edges.doctor.topics import topics
from pipeline.edges.doctor.transactions import end, owners, transactions
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.errors import KafkaStateError


def examine(app: App, *, older_than: float = 60.0, abort: bool = False) -> Iterator[Finding]:
    """What is found, as it is found.

    Transactions on our topics that are open and silent for ``older_than`` seconds count as hanging; with ``abort`` they
    are aborted before the state is looked at.
    """
    app = rewritten(app)
    with closing(Admin(ClientSettings.of(app), app.start_timeout)) as admin:
        try:
            yield from cluster(admin, app)
            there, unseen = yield from topics(admin, app)
            yield from owners(admin, app, there)
            ending = (lambda found: end(admin, found)) if abort else None
            yield from transactions(admin, there, older_than, ending)
            at_rest = yield from group(admin, app)
            if at_rest:
                yield from state(admin, app, there, unseen)
        except KafkaStateError as error:
            yield problem("broker", error)
