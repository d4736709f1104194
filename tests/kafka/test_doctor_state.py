"""`doctor` finds a state that does not go with its topics, and says what mends it."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from kafka import KafkaProducer
from kafka import TopicPartition as Partition
from kafka.admin import KafkaAdminClient

from operators import Max
from pipeline.edges.doctor import Finding
from pipeline.edges.kafka.topic_spec import TopicSpec
from tests.kafka.diagnosed import folded, own, the_problem, verdicts
from tests.kafka.pipelines import PATIENCE, Site


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


def resets(found: Finding) -> bool:
    return found.subject == "state" and "streamfold reset" in found.mend


def test_operators_that_changed(site: Site) -> None:
    folded(site)
    found = the_problem(site.app([site.table(operators={"highest": Max(value="x")})]))
    assert resets(found)
    assert "operators of table table changed" in found.found


def test_a_changelog_that_was_deleted(site: Site) -> None:
    app = folded(site)
    site.admin.delete([own(site, app)["changelog"]])
    found = the_problem(app)
    assert resets(found)
    assert "table table has no state" in found.found


def test_a_table_that_was_added(site: Site) -> None:
    folded(site)
    site.admin.create([TopicSpec.changelog(f"{site.name}-later-changelog", 1)])
    found = the_problem(site.app([site.table(), site.table("later")]))
    assert resets(found)
    assert "table later has no state" in found.found


def test_a_foreign_record_in_the_changelog(site: Site) -> None:
    app = folded(site)
    with closing(KafkaProducer(bootstrap_servers=site.kafka)) as stranger:
        stranger.send(own(site, app)["changelog"], key=b"Rwho", value=b"ever").get()
    found = verdicts(app, "problem")
    assert "did not write" in found[0].found


def test_a_source_that_was_made_again(site: Site) -> None:
    app = folded(site)
    site.admin.delete([site.source])
    site.admin.create([TopicSpec.source(site.source, 1)])
    assert any("was deleted and made again" in found.found for found in verdicts(app, "problem"))


def test_a_source_that_has_grown(site: Site) -> None:
    app = folded(site)
    with closing(KafkaAdminClient(bootstrap_servers=site.kafka)) as client:
        client.create_partitions({site.source: 2})
    deadline = time.monotonic() + PATIENCE
    while site.admin.describe([site.source])[site.source].partitions < 2:
        assert time.monotonic() < deadline
    assert any("1 partitions instead of 2" in found.found for found in verdicts(app, "problem"))


def test_an_offset_that_somebody_moved(site: Site) -> None:
    app = folded(site)
    site.admin.set_committed(app.group, {site.tp(): 1})
    assert "the state ends at 3, the group is at 1" in the_problem(app).found


def test_retention_that_passed_the_worker(site: Site) -> None:
    app = folded(site)
    site.send(5)
    with closing(KafkaAdminClient(bootstrap_servers=site.kafka)) as client:
        client.delete_records({Partition(site.source, 0): 6})
    assert "goes on at 3, but the topic holds only 6 to 8" in the_problem(app).found


def test_rows_that_were_deleted(site: Site) -> None:
    app = folded(site)
    changelog = own(site, app)["changelog"]
    with closing(KafkaProducer(bootstrap_servers=site.kafka)) as stranger:
        stranger.send(changelog, key=b"Rk", value=None).get()
    assert "should hold 1 keys, not 0" in the_problem(app).found
