"""On which line of a TOML text each key is. The text has to be sound: :mod:`tomllib` has read it before."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from pipeline.core.config.problem import Path

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key and of every element of a list."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def nearest_line(lines: dict[Path, int], path: Path) -> int:
    """The line of the longest part of the path that is there; 1 if nothing is."""
    return next((lines[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in lines), 1)


class _Scanner:
    """Walks over the text once; ``at`` is where it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._breaks = [place for place, letter in enumerate(text) if letter == "\n"]
        self._newest: dict[Path, int] = {}

    def document(self) -> None:
        """Headers and pairs to the end."""
        table: Path = ()
        self._skip()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def _header(self) -> Path:
        """``[a.b]``, or ``[[a.b]]``: one more element of a list."""
        start = self.at
        is_element = self.text.startswith("[[", start)
        self._take("[[" if is_element else "[")
        path: Path = ()
        for key in self._dotted():
            self._mark(path, start)
            path = (*path, key)
            if path in self._newest:
                path = (*path, self._newest[path])
        if is_element:
            path = self._element(path, start)
        self._take("]]" if is_element else "]")
        self.lines[path] = self._line(start)
        return path

    def _element(self, path: Path, start: int) -> Path:
        parent = path[:-1] if isinstance(path[-1], int) else path
        self._mark(parent, start)
        self._newest[parent] = self._newest.get(parent, -1) + 1
        return (*parent, self._newest[parent])

    def _pair(self, table: Path) -> None:
        start = self.at
        path = table
        for key in self._dotted():
            path = (*path, key)
            self._mark(path, start)
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        opening = self.text[self.at]
        if opening == "[":
            self._list(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._match(_STRING if opening in "\"'" else _SCALAR)

    def _list(self, path: Path) -> None:
        self._take("[")
        index = 0
        while not self._takes("]"):
            self._mark((*path, index), self.at)
            self._value((*path, index))
            self._takes(",")
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._take("{")
        while not self._takes("}"):
            self._pair(path)
            self._takes(",")

    def _dotted(self) -> list[str]:
        keys = [self._key()]
        while self._takes("."):
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._skip()
        if self.text[self.at] not in "\"'":
            return self._match(_BARE_KEY)
        quoted: str = tomllib.loads(f"key = {self._match(_STRING)}")["key"]
        return quoted

    def _mark(self, path: Path, place: int) -> None:
        if path:
            self.lines.setdefault(path, self._line(place))

    def _line(self, place: int) -> int:
        return bisect_right(self._breaks, place - 1) + 1

    def _skip(self) -> None:
        self._match(_BLANK)

    def _take(self, token: str) -> None:
        if not self._takes(token):
            message = f"expected {token} at offset {self.at}"
            raise AssertionError(message)

    def _takes(self, token: str) -> bool:
        self._skip()
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            message = f"expected {pattern.pattern} at offset {self.at}"
            raise AssertionError(message)
        self.at = match.end()
        return match[0]
