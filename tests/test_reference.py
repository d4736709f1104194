"""The reference pages are those that the code would write now, and there is one for every operator."""

from __future__ import annotations

import re

import pytest

from operators import TYPES, Memory
from pipeline.core.config.schema import schema
from pipeline.core.expression import FUNCTIONS
from scripts.reference import FOLDER, commands, configuration, expressions, http, pages
from scripts.reference.catalogue import Entry, families
from scripts.reference.docstring import parse
from scripts.reference.worked import TIME, plain, shown, work
from tests.operators.catalogue import CASES

pytestmark = pytest.mark.docs

ENTRIES = {entry.name: entry for family in families() for entry in family.entries}


def test_every_operator_has_a_page_and_no_other_has() -> None:
    assert ENTRIES.keys() == TYPES.keys()
    assert {path.name for path in FOLDER.iterdir()} == {"index.md", *(f"{name}.md" for name in TYPES)}


def test_the_pages_are_what_make_reference_would_write() -> None:
    stale = [name for name, text in pages().items() if (FOLDER / name).read_text("utf-8") != text]
    assert not stale, "run `make reference`"
    for one in (commands, configuration, expressions, http):
        assert one.PAGE.read_text("utf-8") == one.page(), "run `make reference`"


def test_the_page_of_the_configuration_has_the_options_of_the_schema_and_no_others() -> None:
    made = schema()["properties"]
    table = made["tables"]["additionalProperties"]["properties"]
    sections = {
        "app": made["app"],
        "app.kafka": made["app"]["properties"]["kafka"],
        "streams.NAME": made["streams"]["additionalProperties"],
        "tables.NAME": made["tables"]["additionalProperties"],
        "tables.NAME.dedupe": table["dedupe"],
        "tables.NAME.metrics": table["metrics"],
    }
    text = configuration.PAGE.read_text("utf-8")
    shown = dict(re.findall(r"^## `\[(.*?)\]`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert shown.keys() == {*sections, "tables.NAME.operators"}
    for name, section in sections.items():
        options = set(re.findall(r"^(?:\| )?`(\w+)`", shown[name], re.MULTILINE))
        assert options == {option for option in section["properties"] if f"{name}.{option}" not in shown}, name


def test_every_operator_and_function_of_expressions_is_shown() -> None:
    examples = re.findall(r"\| `+ ?([^|]*?) ?`+ \|", expressions.page())
    shown = set(re.findall(r"[a-z_0-9]+|[^\w\s.]+", " ".join(examples)))
    symbols = {"+", "-", "*", "/", "//", "%", "**", "==", "<", "<=", ">", "in", "not", "and", "or", "if", "else"}
    assert symbols | set(FUNCTIONS) <= shown


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_example_is_of_its_operator_and_shows_results(entry: Entry) -> None:
    worked = work(entry.example)
    assert entry.cls in map(type, worked.operators.values())
    assert len(worked.results) == len(entry.example.events) >= 3
    for name in worked.results[0]:
        assert len({shown(result[name]) for result in worked.results}) > 1, "every event has the same result"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_example_gives_the_same_without_kafka(entry: Entry) -> None:
    worked, events = work(entry.example), entry.example.events
    columns = {name: [event[name] for event in events] for name in events[0]}
    vectors = {name: len(column[0]) for name, column in columns.items() if isinstance(column[0], list)}
    for name, operator in worked.operators.items():
        memory = Memory(operator, vectors)
        results = memory.fold(["press-1"] * len(events), columns, columns.get(TIME))
        for i, result in enumerate(worked.results):
            if name in result:
                assert shown(plain(results, i)) == shown(result[name])
            if f"{name}.state" in result and i == len(events) - 1:
                assert shown(memory.export()[0]) == shown(result[f"{name}.state"])


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_what_is_less_precise_says_so(entry: Entry) -> None:
    tolerances = {case.tolerance for case in CASES if type(case.operator) is entry.cls}
    if max(tolerances) > 1e-12:
        assert entry.bound is not None


def test_a_docstring_without_formula_is_refused() -> None:
    class Bare:
        """Something.

        State: one number.
        """

    with pytest.raises(ValueError, match="Bare lacks"):
        parse(Bare)


def test_a_docstring_is_taken_apart() -> None:
    class Whole:
        """What it is.

            a = b * c

        Why ``x * y`` and a * b, as :meth:`of.it`.

        Parameters: ``value``, the field.
        State: one
        number.
        References: Neumaier 1974; Katharopoulos et al., arXiv 2006.16236.
        """

    doc = parse(Whole)
    assert doc.summary == "What it is."
    assert doc.formula == "a = b * c"
    assert doc.text == [r"Why `x * y` and a \* b, as `of.it`."]
    assert doc.parameters == "`value`, the field."
    assert doc.state == "one number."
    assert doc.references == [
        "Neumaier 1974.",
        "Katharopoulos et al., [arXiv 2006.16236](https://arxiv.org/abs/2006.16236).",
    ]
