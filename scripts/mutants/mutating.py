"""The changes that can be made to a source file, by the mutators of mutmut."""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

# Left out are texts, and None for a value: any test that runs such a line sees that.
_MUTATORS = [
    (kind, mutate)
    for kind, mutate in mutators.mutation_operators
    if mutate not in {mutators.operator_string, mutators.operator_assignment, mutators.operator_dict_arguments}
]
_SKIPPED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Raise, cst.TypeAlias)
_NOISE = {"__repr__", "__str__"}
# Arguments by their place, which can't be left out, and an assertion, which always holds.
_CHECKS = {None, "strict"}


@dataclass(frozen=True)
class Mutant:
    """A source file with one change: the lines before and after it, and the function that they are in ("" if none)."""

    file: str
    line: int
    function: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """What it is known by from one run to the next, wherever the lines have moved."""
        return "\n".join((self.file, self.function, self.before, self.after))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """All functions of a file by their full names; those inside others come after them."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, Function | ast.ClassDef):
            name = f"{prefix}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield name, child
        yield from definitions(child, name)


@dataclass(frozen=True)
class _Change:
    line: int
    old: cst.CSTNode
    new: cst.CSTNode
    code: tuple[str, str]


class _Changes(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        self.module = module
        self.found: list[_Change] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _SKIPPED) or (isinstance(node, cst.FunctionDef) and node.name.value in _NOISE):
            return False
        if isinstance(node, cst.Arg) and _option(node) == "strict":
            return False
        for kind, mutate in _MUTATORS:
            for new in mutate(node) if isinstance(node, kind) else ():
                if not _trivial(node, new):
                    line = self.get_metadata(PositionProvider, node).start.line
                    code = self.module.code_for_node(node), self.module.code_for_node(new)
                    self.found.append(_Change(line, node, new, code))
        return super().on_visit(node)


def _trivial(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Of calls only those are of use that leave an option out: the others fail wherever they are run."""
    if not isinstance(old, cst.Call) or not isinstance(new, cst.Call):
        return False
    return len(new.args) == len(old.args) or {_option(arg) for arg in old.args if arg not in new.args} <= _CHECKS


def _option(arg: cst.Arg) -> str | None:
    return arg.keyword.value if arg.keyword is not None else None


def sample(file: str, source: str, size: int, seed: int) -> list[Mutant]:
    """As many mutants of a file, drawn so that a change of other lines leaves them in the sample."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    changes = _Changes(wrapper.module)
    wrapper.visit(changes)
    places = [(name, at.lineno, at.end_lineno or at.lineno) for name, at in definitions(ast.parse(source))]
    seen: Counter[tuple[str, tuple[str, str]]] = Counter()
    ranked = []
    for change in changes.found:
        inside = [name for name, first, last in places if first <= change.line <= last]
        what = (inside[-1] if inside else "", change.code)
        seen[what] += 1
        lot = hashlib.blake2b(repr((seed, file, what, seen[what])).encode()).digest()
        ranked.append((lot, what[0], change))
    ranked.sort(key=lambda entry: entry[0])
    drawn = [_mutant(file, wrapper.module, function, change) for _, function, change in ranked[:size]]
    return sorted({mutant.name: mutant for mutant in drawn}.values(), key=lambda mutant: mutant.line)


def _mutant(file: str, module: cst.Module, function: str, change: _Change) -> Mutant:
    changed = module.deep_replace(change.old, change.new)
    assert isinstance(changed, cst.Module)
    lines = list(difflib.ndiff(module.code.splitlines(), changed.code.splitlines()))
    before, after = ("\n".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Mutant(file, change.line, function, before, after, changed.code)
