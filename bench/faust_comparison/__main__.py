"""`make compare-faust`: run the fault script on each, print the table, and publish it in the documentation."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

from bench.faust_comparison import page
from bench.faust_comparison.contest import Contest
from bench.faust_comparison.contestants import CONTESTANTS
from bench.faust_comparison.script import script
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from scripts.markdown import table

PAGE = Path("docs/comparison-faust.md")


def main() -> None:
    """Compare all, or those named by ``--only``; then no page is written."""
    titles = [kind.title for kind in CONTESTANTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of the faults and of the load")
    parser.add_argument("--only", choices=titles, action="append", help="leave the others out, and publish nothing")
    arguments = parser.parse_args()
    steps, seconds = script(arguments.seed)
    outcomes = []
    with EmbeddedKafka() as broker, closing(Admin(ClientSettings(broker.address))) as admin:
        for kind in CONTESTANTS:
            if kind.title in (arguments.only or titles):
                with tempfile.TemporaryDirectory(prefix="streamfold-compare-") as folder:
                    name = f"compare-{uuid.uuid4().hex[:6]}"
                    arena = kind(broker.address, Path(folder), name, arguments.seed)
                    outcomes.append(Contest(arena, admin, _say).run(steps, seconds))
    print(f"\n{table(page.HEAD, page.rows(outcomes))}")
    if not arguments.only:
        PAGE.write_text(page.page(outcomes, steps, seconds, arguments.seed), "utf-8")
        print(f"\nwritten to {PAGE}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # The workers are ended by this process alone, so it has to end in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
