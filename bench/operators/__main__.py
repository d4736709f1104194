"""`make bench-operators`: measure, and publish the figures in the documentation."""

from __future__ import annotations

import msgspec

from bench.operators import publish
from bench.operators.measure import Sizes, measure

if __name__ == "__main__":
    results = measure(Sizes(), print)
    publish.DATA.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    for path, text in publish.files(results).items():
        path.write_text(text, "utf-8")
