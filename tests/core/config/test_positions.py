"""The lines of keys, against what tomllib reads of the same text."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.config.positions import key_lines, nearest_line
from pipeline.core.config.problem import Path

TEXT = '''# a comment with [brackets] and = signs
[app]
name = "x" # "y" = [
a.b."c d" = [1, # one
  { q = 'z]' , r = """
a"b\\""""" },
  [ ],
  1979-05-27 07:32:00, '\\',
]
[[t]]
x = 1
[t.s]
u=2
[[t]]
"x\\u0021" = { }
[[t.v]]
w = { a = 1, b.c = 2 }
[[t.v]]
w = \'\'\'
[no]
'four\'\'\'\'
'''


def test_every_form_of_a_key_has_its_line() -> None:
    assert {path: line for path, line in key_lines(TEXT).items() if line > 2} == {
        ("app", "name"): 3,
        ("app", "a"): 4,
        ("app", "a", "b"): 4,
        ("app", "a", "b", "c d"): 4,
        ("app", "a", "b", "c d", 0): 4,
        ("app", "a", "b", "c d", 1): 5,
        ("app", "a", "b", "c d", 1, "q"): 5,
        ("app", "a", "b", "c d", 1, "r"): 5,
        ("app", "a", "b", "c d", 2): 7,
        ("app", "a", "b", "c d", 3): 8,
        ("app", "a", "b", "c d", 4): 8,
        ("t",): 10,
        ("t", 0): 10,
        ("t", 0, "x"): 11,
        ("t", 0, "s"): 12,
        ("t", 0, "s", "u"): 13,
        ("t", 1): 14,
        ("t", 1, "x!"): 15,
        ("t", 1, "v"): 16,
        ("t", 1, "v", 0): 16,
        ("t", 1, "v", 0, "w"): 17,
        ("t", 1, "v", 0, "w", "a"): 17,
        ("t", 1, "v", 0, "w", "b"): 17,
        ("t", 1, "v", 0, "w", "b", "c"): 17,
        ("t", 1, "v", 1): 18,
        ("t", 1, "v", 1, "w"): 19,
    }


def test_the_nearest_key_that_is_there() -> None:
    lines: dict[Path, int] = {("a",): 3, ("a", "b"): 5}
    asked: list[Path] = [("a", "b", "c"), ("a", "x"), ("a",), ("z",), ()]
    assert [nearest_line(lines, path) for path in asked] == [5, 3, 3, 1, 1]


def paths(tree: object, path: Path = ()) -> Iterator[Path]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from paths(value, (*path, key))


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True), st.text(max_size=4).map(quoted))
BREAKS = st.sampled_from(["", " ", "\n", " # ]}= '\"\n", "\t\n\n"])
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
SCALARS = st.one_of(
    st.integers().map(str),
    st.sampled_from(["true", "1e3", "-inf", "07:32:00", "1979-05-27 07:32:00Z", '"""\n[a]\n"b" """"', "'''\n'x'''''"]),
    TEXTS.map(quoted),
)
VALUES: st.SearchStrategy[str] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.tuples(st.lists(inner, max_size=3), BREAKS).map(
            lambda made: "[" + ",".join(f"{made[1]}{value}{made[1]}" for value in made[0]) + made[1] + "]"
        ),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda made: "{ " + ", ".join(f"{key} = {value}" for key, value in made.items()) + " }"
        ),
    ),
    max_leaves=6,
)
DOTTED = st.lists(KEYS, min_size=1, max_size=3).map(" . ".join)
STATEMENTS = st.one_of(
    st.builds(lambda key, value: f"{key} = {value}", DOTTED, VALUES),
    DOTTED.map(lambda key: f"[{key}]"),
    DOTTED.map(lambda key: f"[[ {key} ]]"),
)


@given(st.lists(st.tuples(STATEMENTS, BREAKS), max_size=6))
def test_the_keys_found_are_those_of_tomllib(statements: list[tuple[str, str]]) -> None:
    text = "".join(f"{statement}\n{blank}\n" for statement, blank in statements)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert set(paths(tree)) == set(lines)
    assert all(1 <= line <= text.count("\n") for line in lines.values())
