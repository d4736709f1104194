"""What a good file becomes: the same objects that Python code makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators import Count, Ewma, KvWindow, LinearAttention, Max, Mean, WeightedMovingMean
from pipeline import App, Dedupe, Stream, Table
from pipeline.core.config import ConfigError, load, loads

FILE = Path(__file__).parent / "good.toml"
GOOD = FILE.read_text()


def test_a_file_is_sugar_over_the_objects() -> None:
    scores = Stream("scores", "game-scores", key="player", time="ts")
    raw = Stream("raw", "raw", format="float64", fields=["x", "y", "k"], vectors={"k": 2})
    player = Table(
        "player",
        scores,
        {
            "games": Count(),
            "average": Mean(value="score"),
            "weighted": WeightedMovingMean(value="score", weights=[0.1, 0.3, 0.6]),
            "recent": Ewma(value="score", half_life="30s"),
        },
        output="player-averages",
    )
    machine = Table(
        "machine",
        raw,
        {
            "memory": LinearAttention(key=["x", "y"], value="k"),
            "window": KvWindow(key="k", value=["x"], window=8),
        },
    )
    air = Table(
        "air",
        Stream(
            "air",
            "air",
            key=["site", "day"],
            time="at",
            select={"day": "date(at)", "heat": "`air temp` * 1.8 + 32"},
            where="ok and quality in ['good', 'fair'] and not is_null(`air temp`)",
        ),
        {"heat": Max(value="heat")},
    )
    assert loads(GOOD, FILE, {}) == App("arcade", [player, machine, air])


def test_every_option_reaches_its_object() -> None:
    text = """
        [app]
        name = "a"
        brokers = "[::1]:9092, kafka-2.example:9093"
        commit_interval = "1.5s"
        http = "0.0.0.0:80"
        replication = 3
        session_timeout = "1m"
        start_timeout = "1h"
        broker_timeout = "7d"
        [app.kafka]
        security_protocol = "SASL_PLAINTEXT"
        sasl_mechanism = "SCRAM-SHA-512"
        sasl_username = "me"
        sasl_password = "secret"
        [streams.s]
        topic = "t"
        format = "msgpack"
        key = "k"
        time = "when"
        time_unit = "us"
        vectors = { "a b" = 3 }
        start = "latest"
        partitions = 7
        partitioned_by_key = false
        [tables.t]
        stream = "s"
        emit = "commit"
        output = "o"
        missing = "skip"
        on_error = "stop"
        on_null = "delete"
        ttl = "365d"
        max_keys = 9
        on_full = "evict"
        metrics.keys = ["x", "y"]
        dedupe = { field = "id", window = "10m", max_events = 5000 }
        operators.mean = { type = "mean", value = "a b", publish = "both" }
    """
    app = loads(text, "f", {})
    assert (app.brokers, app.http, app.replication) == ("[::1]:9092,kafka-2.example:9093", "0.0.0.0:80", 3)
    assert (app.commit_interval, app.session_timeout, app.start_timeout) == (1.5, 60.0, 3600.0)
    assert app.broker_timeout == 604_800.0
    assert app.kafka is not None
    assert (app.kafka.security_protocol, app.kafka.sasl_mechanism) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert (app.kafka.sasl_username, app.kafka.sasl_password) == ("me", "secret")
    assert app.streams == {
        "s": Stream(
            "s", "t", "msgpack", "k", "when", "us", {"a b": 3}, start="latest", partitions=7, partitioned_by_key=False
        )
    }
    operators = {"mean": Mean(value="a b", publish="both")}
    assert app.tables == {
        "t": Table(
            "t",
            app.streams["s"],
            operators,
            "commit",
            "o",
            "skip",
            "stop",
            "delete",
            ["x", "y"],
            dedupe=Dedupe("id", window="10m", max_events=5000),
            ttl="365d",
            max_keys=9,
            on_full="evict",
        )
    }


@pytest.mark.parametrize(
    ("given", "environment", "held"),
    [
        ("${KAFKA:-localhost:9092}", {}, "localhost:9092"),
        ("${KAFKA:-localhost:9092}", {"KAFKA": ""}, "localhost:9092"),
        ("${KAFKA:-localhost:9092}", {"KAFKA": "broker:1"}, "broker:1"),
        ("${HOST}:${PORT}", {"HOST": "h", "PORT": "5"}, "h:5"),
    ],
)
def test_the_environment(given: str, environment: dict[str, str], held: str) -> None:
    assert loads(GOOD.replace("${KAFKA:-localhost:9092}", given), "f", environment).brokers == held


def test_a_value_of_the_environment_is_not_looked_into_and_dollars_can_be_written() -> None:
    kafka = '[app.kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_username = "$${A} $ 5$"\nsasl_password = "${PASSWORD}"\n'
    app = loads(GOOD.replace("[streams.scores]", kafka + "[streams.scores]"), "f", {"PASSWORD": "${A}"})
    assert app.kafka is not None
    assert (app.kafka.sasl_username, app.kafka.sasl_password) == ("${A} $ 5$", "${A}")


def test_secrets_and_certificates_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    kafka = """
        [app.kafka]
        security_protocol = "SASL_SSL"
        sasl_username = "me"
        sasl_password = "file:password"
        ssl_cafile = "ca.pem"
        ssl_certfile = "/etc/cert.pem"
    """
    (tmp_path / "f.toml").write_text(GOOD.replace("[streams.scores]", kafka + "[streams.scores]"))
    app = load(tmp_path / "f.toml")
    assert app.kafka is not None
    assert app.kafka.sasl_password == "hunter2"
    assert app.kafka.ssl_cafile == str(tmp_path / "ca.pem")
    assert app.kafka.ssl_certfile == "/etc/cert.pem"
    assert "hunter2" not in repr(app)


def test_an_operator_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_operators.py").write_text(
        "from dataclasses import dataclass\n"
        "from operators import Mean\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Scaled(Mean):\n"
        "    scale: float = 1.0\n"
        "    def __post_init__(self):\n"
        "        super().__post_init__()\n"
        "        1 / self.scale\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = '{ type = "own_operators:Scaled", value = "score", scale = %s }'
    app = loads(GOOD.replace('{ type = "count" }', own % "2.0"), "f", {})
    assert type(app.tables["player"].operators["games"]).__name__ == "Scaled"
    with pytest.raises(ConfigError, match="games: Scaled failed: ZeroDivisionError"):
        loads(GOOD.replace('{ type = "count" }', own % "0.0"), "f", {})


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(GOOD, encoding="utf-8-sig")
    assert load(tmp_path / "f.toml", {}) == loads(GOOD, "f", {})
