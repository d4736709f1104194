"""`make bench`: measure, and publish the figures in the documentation."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["bench", "--page", "docs/benchmarks.md", "--chart", "docs/images/benchmarks.svg", *sys.argv[1:]])
