"""What a configuration comes to, as plain data."""

from __future__ import annotations

import json

from operators import Count, LinearAttention, MovingMean
from pipeline import App, Stream, Table
from pipeline.core.config import KafkaSecurity
from pipeline.core.config.summary import operator_bytes, state_bytes, summary

STREAM = Stream("s", "t", vectors={"k": 2})
TABLE = Table(
    "one", STREAM, {"n": Count(), "w": MovingMean(value="x", window=100), "m": LinearAttention(key="k", value="k")}
)


def test_the_state_of_a_key_is_what_the_operators_lay_out() -> None:
    sizes = {name: operator_bytes(TABLE, name) for name in TABLE.operators}
    assert sizes["n"] == 8
    assert 800 <= sizes["w"] <= 900  # a hundred numbers, and a few beside them
    assert state_bytes(TABLE) == sum(sizes.values())


def test_it_is_json_with_every_topic_and_without_secrets() -> None:
    security = KafkaSecurity("SASL_SSL", sasl_username="me", sasl_password="hunter2")
    made = summary(App("arcade", [TABLE], kafka=security))
    text = json.dumps(made)
    for word in (
        "arcade-one",
        "arcade-one-changelog",
        "arcade-dead-letters",
        "exactly once",
        '"***"',
        "linear_attention",
    ):
        assert word in text
    assert "hunter2" not in text
    assert made["streams"]["s"]["reads"] == {"x": 1, "k": 2}
