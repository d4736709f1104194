"""What all tests share: a real Kafka, names of their own, and Hypothesis without a clock."""

from __future__ import annotations

import gc
import os
import re
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from pipeline.edges.broker import EmbeddedKafka
from tests.programs import installed

# No deadline: how long an example takes says something of the machine, nothing of the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Faults in one lane, all else that waits for a broker in another; what needs none by files, where room is."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(("tests/core/", "tests/operators/")):
            return file
        return "faults" if file.startswith("tests/faults/") else "brokers"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """With ``--numprocesses``: a lane has a broker of its own, and goes through its tests one after the other."""
    return Lanes(config, log)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a Kafka that the whole session shares.

    It is an embedded one, unless STREAMFOLD_TEST_BROKER names a broker that runs already (quicker for trying things).
    """
    running = os.environ.get("STREAMFOLD_TEST_BROKER")
    if running:
        yield running
        return
    with EmbeddedKafka() as broker:
        yield broker.address


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_open_is_found_where_it_was_left() -> Iterator[None]:
    """Sockets and files that were not closed fail the module that opened them, not one that is run much later."""
    yield
    gc.collect()


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A prefix for topics, groups and app names that no other test and no other run uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own judge of queries and rules."""
    return installed("promtool", "prometheus")
