"""From MQTT to Kafka, at least once: a message is acknowledged to its broker when Kafka has it, and not before.

    python examples/mqtt_bridge.py 'sensors/+/reading' sensor-readings

The record's key is one level of the message's topic, its value what the message holds. If either broker is lost this
ends, with 1: whoever supervises it starts it again, and what was not acknowledged comes again.
"""

import argparse
import sys
from collections.abc import Iterator
from queue import SimpleQueue

from kafka import KafkaProducer
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

KAFKA_SECONDS = 30


def arriving(subscription: str, name: str, host: str, port: int) -> tuple[Client, Iterator[list[MQTTMessage]]]:
    """Messages, as many at a time as have come; ends when the connection does.

    The session has a name and is kept: the MQTT broker collects for it while nobody is here.
    """
    inbox: SimpleQueue[MQTTMessage | None] = SimpleQueue()
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, manual_ack=True, reconnect_on_failure=False
    )
    client.on_connect = lambda client, *_: client.subscribe(subscription, qos=1)
    client.on_message = lambda _client, _data, message: inbox.put(message)
    client.on_disconnect = lambda *_: inbox.put(None)
    client.connect(host, port)
    client.loop_start()

    def batches() -> Iterator[list[MQTTMessage]]:
        while True:
            batch = [inbox.get()]
            while not inbox.empty():
                batch.append(inbox.get())
            if None in batch:
                return
            yield [message for message in batch if message is not None]

    return client, batches()


def main() -> None:
    parser = argparse.ArgumentParser(description="Bring messages from MQTT to a topic of Kafka.")
    parser.add_argument("subscription", help="a filter of MQTT topics")
    parser.add_argument("topic", help="the topic of Kafka")
    parser.add_argument("--level", type=int, default=1, help="which level of the MQTT topic is the key, from 0")
    parser.add_argument("--name", default="streamfold-bridge", help="of the session that the MQTT broker keeps")
    parser.add_argument("--mqtt", default="localhost:1883")
    parser.add_argument("--kafka", default="localhost:9092")
    args = parser.parse_args()
    host, _, port = args.mqtt.rpartition(":")
    producer = KafkaProducer(bootstrap_servers=args.kafka, acks="all", max_block_ms=KAFKA_SECONDS * 1_000)
    client, batches = arriving(args.subscription, args.name, host, int(port))
    for batch in batches:
        keys = [message.topic.split("/")[args.level].encode() for message in batch]
        sent = [producer.send(args.topic, message.payload, key) for message, key in zip(batch, keys, strict=True)]
        for message, future in zip(batch, sent, strict=True):
            future.get(KAFKA_SECONDS)
            client.ack(message.mid, message.qos)
    sys.exit("the MQTT broker is gone")


if __name__ == "__main__":
    main()
