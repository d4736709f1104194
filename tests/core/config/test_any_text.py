"""Whatever a file says, it is an app or mistakes, each one line of text."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.config import App, ConfigError, loads
from pipeline.errors import InputError
from tests.fuzz.config import INPUTS, check

SNIPPETS = [
    "[app]",
    "[streams.s]",
    "[tables.t]",
    "[tables.t.operators]",
    "[[tables]]",
    "name",
    "topic",
    "stream",
    "=",
    "\n",
]
SNIPPETS += [
    "a = { type = 'mean', value = 'x' }",
    "'s'",
    "3",
    "{",
    "}",
    "[",
    "]",
    ",",
    '"',
    "'",
    "${",
    "}",
    "1979-05-27 07:32:00",
]


def told_of(text: str) -> list[str]:
    """The lines of the mistakes in a text; none for a text that becomes an app."""
    try:
        assert isinstance(loads(text, "f", {}), App)
    except InputError as error:
        return error.cause.splitlines()
    return []


@given(st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=8)), max_size=30).map(" ".join))
def test_whatever_the_text_it_is_an_app_or_an_input_error(text: str) -> None:
    lines = told_of(text)
    assert lines, "no such text has all that an app needs"
    assert all(re.match(r"f:[0-9]+: ", line) for line in lines)


@settings(max_examples=60)
@given(INPUTS)
def test_whatever_is_done_to_a_good_file_it_is_an_app_or_an_input_error(text: str) -> None:
    check(text)


@pytest.mark.parametrize("control", ["\x7f", "\x85", "\x9b31m", "\u2028"])
def test_a_mistake_is_one_line_of_text_whatever_the_key_is(control: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        loads(f'[app]\n"{control}" = "{control}"\n'.replace("\x7f", "\\u007f"), "f", {})
    assert len(mistake.value.cause.splitlines()) == len(mistake.value.problems)
    assert not any(unicodedata.category(letter) == "Cc" for letter in mistake.value.cause.replace("\n", ""))
    assert f'app."\\u{ord(control[0]):04x}' in mistake.value.cause
