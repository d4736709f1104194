"""Hostile and mistaken expressions are refused when they are read: nothing of them is ever run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.expression import ExpressionError, Kind, Scope, read
from pipeline.core.expression.syntax import MAX_LENGTH

HOSTILE = [
    # attributes
    *("x.y", "x.__class__", "().__class__", "''.__class__.__mro__", "(1).real", "x.__init__.__globals__", "x.T"),
    *("x.tofile", "'a'.format(x)", "'{0.__class__}'.format(x)", "[].append", "abs.__self__", "x.dtype.type"),
    *("(x).__reduce__()", "1..__class__", "1.0.real", "`a`.b", "sqrt.__doc__", "x.__array_interface__"),
    # calls
    *("__import__('os')", "eval('1')", "exec('1')", "compile('1', '', 'eval')", "open('/etc/passwd')", "getattr(x, y)"),
    *("globals()", "locals()", "vars()", "dir()", "breakpoint()", "input()", "exit()", "print(x)", "type(x)", "x(1)"),
    *("x()", "abs(x)(1)", "`abs`(x)", "'abs'(x)", "(abs)()", "abs()", "abs(x, y)", "abs(*x)", "abs(**x)", "min(x)"),
    *("max()", "min(x, key=y)", "min(*x, y)", "(lambda: 0)()", "(abs if x else sqrt)(y)", "__call__(x)", "Abs(x)"),
    *("ABS(x)", "np.abs(x)", "math.sin(x)", "numpy.load('x')", "str(x)", "object()", "abs (x) (y)"),
    # names
    *("__class__", "__builtins__", "__name__ == 'x'", "__debug__", "None", "null == x", "x == None", "nan", "inf > x"),
    # other syntax
    *("lambda: 1", "lambda x: x", "[x for x in y]", "{x for x in y}", "(x for x in y)", "{x: y for x in z}", "[x]"),
    *("[1, 2]", "{1}", "{}", "{1: 2}", "(1, 2)", "x,", "()", "*x", "x[0]", "x['a']", "x[1:2]", "'a'[0]", "`a`[0]"),
    *("(y := 1)", "x := 1", "x = 1", "x == 1; y", "import os", "del x", "raise x", "assert x", "return x", "pass"),
    *("yield x", "(yield)", "await x", "(await x)", "async x", "global x", "x is y", "x is not y", "with x"),
    *("for x in y", "f'{x}'", "f'x'", "b'x'", "r'x'", "u'x'", "rb'x'", "'''x'''", '"""x"""', "'a' 'b'", "'a''b'"),
    *("x'a'", "'a'x", "...", "1j", "1e3j", "x @ y", "x & y", "x | y", "x ^ y", "~x", "x << 1", "x >> 1", "+x"),
    *("x <> y", "x ? y : z", "x !", "!x", "x && y", "x || y", "x === y", "x++", "x--", "x->y", "$x", "#", "x # y"),
    *("\\", "x \\\n > y", "@x", "'", '"', "`", "``", "'a", "`a", "'a\"", "'a\\'b'", "`a\\b`", '`a"b`', "`a\nb`"),
    *("'\ud800'", "(", ")", "((x)", "x)", "x) + (y", "[", "]", "", " ", "\t\n", "\x00", "x\x00", "x\x01y", "\ufeffx"),
    *("x\u2028y", "x\u00a0> y", "\x1b[31m", "\u202ex", "x\x0c", "\ud800"),
    # letters that look like others, or that Python takes for others
    *("ａbs(x)", "аbs(x)", "ｅval('1')", "x ＞ 1", "x ＝＝ 1", "（x）", "１ + x", "x＋1", "é", "класс > 1"),
    *("ſin(x)", "𝐱 > 1", "𝓮𝓿𝓪𝓵('1')", "x\u200b > 1", "x′ > 1", "‘a’ == x", "“a” == x", "x ≥ 1", "x ≠ 1"),
    *("x × y", "−x"),
    # numbers
    *("9**9**9**9", "2**2000", "10**400 > x", "1e999", "-1e999", "1e308 * 10", "1 / 0", "0 / 0", "(-8) ** 0.5"),
    *("0 ** -1", "9007199254740993", "9" * 400, "0x" + "f" * 400, "1__0", "01", "0x", "1_", "1e", "1.2.3"),
    *("x in [9007199254740993]", "x in [1e999]", "x in [-1e999]", "1 % 0", "1 // 0", "5e307 + 1.7e308"),
    # kinds
    *("'a' + 1", "'a' + 'b'", "-'a'", "'a' * 9999999", "x < 'a' and x > 1", "x + 1 == 'a'", "'a' < 1", "true + 1"),
    *("abs('a')", "sqrt(true)", "lower(1)", "upper(x) > 1", "date('2020')", "hour('x')", "not 1", "x + 1 and y"),
    *("'a' and x", "1 if 'a' else 2", "1 if x else 'a'", "x == 1 and x == 'a'", "x and x + 1"),
    *("x == y and x == 'a' and y == 1", "x == true and x in [1]", "(x > 1) + 1", "(x > 1) == 1", "date(x) > 1"),
    *("is_null(x) + 1", "min('a', 'b')", "'a' % x", "x in 'abc'", "x in y", "x in []", "x in [y]", "x in [1, 'a']"),
    *("x in ['a', 1]", "x in [true]", "x in ('a', 'b')", "x in [[1]]", "x in [1 + 1]", "x in ['a', `b`]", "x in [--1]"),
    *("1 in ['a']", "x < y in [1]", "x in [1] == true", "x in [1] in [2]", "x not in 1", "x in [abs(1)]"),
    # too much
    *("(" * 300 + "x" + ")" * 300, "-" * 900 + "x", "not " * 240 + "x", "+".join("x" * 400), "x" * 1001),
    *("abs(" * 150 + "x", "abs(" * 150 + "x" + ")" * 150, "x if y else " * 80 + "x", "[" * 500, "'" + "a" * 1000 + "'"),
    *("1" * 999, " " * 2000, "x in [" + "1," * 450 + "1]", "x and " * 160 + "x" + " and x" * 20 * 3),
    *("min(" + "x," * 450 + "x)", "**".join("9" * 120), "x<" * 330 + "x", "{" * 999, "(((((" + "[" * 300 + "("),
    *("x if " * 190 + "x",),
]


def test_there_are_more_than_a_hundred() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 200


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_a_hostile_expression_is_refused_at_a_column(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"^column [0-9]+: found ") as refused:
        read(text, Scope())
    assert 1 <= refused.value.column <= min(len(text), MAX_LENGTH) + 1


WATCHED = """
import json, sys
from pipeline.core.expression import ExpressionError, Scope, read
texts, heard, watching = json.load(sys.stdin), set(), False
sys.addaudithook(lambda event, arguments: heard.add(event) if watching else None)
for watching in (False, True):
    for text in texts:
        try:
            read(text, Scope())
        except ExpressionError:
            continue
        sys.exit(f"not refused: {text!r}")
watching = False
print(json.dumps(sorted(heard)))
"""


def test_nothing_of_them_is_run_imported_or_opened() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], input=json.dumps(HOSTILE), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) <= {"compile", "object.__getattr__"}, "Python's parser is called, nothing else"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("score > ", "^column 8: found the end, expected more"),
        (" a b", r"^column 4: found what is no expression \(invalid syntax\)"),
        ("a > 1 and sqrtt(b) > 1", '^column 11: .*"sqrtt", expected one of .*; did you mean "sqrt"'),
        ("  a & b", '^column 5: found "&", expected the word "and"'),
        ("kind = 'final'", '^column 6: found "=", expected "=="'),
        ("class == 'a'", "^column 1: .*a field of that name is written `class`"),
        ("'é' == a and a.b", "^column 14: .*a field.* is written `a.b`"),
        ("`é è` == 'é' and b + 'a' > 1", "^column 22: found text, expected a number"),
        ("a == 'x' and a + 1 > 2", '^column 14: found "a", which is text, expected a number'),
        ("a == null", r'^column 6: found "null", expected is_null\(x\)'),
        ("1 / 0", "^column 1: found a constant that isn't finite"),
    ],
)
def test_a_mistake_says_where_it_is_and_how_to_mend_it(text: str, told: str) -> None:
    with pytest.raises(ExpressionError, match=told):
        read(text, Scope())


def test_a_field_that_is_not_there_and_one_that_is_no_column() -> None:
    scope = Scope(refused={"v": "a number: it is a vector"}, only=["height", "weight"])
    with pytest.raises(ExpressionError, match=r'unknown field "hieght", .* did you mean "height"'):
        read("hieght > 1", scope)
    with pytest.raises(ExpressionError, match=r'^column 5: found "v", expected a number: it is a vector'):
        read("1 > v", Scope(refused={"v": "a number: it is a vector"}))


PIECES = st.sampled_from(
    [
        *("x", "y", "1", "2.5", "'a'", "`b c`", "+", "-", "**", "//", "(", ")", "[", "]", ",", "==", "!=", "<", "and"),
        *("or", "not", "in", "if", "else", "abs(", "min(", "date(", "lower(", "is_null(", "true", ".", "'", "`", "é"),
        *("\x00", ":"),
    ]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=25).map(" ".join) | st.text())
def test_whatever_the_text_it_is_an_expression_or_refused(text: str) -> None:
    scope = Scope()
    try:
        expression = read(text, scope)
    except ExpressionError as error:
        column = error.column
    else:
        column = 1
        columns = {
            name: np.array(["a", None], object) if slot.kind is Kind.TEXT else np.array([0.5, np.nan])
            for name, slot in scope.slots.items()
        }
        value = expression(columns, 2)
        assert value.shape == (2,)
        assert value.dtype.kind in {Kind.NUMBER: "f", Kind.TEXT: "O", Kind.BOOLEAN: "bf"}[expression.kind]
    assert 1 <= column <= len(text) + 1


def test_the_module_has_no_way_to_run_text() -> None:
    from pipeline.core.expression import compile, functions, kind, scope, syntax

    for module in (compile, functions, kind, scope, syntax):
        tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"eval", "exec", "compile", "getattr", "setattr", "__import__", "globals", "vars"}
