"""`make bench-keys KEYS=10000000`: measure, and publish the figures in the documentation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.keys.measure import NEW, Measurement
from bench.keys.page import HEAD, page, rows
from scripts.markdown import table

PAGE = Path("docs/bounded-state.md")


def main() -> None:
    """Measure, print, publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000_000, help=f"a multiple of {4 * NEW}")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    arguments = parser.parse_args()
    if arguments.keys <= 0 or arguments.keys % (4 * NEW):
        parser.error(f"--keys: found {arguments.keys}, expected a multiple of {4 * NEW}")
    results = Measurement(arguments.keys, lambda text: print(text, file=sys.stderr, flush=True)).run()
    print(f"\n{table(HEAD, rows(results))}")
    arguments.page.write_text(page(results), "utf-8")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
