"""From an expression's text to Python's syntax tree; what is in quotes is taken out before Python reads it."""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from dataclasses import dataclass

from pipeline.core.expression.error import ExpressionError, shown

MAX_LENGTH = 1_000
MAX_DEPTH = 64
MAX_NODES = 250

WORDS = ("and", "or", "not", "in", "if", "else", "True", "False")
"""Python's words that expressions have."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_TOKEN = re.compile(rf"{_QUOTED.pattern}|\w+|\S")
_WORD = re.compile(r"[A-Za-z_]\w*")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.+\-*/%<>=!()\[\], ]")
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ASSIGNED = re.compile(r"(?<![<>=!])=(?!=)")
_MEND = {
    "&": 'the word "and"',
    "|": 'the word "or"',
    "~": 'the word "not"',
    "!": 'the word "not"',
    "=": '"=="',
    "'": "a quotation mark that ends the text",
    '"': "a quotation mark that ends the text",
    "`": "another ` that ends the name",
}


@dataclass(frozen=True)
class Quoted:
    """What stood in quotation marks: a text, or in backticks the name of a field."""

    content: str
    is_name: bool


@dataclass(frozen=True)
class Tree:
    """A syntax tree; ``quoted`` are the names in it that stand for something in quotes, by the columns they are at."""

    root: ast.expr
    quoted: dict[int, Quoted]
    indent: int

    def column(self, node: ast.expr) -> int:
        """Where a node begins in the text, from 1."""
        return self.indent + node.col_offset + 1

    def quote(self, node: ast.expr) -> Quoted | None:
        """What a node stands for, if that was in quotes."""
        return self.quoted.get(self.indent + node.col_offset) if isinstance(node, ast.Name) else None


def canonical(text: str) -> str:
    """The same for texts that differ only in white space between words."""
    return " ".join(_TOKEN.findall(text))


def parse(text: str) -> Tree:
    """Read a text. Raises ExpressionError for what is not an expression, or too large a one."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"found {len(text):,} characters, expected at most {MAX_LENGTH:,}", MAX_LENGTH + 1)
    if lone := _SURROGATE.search(text):
        raise ExpressionError("found half a letter, expected whole ones", lone.start() + 1)
    quoted, plain = _take_quoted(text)
    _refuse_foreign(plain)
    indent = len(plain) - len(plain.lstrip())
    if not plain.strip():
        raise ExpressionError("found nothing, expected an expression", 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only doubts, like `1if`, is refused
            root = ast.parse(plain.strip(), mode="eval").body
    except SyntaxError as error:
        if not error.offset or error.offset > len(plain.strip()):
            raise ExpressionError("found the end, expected more", len(plain.rstrip()) + 1) from None
        raise ExpressionError(f"found what is no expression ({_reason(error)})", indent + error.offset) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"found too many levels, expected at most {MAX_DEPTH}", 1) from None
    tree = Tree(root, quoted, indent)
    _limit(tree)
    return tree


def _take_quoted(text: str) -> tuple[dict[int, Quoted], str]:
    """Names of the same length in place of all that is quoted, and spaces for white space: columns stay as they are."""
    quoted: dict[int, Quoted] = {}

    def replace(match: re.Match[str]) -> str:
        place, mark = match.start(), match[0][0]
        for beside in (text[place - 1 : place], text[match.end() : match.end() + 1]):
            if beside in {"'", '"', "`", "_"} or beside.isalnum():
                raise ExpressionError(f"found {shown(beside)} beside a quotation, expected an operator", place + 1)
        if mark == "`" and (len(match[0]) == 2 or _ESCAPED.search(match[0])):
            expected = "a field's name without quotation marks, backslashes and control characters"
            raise ExpressionError(f"found {shown(match[0])}, expected {expected}", place + 1)
        quoted[place] = Quoted(match[0][1:-1], mark == "`")
        return "_" * len(match[0])

    plain = _QUOTED.sub(replace, text)
    return quoted, re.sub(r"[\t\n\r]", " ", plain)


def _refuse_foreign(plain: str) -> None:
    """Raise ExpressionError for characters and words that no expression has, however they are put together."""
    for pattern in (_FOREIGN, re.compile(r"!(?!=)"), _ASSIGNED):
        if found := pattern.search(plain):
            expected = _MEND.get(found[0], "a field's name in backticks, or an operator")
            raise ExpressionError(f"found {shown(found[0])}, expected {expected}", found.start() + 1)
    for word in _WORD.finditer(plain):
        if keyword.iskeyword(word[0]) and word[0] not in WORDS:
            expected = f"something else: a field of that name is written `{word[0]}`"
            raise ExpressionError(f"found the word {shown(word[0])}, expected {expected}", word.start() + 1)


def _reason(error: SyntaxError) -> str:
    """Python's words, without its guesses."""
    return error.msg.partition(". ")[0]


def _limit(tree: Tree) -> None:
    """Raise ExpressionError for a tree that is too deep or too large to be walked."""
    pending: list[tuple[ast.AST, int]] = [(tree.root, 1)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += isinstance(node, ast.expr)
        if depth > MAX_DEPTH:
            raise ExpressionError(f"found too many levels, expected at most {MAX_DEPTH}", tree.indent + 1)
        if count > MAX_NODES:
            raise ExpressionError(f"found too many parts, expected at most {MAX_NODES}", tree.indent + 1)
        pending += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
