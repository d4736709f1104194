"""The bridge from MQTT: whatever is killed, each message of a device is folded once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.topic_spec import TopicSpec
from tests.cli.pipelines import Pipeline
from tests.kafka.process import process, until
from tests.programs import installed

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SENSORS, READINGS = ("kitchen", "roof", "cellar"), 100


@dataclass(frozen=True)
class Mosquitto:
    """A real MQTT broker on loopback, and what it has logged."""

    address: str
    log: Path

    def publish(self, messages: list[tuple[str, dict[str, Any]]]) -> None:
        """As devices do: at least once, each acknowledged."""
        host, _, port = self.address.partition(":")
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect(host, int(port))
        client.loop_start()
        for sent in [client.publish(topic, json.dumps(message), qos=1) for topic, message in messages]:
            sent.wait_for_publish(30)
            assert sent.is_published()
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    program = installed("mosquitto", "mosquitto")
    port = free_port("127.0.0.1")
    config, log = tmp_path / "mosquitto.conf", tmp_path / "mosquitto.log"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
        f"log_type all\nlog_dest file {log}\n"
    )
    with process([program, "-c", str(config)]) as broker:
        until(lambda: log.exists() and "running" in log.read_text(), 60, "Mosquitto runs", broker)
        yield Mosquitto(f"127.0.0.1:{port}", log)


@pytest.fixture
def pipeline(kafka: str, tmp_path: Path, topic_prefix: str) -> Pipeline:
    """The example with names of its own."""
    text = (EXAMPLES / "mqtt.toml").read_text("utf-8")
    for there, here in (
        ('"sensors"', f'"{topic_prefix}"'),
        ("sensor-readings", f"{topic_prefix}-readings"),
        ("${KAFKA:-localhost:9092}", kafka),
        ("${HTTP:-127.0.0.1:6066}", f"127.0.0.1:{free_port('127.0.0.1')}"),
    ):
        assert there in text
        text = text.replace(there, here)
    file = tmp_path / "mqtt.toml"
    file.write_text(text)
    pipeline = Pipeline(file)
    with pipeline.admin() as admin:
        admin.create([TopicSpec.source(pipeline.app.streams["readings"].topic, 2)])
    return pipeline


def test_each_message_is_folded_once_though_the_bridge_is_killed_and_devices_repeat_themselves(
    mosquitto: Mosquitto, pipeline: Pipeline
) -> None:
    topic = pipeline.app.streams["readings"].topic
    readings = [(sensor, number) for number in range(READINGS) for sensor in SENSORS]
    messages = [
        (f"sensors/{sensor}/reading", {"id": f"{sensor}-{number}", "ts": 1.7e9 + number, "temp": number})
        for sensor, number in readings
    ]

    def bridge(topic: str) -> AbstractContextManager[Popen[str]]:
        options = ("--mqtt", mosquitto.address, "--kafka", pipeline.app.brokers)
        return process([sys.executable, str(EXAMPLES / "mqtt_bridge.py"), "sensors/+/reading", topic, *options])

    with bridge(topic) as first:
        until(lambda: "Sending SUBACK to streamfold-bridge" in mosquitto.log.read_text(), 60, "subscribed", first)
        mosquitto.publish(messages[:100])
        until(lambda: "Received PUBACK from streamfold-bridge" in mosquitto.log.read_text(), 60, "bridged", first)
    # Gone by kill -9. The next has got messages and can't pass them on: nothing of that may be lost.
    mosquitto.publish(messages[100:200])
    given = mosquitto.log.read_text().count("Sending PUBLISH to streamfold-bridge")
    with bridge(f"{topic}-that-is-not-there") as second:
        until(
            lambda: mosquitto.log.read_text().count("Sending PUBLISH to streamfold-bridge") >= given + 20,
            30,
            "messages are given to who can't pass them on",
            second,
        )
    with bridge(topic) as third, pipeline.working():
        mosquitto.publish([*messages[200:], *messages[250:]])
        until(lambda: twice(pipeline) >= {message["id"] for _, message in messages[250:]}, 60, "bridged", third)
        bridged = pipeline.records(topic)
        until(lambda: committed(pipeline) == len(bridged), 60, "folded", third)
    results = [
        json.loads(record.value) for record in pipeline.records(pipeline.app.output(pipeline.app.tables["sensor"]))
    ]
    assert len(results) == len(messages) <= len(bridged) - 50
    assert {record.key for record in bridged} == {sensor.encode() for sensor in SENSORS}
    last = {result["key"]: (result["readings"], result["mean"]) for result in results}
    assert last == dict.fromkeys(SENSORS, (READINGS, pytest.approx((READINGS - 1) / 2)))


def twice(pipeline: Pipeline) -> set[str]:
    """The ids of messages that are in Kafka more than once."""
    ids = Counter(json.loads(record.value)["id"] for record in pipeline.records(pipeline.app.streams["readings"].topic))
    return {name for name, times in ids.items() if times > 1}


def committed(pipeline: Pipeline) -> int:
    with pipeline.admin() as admin:
        return sum(admin.committed(pipeline.app.group).values())
