"""Numbers of the delta rules and of ridge regression from the naive code of flash-linear-attention, in float64.

    python tests/operators/goldens/delta.py FOLDER > tests/operators/goldens/delta.json

FOLDER is where the package fla-core 0.6.0 is unpacked; PyTorch and einops have to be there too. That code rounds to
float32, so every way to that is turned to float64 before it is loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

Inputs = dict[str, Any]

SEED, EVENTS, SIZE = 7, 40, 3
HALF_LIFE = 5.0


def inputs() -> Inputs:
    """What both sides are given: keys of length 1, values, queries, rates, decays, and times from one to the next."""
    rng = np.random.RandomState(SEED)
    key, value, query = rng.standard_normal((3, EVENTS, SIZE))
    return {
        "key": key / np.linalg.norm(key, axis=1, keepdims=True),
        "value": value,
        "query": query,
        "weight": rng.uniform(0.0, 1.9, EVENTS),
        "decay": rng.uniform(0.2, 1.0, EVENTS),
        "time": np.cumsum(rng.randint(1, 4, EVENTS)).astype(float),
    }


def main(folder: Path) -> None:
    """Print what each of the functions gives for all events."""
    torch: Any = importlib.import_module("torch")
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    torch.float = torch.float32 = torch.float64
    given = {name: torch.tensor(array) for name, array in inputs().items()}
    key, value, query = (given[name][None, :, None] for name in ("key", "value", "query"))
    weight, decay = (given[name][None, :, None] for name in ("weight", "decay"))
    asked = query * SIZE**0.5  # the code divides queries by it
    by_head = (x.transpose(1, 2) for x in (asked, key, value, weight))
    gaps = given["time"].diff(prepend=given["time"][:1])
    fading = (-np.log(2.0) / HALF_LIFE * gaps)[None, :, None]
    one = torch.ones_like(weight)
    results = {
        "delta_rule": _naive(folder, "delta_rule").delta_rule_recurrence(*by_head)[0],
        "gated_delta_rule": _naive(folder, "gated_delta_rule").naive_recurrent_gated_delta_rule(
            asked, key, value, weight, decay.log()
        )[0],
        "mesa_net": _naive(folder, "mesa_net").naive_mesa_net_exact(
            query, key, value, fading, torch.full((1, SIZE), 0.3), one
        )[0],
    }
    rows = {name: result.reshape(EVENTS, SIZE).tolist() for name, result in results.items()}
    parts = [f'"{name}": [\n' + ",\n".join(map(json.dumps, lines)) + "\n]" for name, lines in rows.items()]
    print("{\n" + ",\n".join(parts) + "\n}")


def _naive(folder: Path, name: str) -> Any:
    """The module of the naive code, without its package, which needs a GPU."""
    spec = importlib.util.spec_from_file_location(name, folder / "fla" / "ops" / name / "naive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(Path(sys.argv[1]))
