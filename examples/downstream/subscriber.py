"""A subscriber in Python: the results of a table as they are committed, one a line, and the latest of each key.

    python examples/downstream/subscriber.py arcade player-averages

The first argument names the consumer group, whose offset says where to go on. It needs kafka-python and nothing of
streamfold.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer


def committed(topic: str, group: str, brokers: str) -> Iterator[Any]:
    """The records of a topic, those of a key in order.

    What was handed out is committed before more is fetched: after a crash the records of the last fetch come again.
    """
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id=group,
        isolation_level="read_committed",  # not the default: else results that were taken back are seen too
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        while True:
            for records in consumer.poll(timeout_ms=1_000).values():
                yield from records
            consumer.commit()
    finally:
        consumer.close(autocommit=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the committed records of an output topic.")
    parser.add_argument("group", help="the consumer group")
    parser.add_argument("topic")
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--limit", type=int, help="end after so many records")
    args = parser.parse_args()
    latest: dict[str, str] = {}
    for number, record in enumerate(committed(args.topic, args.group, args.brokers), 1):
        key = record.key.decode()
        if record.value is None:  # the key's state was deleted
            latest.pop(key, None)
        else:
            latest[key] = record.value.decode()
        print(record.partition, record.offset, key, latest.get(key), sep="\t", flush=True)
        if number == args.limit:
            break


if __name__ == "__main__":
    main()
