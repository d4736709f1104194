"""Read a TOML file into an :class:`App`: keys become options of the model, mistakes get the lines of the file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, TypeVar

from operators import Operator
from pipeline.core.config.environment import expand
from pipeline.core.config.model import App, Dedupe, Stream, Table
from pipeline.core.config.operator_types import make_operator
from pipeline.core.config.option import Option, options_of
from pipeline.core.config.positions import key_lines, nearest_line
from pipeline.core.config.problem import ConfigError, Path, Problem, mismatch, shown, unknown
from pipeline.core.config.security import KafkaSecurity
from pipeline.errors import InputError

T = TypeVar("T")

Tree = Mapping[str, Any]

_MEND = 'correct that; "streamfold init" writes a commented example'
_WHERE = re.compile(r" \(at (?:line (?P<line>[0-9]+), column [0-9]+|end of document)\)$")


def load(path: str | os.PathLike[str], environment: Mapping[str, str] = os.environ) -> App:
    """Read the file. Raises InputError, with a line for each mistake."""
    file = FilePath(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        cause = f"{path}: {error.strerror or error}"
        raise InputError(cause, '"streamfold init FILE" writes a configuration to begin with') from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem((), "found bytes that aren't UTF-8, expected text", line)], str(path)) from None
    return loads(text, path, environment)


def loads(
    text: str, path: str | os.PathLike[str] = "streamfold.toml", environment: Mapping[str, str] = os.environ
) -> App:
    """Read the text of a file. ``path`` is what mistakes name, and where relative paths begin."""
    tree = _parse(text, str(path))
    reader = _Reader(FilePath(path).parent, environment)
    app = reader.app(tree)
    if app is None:
        lines = key_lines(text)
        problems = [
            Problem(problem.path, problem.message, nearest_line(lines, problem.path)) for problem in reader.problems
        ]
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0), str(path), _MEND)
    return app


def _parse(text: str, path: str) -> Tree:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        message = "too many levels" if isinstance(error, RecursionError) else str(error)
        where = _WHERE.search(message)
        last = text.count("\n") + 1
        line = int(where["line"]) if where and where["line"] else last
        problem = Problem((), f"not TOML: {_WHERE.sub('', message)}", line)
        raise ConfigError([problem], path, _MEND) from None


class _Reader:
    """Goes through the tree, collects the mistakes in ``problems`` and builds what is sound."""

    def __init__(self, folder: FilePath, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.problems: list[Problem] = []

    def app(self, tree: Tree) -> App | None:
        """The app, or None if there is a problem."""
        tree = self._expanded((), tree)
        if self.problems:
            return None
        self._refuse_unknown((), tree, ("app", "streams", "tables"))
        options = self._app_options(self._required((), tree, "app"))
        streams = {
            name: self._stream(("streams", name), name, given)
            for name, given in self._sections((), tree, "streams").items()
        }
        tables = [
            self._table(("tables", name), name, given, streams)
            for name, given in self._sections((), tree, "tables").items()
        ]
        if not tables:
            self._problem(("tables",), "is missing, expected at least one table, like [tables.player]")
        return self._build((), App, tables=tables, streams=streams.values(), **options)

    def _app_options(self, given: Tree) -> dict[str, Any]:
        path: Path = ("app",)
        options = self._options(path, App, given, inner=("tables", "streams", "kafka"), known=("kafka",))
        if "kafka" in given:
            path = (*path, "kafka")
            security = self._options(path, KafkaSecurity, self._table_at(path, given["kafka"]))
            options["kafka"] = self._build(path, KafkaSecurity, **security)
        return options

    def _stream(self, path: Path, name: str, given: Tree) -> Stream | None:
        return self._build(path, Stream, name=name, **self._options(path, Stream, given, inner=("name",)))

    def _table(self, path: Path, name: str, given: Tree, streams: Mapping[str, Stream | None]) -> Table | None:
        inner = ("name", "stream", "streams", "operators", "dedupe", "metrics_keys")
        known = ("stream", "streams", "operators", "dedupe", "metrics")
        options = self._options(path, Table, given, inner=inner, known=known)
        options["operators"] = {
            operator: self._operator((*path, "operators", operator), table)
            for operator, table in self._sections(path, given, "operators").items()
        }
        if not options["operators"]:
            self._problem((*path, "operators"), 'is missing, expected one at least, like games = { type = "count" }')
        if "dedupe" in given:
            there: Path = (*path, "dedupe")
            dedupe = self._options(there, Dedupe, self._table_at(there, given["dedupe"]))
            options["dedupe"] = self._build(there, Dedupe, **dedupe)
        if "metrics" in given:
            options |= self._metrics((*path, "metrics"), given["metrics"])
        if "streams" in given:
            names = given["streams"]
            if not isinstance(names, list) or not names or "stream" in given:
                expected = "the names of streams, in place of stream" if "stream" in given else "the names of streams"
                self._problem((*path, "streams"), mismatch(names, expected))
                return None
            found = [self._stream_of((*path, "streams", place), each, streams) for place, each in enumerate(names)]
            options["streams"] = found
        else:
            found = [self._stream_of((*path, "stream"), given.get("stream"), streams)]
            options["stream"] = found[0]
        return self._build(path, Table, name=name, **options) if all(found) else None

    def _stream_of(self, path: Path, name: object, streams: Mapping[str, Stream | None]) -> Stream | None:
        if name is None:
            self._problem(path, "is missing, expected the name of a stream")
        elif not isinstance(name, str):
            self._problem(path, mismatch(name, "the name of a stream"))
        elif name not in streams:
            self._problem(path, unknown("stream", name, tuple(streams)))
        else:
            return streams[name]
        return None

    def _operator(self, path: Path, given: Tree) -> Operator | None:
        return self._attempt(path, lambda: make_operator(given))

    def _metrics(self, path: Path, given: object) -> dict[str, Any]:
        table = self._table_at(path, given)
        self._refuse_unknown(path, table, ("keys",))
        keys = table.get("keys", [])
        return {"metrics_keys": keys} if self._fits((*path, "keys"), Table.metrics_keys, keys) else {}

    def _options(
        self, path: Path, cls: type, given: Tree, *, inner: Sequence[str] = (), known: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The checked options of a class; ``inner`` ones aren't in the file, what is ``known`` is read elsewhere."""
        options = {name: option for name, option in options_of(cls).items() if name not in inner}
        self._refuse_unknown(path, given, (*options, *known))
        for name, option in options.items():
            if option.required and name not in given:
                self._problem((*path, name), f"is missing, expected {option.expected}")
        found = {name: self._resolved((*path, name), options[name], given[name]) for name in options if name in given}
        return {name: value for name, value in found.items() if self._fits((*path, name), options[name], value)}

    def _fits(self, path: Path, option: Option[Any, Any], value: object) -> bool:
        try:
            option.check(value, option.in_file)
        except ValueError as error:
            self._problem(path, str(error))
            return False
        return True

    def _resolved(self, path: Path, option: Option[Any, Any], value: object) -> object:
        """A relative path from the file's folder; a secret from the file it is in."""
        if option.is_path and isinstance(value, str):
            return str(self.folder / value)
        if option.is_secret and isinstance(value, str) and value.startswith("file:"):
            file = value.removeprefix("file:")
            try:
                return (self.folder / file).read_text().rstrip("\r\n")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not text"
                self._problem(path, f"found {shown(value)}, which can't be read: {reason}")
        return value

    def _expanded(self, path: Path, value: Any) -> Any:
        """The tree with the references to the environment replaced in all its texts."""
        if isinstance(value, dict):
            return {key: self._expanded((*path, key), inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._expanded((*path, place), inner) for place, inner in enumerate(value)]
        if isinstance(value, str):
            try:
                return expand(value, self.environment)
            except ValueError as error:
                self._problem(path, str(error))
        return value

    def _required(self, path: Path, tree: Tree, name: str) -> Tree:
        if name not in tree:
            self._problem((*path, name), f"is missing, expected a table [{name}]")
        return self._table_at((*path, name), tree.get(name, {}))

    def _sections(self, path: Path, tree: Tree, name: str) -> dict[str, Tree]:
        """The tables within a table, by name."""
        path = (*path, name)
        return {
            key: self._table_at((*path, key), inner) for key, inner in self._table_at(path, tree.get(name, {})).items()
        }

    def _table_at(self, path: Path, value: object) -> Tree:
        if isinstance(value, dict):
            return value
        self._problem(path, mismatch(value, "a table"))
        return {}

    def _refuse_unknown(self, path: Path, given: Tree, known: Sequence[str]) -> None:
        for name in given:
            if name not in known:
                self._problem((*path, name), unknown("key", name, known))

    def _build(self, path: Path, cls: Callable[..., T], **options: Any) -> T | None:
        """An object of the model, unless something is wrong in what it is made of."""
        if any(problem.path[: len(path)] == path for problem in self.problems):
            return None
        return self._attempt(path, lambda: cls(**options))

    def _attempt(self, path: Path, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except ConfigError as error:
            self.problems += [problem.under(*path) for problem in error.problems]
            return None

    def _problem(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))
