"""The docstring of an operator, taken apart into what a page says in different places."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent

_LABELS = ("Parameters", "State", "Reference", "References")
_LABEL = re.compile(rf"^({'|'.join(_LABELS)}): ", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """In Markdown: a line that says what it is, the formulas, paragraphs, and what was labelled so."""

    summary: str
    formula: str
    text: Sequence[str]
    parameters: str
    state: str
    references: Sequence[str]


def parse(cls: type) -> Docstring:
    """Take a class's docstring apart. Raises ValueError for one without formula or state."""
    doc = inspect.getdoc(cls) or ""
    summary, *blocks = doc.split("\n\n")
    formulas = [dedent(block) for block in blocks if block.startswith("    ")]
    labelled: dict[str, list[str]] = {label: [] for label in _LABELS}
    text: list[str] = []
    for block in blocks:
        if not block.startswith("    "):
            before, *parts = _LABEL.split(block)
            text += [before] if before.strip() else []
            for label, part in zip(parts[::2], parts[1::2], strict=True):
                labelled[label].append(part)
    if not (formulas and "State: " in doc):
        message = f'the docstring of {cls.__name__} lacks an indented formula or a sentence that begins with "State: "'
        raise ValueError(message)
    references = "; ".join(labelled["Reference"] + labelled["References"])
    return Docstring(
        _markdown(summary),
        "\n\n".join(formulas),
        [_markdown(paragraph) for paragraph in text],
        _sentence(_markdown(" ".join(labelled["Parameters"]))),
        _markdown(" ".join(labelled["State"])),
        [_sentence(_markdown(each).rstrip(".") + ".") for each in references.split("; ") if each],
    )


def _markdown(text: str) -> str:
    """One line; code and the names that Sphinx would link in backticks; arXiv numbers as links."""
    line = " ".join(text.split())
    line = re.sub(r":\w+:`~?\.?([^`]+)`", r"``\1``", line)
    line = "``".join(part.replace("*", r"\*") if i % 2 == 0 else part for i, part in enumerate(line.split("``")))
    line = line.replace("``", "`")
    return re.sub(r"arXiv[: ](\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", line)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
