"""Atheris, which keeps the inputs that reach new places of the code and changes them further."""

from __future__ import annotations

import importlib
import json.decoder
import json.scanner
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

LONGEST = 4096
SECONDS_EACH = 30
MEMORY = 4 << 30
"""Bytes of address space: a length that an input tells of must not become an allocation."""


class Target(Protocol):
    """A module with something to check."""

    SEEDS: Sequence[bytes]
    WORDS: Sequence[bytes]
    run: Callable[[bytes], None]


def fuzz(name: str, minutes: float, seed: int, folder: Path) -> None:
    """Check a target for some minutes; ends the process: with 0, or at the first input that is not right.

    ``folder`` keeps what led to new places, for the next time, and inputs that were not right.
    """
    import atheris  # installed by `make fuzz` alone

    for function in ("py_scanstring", "JSONObject", "JSONArray"):
        atheris.instrument_func(getattr(json.decoder, function))
    atheris.instrument_func(json.scanner.py_make_scanner)  # type: ignore[attr-defined]
    with atheris.instrument_imports(include=["pipeline.core", "operators", "tests.fuzz"]):
        target = cast("Target", importlib.import_module(f"tests.fuzz.{name}"))
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.SEEDS):
        (corpus / f"seed-{number}").write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    options = {
        "max_total_time": round(60 * minutes),
        "seed": seed,
        "max_len": LONGEST,
        "timeout": SECONDS_EACH,
        "dict": words,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    given = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *given, str(corpus)], target.run)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
