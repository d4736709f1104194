"""`make bench`: measure, and publish the figures in the documentation."""

import sys

from pipeline.cli.bench import command

if __name__ == "__main__":
    command(["--page", "docs/benchmarks.md", "--chart", "docs/images/benchmarks.svg", *sys.argv[1:]])
