"""Numbers of the memories that fade from the naive code of flash-linear-attention, in float64.

    python tests/operators/goldens/gated.py FOLDER > tests/operators/goldens/gated.json

FOLDER is where the package fla-core 0.6.0 is unpacked; PyTorch and einops have to be there too. That code rounds to
float32, so every way to that is turned to float64 before it is loaded.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEED, EVENTS, SIZE, HEADS = 11, 40, 3, 3


def inputs() -> dict[str, Any]:
    """What both sides are given: keys, values, queries, and gates: one an event, and one an event and row."""
    rng = np.random.RandomState(SEED)
    key, value, query = rng.standard_normal((3, EVENTS, SIZE))
    gate, rows = rng.uniform(0.2, 1.0, EVENTS), rng.uniform(0.01, 1.0, (EVENTS, SIZE))
    return {"key": key, "value": value, "query": query, "gate": gate, "rows": rows}


def main(folder: Path) -> None:
    """Print what each of the functions gives for all events."""
    torch: Any = importlib.import_module("torch")
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    torch.float = torch.float32 = torch.float64

    def naive(name: str, function: str) -> Any:
        return runpy.run_path(str(folder / "fla" / "ops" / name / "naive.py"))[function]

    given = {name: torch.tensor(array) for name, array in inputs().items()}
    key, value, query = (given[name][None, :, None] for name in ("key", "value", "query"))
    asked = query * SIZE**0.5  # the code divides queries by it
    by_head = [x.transpose(1, 2).expand(1, HEADS, EVENTS, SIZE) for x in (asked, key, value)]
    gate, rows = given["gate"].log()[None, :, None], given["rows"].log()[None, :, None]
    results = {
        "linear_attn": naive("linear_attn", "naive_recurrent_linear_attn")(asked, key, value)[0],
        "retention": naive("retention", "naive_retention")(*by_head).transpose(1, 2),
        "simple_gla": naive("simple_gla", "naive_recurrent_simple_gla")(asked, key, value, gate)[0],
        "gla": naive("gla", "naive_recurrent_gla")(asked, key, value, rows)[0],
    }
    lines = {name: map(json.dumps, result[0].flatten(1).tolist()) for name, result in results.items()}
    parts = [f'"{name}": [\n' + ",\n".join(rows) + "\n]" for name, rows in lines.items()]
    print("{\n" + ",\n".join(parts) + "\n}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
