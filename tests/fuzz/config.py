"""Configurations: whatever the text, it is an app or a line for each mistake; an app can be shown, sized, read again.

The texts are good files with a few things changed, most of them in the tree, so that what is left is still TOML.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from operators import TYPES
from pipeline.cli.describe import FORMS
from pipeline.core.config import App, Dedupe, KafkaSecurity, Stream, Table
from pipeline.core.config.load import loads
from pipeline.core.config.option import options_of
from pipeline.core.record_size import largest_output, largest_state
from pipeline.errors import InputError

ENVIRONMENT = {"KAFKA": "broker:9092", "EMPTY": "", "WINDOW": "30s"}
_ROOT = Path(__file__).parents[2]
_MOST_STATE = 1 << 20
"""Bytes of a key's state up to which an app is sized: more is made, and refused, at a start only."""

Tree = dict[str, Any]


def check(text: str) -> None:
    """Raises AssertionError for an answer that is neither an app nor a line for each mistake."""
    app = _read(text)
    if isinstance(app, InputError):
        _check_mistakes(app, text.count("\n") + 1)
        return
    assert isinstance(app, App)
    for form in FORMS.values():
        assert form(app)
    for table in app.tables.values():
        assert re.fullmatch("[0-9a-f]{16}", app.fingerprint(table))
        if _state_bytes(app, table) <= _MOST_STATE:
            assert min(largest_state(table), largest_output(table)) > 0
    again = loads(written(tomllib.loads(text)), "f.toml", ENVIRONMENT)
    assert again == app == dataclasses.replace(app)
    assert FORMS["json"](again) == FORMS["json"](app)


def _read(text: str) -> App | InputError:
    try:
        return loads(text, "f.toml", ENVIRONMENT)
    except InputError as error:
        return error


def _check_mistakes(error: InputError, last: int) -> None:
    assert error.mend
    for line in error.cause.split("\n"):
        where = re.match(r"f\.toml:([0-9]+): ", line)
        assert where is not None, line
        assert 1 <= int(where[1]) <= last, line
        assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cs", "Zl", "Zp"}, line


def _state_bytes(app: App, table: Table) -> int:
    shown: int = json.loads(FORMS["json"](app))["tables"][table.name]["state_bytes"]
    return shown


def ready() -> AbstractContextManager[Callable[[str], None]]:
    """Nothing has to run."""
    return nullcontext(check)


# Trees as text


def written(tree: Mapping[str, Any]) -> str:
    """A tree as TOML that reads as the same tree."""
    return "\n".join(_lines((), tree)) + "\n"


def _lines(path: tuple[str, ...], tree: Mapping[str, Any]) -> Iterator[str]:
    sections = {key: value for key, value in tree.items() if isinstance(value, dict) and len(path) < 3}
    if path:
        yield f"[{'.'.join(map(_text, path))}]"
    for key, value in tree.items():
        if key not in sections:
            yield f"{_text(key)} = {_value(value)}"
    for key, section in sections.items():
        yield from _lines((*path, key), section)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case float():
            return repr(value)
        case datetime() | date() | time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{ {', '.join(f'{_text(key)} = {_value(inner)}' for key, inner in value.items())} }}"
    return str(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# Good files, and what is done to them

_FILES = ("tests/core/config/good.toml", "pipeline/cli/init.toml", "examples/arcade.toml", "examples/turbines.toml")
GOOD = tuple((_ROOT / name).read_text() for name in _FILES)
_OPTIONS = {option for kind in (App, Stream, Table, Dedupe, KafkaSecurity) for option in options_of(kind)}
_OPERATOR_OPTIONS = {field.name for kind in TYPES.values() for field in dataclasses.fields(kind)}

NAMES = st.sampled_from(sorted({"app", "streams", "type", "metrics", "keys"} | _OPTIONS | _OPERATOR_OPTIONS))
WORDS = st.sampled_from(
    [
        *("", " ", "x", "a.b", "é", "\x00", "\x1b[31m", "\u2028", "\x7f", "\U0001f40d", "a" * 300, "..", "streamfold"),
        *("30s", "0s", "1e9d", "-5m", "250ms", "99999999999999999999d", "7 d", "${KAFKA}", "${EMPTY:-x}", "${NOT_SET}"),
        *("${", "$${X}", "${WINDOW}", "file:nowhere", "127.0.0.1:6066", "[::1]:0", "host:99999", ":1", "a:1,b:2"),
        *("json", "msgpack", "float64", "every", "commit", "skip", "delete", "evict", "latest", "state", "both"),
        *("player", "scores", "machine", "score", "k", "v", "time", "elu1", "SASL_SSL", "PLAIN", "0123456789abcdef"),
        *("score > 0", "kind == 'a' and ok", "`air temp` / 2", "date(at)", "(" * 300, "x.y", "score == 'a'", "1 / 0"),
        *("operators:Mean", "json:dumps", "nosuch:X", ":", "a:b:c", "os.path:", "operators.operator:Operator"),
    ]
)
VALUES = st.recursive(
    WORDS
    | st.sampled_from(sorted(TYPES))
    | st.text(max_size=4)
    | st.integers(-2, 9)
    | st.sampled_from([256, 65_537, 10**7, 10**9 + 1, 2**31, 2**63, 10**30, 10**400, -(2**63)])
    | st.sampled_from([0.0, -0.0, 0.5, 1.0, 1e308, 5e-324, math.inf, -math.inf, math.nan])
    | st.booleans()
    | st.sampled_from([date(1979, 5, 27), time(7, 32), datetime(1979, 5, 27, 7, 32, tzinfo=UTC)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | WORDS, inner, max_size=3),
    max_leaves=5,
)
DEEP = st.builds(
    lambda opening, closing, depth: "deep = " + opening * depth + "1" + closing * depth,
    *(st.sampled_from(["[", "{ a = "]), st.sampled_from(["]", "}"]), st.integers(1, 700)),
)
SNIPPETS = DEEP | st.sampled_from(
    ["[tables.player]\n", "[[streams]]\n", "a.b.c = 1\n", '"""', "'''", "\\", '"', "=", "]", "#", "\r\n", "\ufeff"]
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A good file's tree with a few things changed."""
    tree: Tree = copy.deepcopy(draw(st.sampled_from([tomllib.loads(text) for text in GOOD])))
    for _ in range(draw(st.integers(0, 4))):
        places = list(_places(tree))
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["set", "set", "add", "add", "rename", "delete", "copy"])):
            case "set":
                holder[key] = draw(VALUES)
            case "add" if isinstance(holder[key], dict):
                holder[key][draw(NAMES | WORDS)] = draw(VALUES)
            case "rename" if isinstance(holder, dict):
                holder[draw(NAMES | WORDS)] = holder.pop(key)
            case "delete":
                del holder[key]
            case "copy":
                other, its_key = draw(st.sampled_from(places))
                holder[key] = copy.deepcopy(other[its_key])
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every dict or list in a tree with each of its keys."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with a piece of it replaced by another."""
    text = draw(texts)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    return text[:start] + draw(SNIPPETS | st.text(max_size=3)) + text[end:]


INPUTS = trees().map(written) | damaged(st.sampled_from(GOOD)) | damaged(trees().map(written)) | st.text()
