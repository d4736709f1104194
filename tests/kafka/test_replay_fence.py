"""Of two replays the later one goes on, and the earlier one says why it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka.errors import KafkaError

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.replay import _FENCED, _producer
from tests.kafka.pipelines import Site


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Iterator[Site]:
    yield Site(kafka, topic_prefix)
    Site.close_all()


def test_who_is_fenced_hears_of_it_at_once(site: Site) -> None:
    arguments = ClientSettings(site.kafka), site.app(), site.admin.describe([site.source]), 20.0
    with closing(_producer(*arguments)) as one, closing(_producer(*arguments)) as two:
        one.init_transactions()
        one.begin_transaction()
        one.send(site.source, b"{}", partition=0).get(timeout=20)
        two.init_transactions()
        with pytest.raises(KafkaError):
            one.send(site.source, b"{}", partition=0).get(timeout=20)
        with pytest.raises(KafkaError) as refusal:
            one.commit_transaction()
        assert any(name in repr(refusal.value) for name in _FENCED), refusal.value
        two.begin_transaction()
        two.send(site.source, b"{}", partition=0).get(timeout=20)
        two.commit_transaction()
    assert len(list(site.records(site.source))) == 1
