"""The worked examples of the course, from topic to topic, read by a second client."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest

from operators import Count, LinearAttention, Mean, MovingMean, WeightedMovingMean
from pipeline import App, Table
from pipeline.core.changelog import PAGE, ROW
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.producer import TransactionalProducer
from tests.kafka.pipelines import Site, drained, running, scenario


def fold(site: Site, app: App) -> None:
    """Run the app until all that was sent is committed."""

    async def work() -> None:
        async with running(app) as plane:
            await drained(site, plane)

    scenario(work)


@pytest.fixture
def site_of(kafka: str, topic_prefix: str) -> Callable[..., Site]:
    return lambda **stream: Site(kafka, topic_prefix, **stream)


def send(site: Site, *events: dict[str, Any]) -> None:
    site.send_raw([json.dumps(event).encode() for event in events])


def test_linear_attention_keeps_and_reads_mu_and_nu(site_of: Callable[..., Site]) -> None:
    site = site_of(vectors={"k": 2, "v": 2, "q": 2})
    memory = LinearAttention(key="k", value="v", query="q", feature_map="identity", publish="both")
    keys, values = [[1, 0], [0, 2], [1, 1]], [[3, 4], [5, 6], [7, 8]]
    send(site, *({"k": k, "v": v, "q": [1, 1]} for k, v in zip(keys, values, strict=True)))
    fold(site, site.app([site.table(operators={"memory": memory})]))
    outputs = site.outputs()
    assert [output["memory.state"]["mu"] for output in outputs] == [
        [[3, 4], [0, 0]],
        [[3, 4], [10, 12]],
        [[10, 12], [17, 20]],
    ]
    assert [output["memory.state"]["nu"] for output in outputs] == [[1, 0], [1, 2], [2, 3]]
    assert outputs[-1]["memory"] == [5.4, 6.4]


def test_a_moving_mean_of_keys_and_values(site_of: Callable[..., Site]) -> None:
    site = site_of(vectors={"k": 2, "v": 2})
    keys, values = [[1, 2], [3, 4], [5, 6], [7, 8]], [[10, 11], [12, 13], [14, 15], [16, 17]]
    operators = {"k": MovingMean(value="k", window=3), "v": MovingMean(value="v", window=3)}
    send(site, *({"k": k, "v": v} for k, v in zip(keys, values, strict=True)))
    fold(site, site.app([site.table(operators=operators)]))
    last = site.outputs()[-1]
    assert (last["k"], last["v"]) == ([5, 6], [14, 15])


def test_a_weighted_moving_mean(site_of: Callable[..., Site]) -> None:
    site = site_of(vectors={"k": 2})
    operators = {"k": WeightedMovingMean(value="k", weights=[0.1, 0.3, 0.6])}
    send(site, *({"k": k} for k in [[2, 4], [1, 3], [5, 0]]))
    fold(site, site.app([site.table(operators=operators)]))
    assert site.outputs()[-1]["k"] == pytest.approx([3.5, 1.3], rel=1e-15)


GAMES = 1_000_000
WINDOW = 256


async def play(site: Site, scores: Sequence[float]) -> None:
    """Send scores of one player as raw doubles, in wire batches: a million of them in seconds."""
    producer = await TransactionalProducer.fence(ClientSettings(site.kafka), f"{site.name}-games")
    try:
        for at in range(0, len(scores), 100_000):
            values = [struct.pack("<d", score) for score in scores[at : at + 100_000]]
            await producer.begin()
            await producer.append(site.source, 0, [b"ada"] * len(values), values)
            await producer.acknowledge()
            await producer.commit()
    finally:
        await producer.close()


def state_size(site: Site) -> int:
    """Bytes of the newest state of the player in the changelog."""
    newest = {
        record.key: record.value
        for record in site.records(f"{site.name}-table-changelog")
        if record.key[:1] in (ROW, PAGE)
    }
    return sum(map(len, newest.values()))


def test_the_1_000_001st_score_is_folded_into_a_state_no_larger_than_the_first(site_of: Callable[..., Site]) -> None:
    site = site_of(format="float64", fields=("score",))
    table = Table(
        "table",
        stream=site.stream,
        emit="commit",
        operators={
            "games": Count(),
            "average": Mean(value="score"),
            "last": MovingMean(value="score", window=WINDOW),
        },
    )
    app = site.app([table])
    sizes: list[int] = []

    async def work() -> None:
        async with running(app) as plane:
            for scores in ([1000.0], [2000.0, 1000.0] * (GAMES // 2 - 1) + [2000.0], [2500.0]):
                await play(site, scores)
                await drained(site, plane)
                sizes.append(state_size(site))

    scenario(work)
    before, after = ([output for output in site.outputs() if output["games"] == n][-1] for n in (GAMES, GAMES + 1))
    assert before["average"] == 1500
    assert after["average"] == float(Fraction(1500 * GAMES + 2500, GAMES + 1))
    assert f"{after['average']:.9f}" == "1500.000999999"
    window_bytes = 8 * WINDOW
    assert sizes[1] - sizes[0] <= window_bytes
    assert sizes[2] == sizes[1]
