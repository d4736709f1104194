"""From a syntax tree to NumPy calls: each node that is allowed has its case here, and there are no others."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from typing import Any

import numpy as np

from pipeline.core.expression.error import ExpressionError, shown
from pipeline.core.expression.functions import FUNCTIONS, null
from pipeline.core.expression.kind import Column, Kind, KindError, Mask, Slot
from pipeline.core.expression.scope import Expression, Run, Scope
from pipeline.core.expression.syntax import Tree, parse

ARITHMETIC: Mapping[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: operator.pow,  # as pandas does it: some exponents have ways of their own, another one for -inf ** 0.5
}

COMPARISONS: Mapping[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}

_NO_NAMES = {"null": "is_null(x)", "nan": "is_null(x)", "none": "is_null(x)", "inf": "a finite number"}

_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Attribute: "found a dot, expected a field: one with a dot in its name is written `a.b`",
    ast.Subscript: "found an index, expected a field: lists and objects can't be looked into",
    ast.List: "found a list, expected it after `in` or `not in` only",
    ast.Tuple: "found values by commas, expected one value",
    ast.Starred: "found a star, expected one value",
}


@dataclass(frozen=True)
class Term:
    """A compiled part of an expression; ``constant`` if it is the same for all events."""

    slot: Slot
    run: Run
    constant: bool = False


def read(text: str, scope: Scope, expected: Kind | None = None) -> Expression:
    """Compile an expression; ``expected`` is what it has to give. Raises ExpressionError for one that is refused."""
    tree = parse(text)
    compiler = _Compiler(tree, scope)
    term = compiler.term(tree.root) if expected is None else compiler.of_kind(tree.root, expected)
    run = _truth(term.run) if expected is Kind.BOOLEAN else term.run
    term.slot.use()
    return Expression(text, frozenset(compiler.names), term.slot, run)


class _Compiler:
    """Walks one tree; ``names`` are those that it met."""

    def __init__(self, tree: Tree, scope: Scope) -> None:
        self._tree = tree
        self._scope = scope
        self.names: set[str] = set()

    def term(self, node: ast.expr) -> Term:
        """A node of any kind."""
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Constant(value=bool() as flag):
                return _constant(Kind.BOOLEAN, np.array(flag))
            case ast.Constant(value=int() | float() as number):
                return _constant(Kind.NUMBER, self._number(node, number))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._arithmetic(node, np.negative, [operand])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Term(Slot(Kind.BOOLEAN), _applied(np.logical_not, [self._condition(operand)]))
            case ast.BinOp(op=sign) if type(sign) in ARITHMETIC:
                return self._arithmetic(node, ARITHMETIC[type(sign)], [node.left, node.right])
            case ast.BoolOp(op=word, values=operands):
                combine = np.logical_and if isinstance(word, ast.And) else np.logical_or
                return Term(Slot(Kind.BOOLEAN), _chained(combine, [self._condition(operand) for operand in operands]))
            case ast.Compare():
                return Term(Slot(Kind.BOOLEAN), self._comparison(node))
            case ast.IfExp():
                chosen = self.term(node.body)
                other = self._like(chosen, node.orelse)
                return Term(chosen.slot, _applied(np.where, [self._condition(node.test), chosen.run, other.run]))
            case ast.Call():
                return self._function(node)
        raise self._error(node, _REFUSED.get(type(node), "found what is not allowed, expected fields and operators"))

    def of_kind(self, node: ast.expr, kind: Kind) -> Term:
        """A node that has to be of a kind."""
        term = self.term(node)
        try:
            term.slot.become(kind)
        except KindError:
            raise self._error(node, f"found {self._told(node, term)}, expected {kind.value}") from None
        return term

    def _error(self, node: ast.expr, message: str) -> ExpressionError:
        return ExpressionError(message, self._tree.column(node))

    def _told(self, node: ast.expr, term: Term) -> str:
        """What a node is, as a reader of the expression would say it."""
        quote = self._tree.quote(node)
        if isinstance(node, ast.Name) and (quote is None or quote.is_name) and not term.constant:
            return f"{shown(quote.content if quote else node.id)}, which is {term.slot.kind.value}"
        return term.slot.kind.value

    # Names and numbers

    def _name(self, node: ast.Name) -> Term:
        quote = self._tree.quote(node)
        if quote is not None:
            return self._field(node, quote.content) if quote.is_name else _constant(Kind.TEXT, _text(quote.content))
        if node.id in {"true", "false"}:
            return _constant(Kind.BOOLEAN, np.array(node.id == "true"))
        if node.id.lower() in _NO_NAMES:
            raise self._error(node, f"found {shown(node.id)}, expected {_NO_NAMES[node.id.lower()]}")
        if node.id.startswith("__"):
            raise self._error(
                node, f"found {shown(node.id)}, expected a field: one of that name is written `{node.id}`"
            )
        return self._field(node, node.id)

    def _field(self, node: ast.expr, name: str) -> Term:
        scope = self._scope
        if name in scope.refused and name not in scope.defined:
            raise self._error(node, f"found {shown(name)}, expected {scope.refused[name]}")
        if scope.only is not None and name not in scope.only and name not in scope.slots:
            raise self._error(node, _unknown("field", name, [*scope.only, *scope.defined]))
        self.names.add(name)
        return Term(scope.slots.setdefault(name, Slot()), lambda columns: columns[name])

    def _number(self, node: ast.expr, number: float) -> np.float64:
        """The number as a double; an integer has to be one exactly."""
        try:
            double = float(number)
        except OverflowError:
            double = np.inf
        if not isfinite(double) or double != number:
            raise self._error(node, "found a number that a double can't hold, expected a smaller one")
        return np.float64(double)

    # Operators

    def _condition(self, node: ast.expr) -> Run:
        return _truth(self.of_kind(node, Kind.BOOLEAN).run)

    def _like(self, other: Term, node: ast.expr) -> Term:
        """A node of the same kind as another term, whichever it is."""
        term = self.term(node)
        try:
            other.slot.join(term.slot)
        except KindError:
            raise self._error(node, f"found {self._told(node, term)}, expected {other.slot.kind.value}") from None
        return term

    def _arithmetic(self, node: ast.expr, function: Callable[..., Any], operands: Sequence[ast.expr]) -> Term:
        """A number from numbers. Of constants it has to be finite, as constants are."""
        terms = [self.of_kind(operand, Kind.NUMBER) for operand in operands]
        run = _applied(function, [term.run for term in terms])
        constant = all(term.constant for term in terms)
        with np.errstate(all="ignore"):
            if constant and not np.isfinite(run({})):
                raise self._error(node, "found a constant that isn't finite, expected a number that a double can hold")
        return Term(Slot(Kind.NUMBER), run, constant)

    def _comparison(self, node: ast.Compare) -> Run:
        """One or several at once; each operand is compiled, and evaluated, once."""
        if isinstance(node.ops[0], ast.In | ast.NotIn) and len(node.ops) == 1:
            member = self._membership(node.left, node.comparators[0])
            return _applied(np.logical_not, [member]) if isinstance(node.ops[0], ast.NotIn) else member
        terms = [self.term(node.left)]
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if type(sign) not in COMPARISONS:
                raise self._error(right, "found `in` among other comparisons, expected it alone or in parentheses")
            terms.append(self._like(terms[-1], right))
        return _compared([term.run for term in terms], [COMPARISONS[type(sign)] for sign in node.ops])

    def _membership(self, left: ast.expr, right: ast.expr) -> Run:
        """Whether a value is one of a list of numbers or texts."""
        if not isinstance(right, ast.List) or not right.elts:
            raise self._error(right, "found something else, expected a list of numbers or texts, like ['a', 'b']")
        values = [self._element(element) for element in right.elts]
        kind = Kind.TEXT if isinstance(values[0], str) else Kind.NUMBER
        for element, value in zip(right.elts, values, strict=True):
            if isinstance(value, str) is not (kind is Kind.TEXT):
                raise self._error(element, f"found another kind of value, expected {kind.value} as before it")
        test = _among_texts(frozenset(values)) if kind is Kind.TEXT else _among_numbers(values)
        return _applied(test, [self.of_kind(left, kind).run])

    def _element(self, node: ast.expr) -> str | np.float64:
        """What a list holds."""
        quote = self._tree.quote(node)
        match node:
            case ast.Name() if quote is not None and not quote.is_name:
                return quote.content
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return self._number(node, number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return self._number(node, -number)
        raise self._error(node, "found something else, expected a number or a text in quotation marks")

    def _function(self, node: ast.Call) -> Term:
        name = node.func.id if isinstance(node.func, ast.Name) and self._tree.quote(node.func) is None else None
        if name is None:
            raise self._error(node, "found a call of something else, expected one of a function by its name")
        if name not in FUNCTIONS:
            raise self._error(node, _unknown("function", name, list(FUNCTIONS)))
        function = FUNCTIONS[name]
        if node.keywords:
            raise self._error(node.keywords[0].value, "found a named argument, expected one without a name")
        if len(node.args) < function.least or (function.most is not None and len(node.args) > function.most):
            expected = "one" if function.most else f"at least {function.least}"
            raise self._error(node, f"found {name} with {len(node.args)} values, expected {expected}")
        terms = [self.term(arg) if function.takes is None else self.of_kind(arg, function.takes) for arg in node.args]
        return Term(Slot(function.gives), _applied(function.call, [term.run for term in terms]))


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"; did you mean {shown(near[0])}?" if near else ""
    return f"found the unknown {what} {shown(name)}, expected one of {', '.join(sorted(known))}{hint}"


# What is run


def _text(text: str) -> Column:
    """One text for all events."""
    return np.array(text, object)


def _constant(kind: Kind, value: Any) -> Term:
    return Term(Slot(kind), lambda _: value, constant=True)


def _applied(function: Callable[..., Any], operands: Sequence[Run]) -> Run:
    return lambda columns: function(*(operand(columns) for operand in operands))


def _chained(combine: Callable[[Any, Any], Any], operands: Sequence[Run]) -> Run:
    return lambda columns: reduce(combine, (operand(columns) for operand in operands))


def _truth(operand: Run) -> Run:
    """A boolean as a mask: what is absent is not true."""

    def run(columns: Mapping[str, Column]) -> Any:
        value = operand(columns)
        return value if value.dtype == bool else np.equal(value, 1.0)

    return run


def _compared(operands: Sequence[Run], comparisons: Sequence[Callable[..., Any]]) -> Run:
    """Whether each operand compares with the next."""

    def run(columns: Mapping[str, Column]) -> Any:
        values = [operand(columns) for operand in operands]
        return reduce(np.logical_and, map(_compare, comparisons, values, values[1:]))

    return run


def _compare(compare: Callable[..., Any], left: Any, right: Any) -> Any:
    """Two columns of one kind. A text that is absent is different from any, and neither less nor greater."""
    if left.dtype != object:
        return compare(left, right)
    equality = compare in {np.equal, np.not_equal}
    if equality and any(side.ndim == 0 and side.item() is not None for side in (left, right)):
        return compare(left, right)
    left, right = np.broadcast_arrays(left, right)
    known: Mask = ~(null(left) | null(right))
    result = np.full(left.shape, compare is np.not_equal)
    result[known] = compare(left[known], right[known])
    return result


def _among_texts(values: frozenset[Any]) -> Callable[[Any], Any]:
    contains = np.frompyfunc(values.__contains__, 1, 1)
    return lambda column: np.asarray(contains(column), bool)


def _among_numbers(values: Sequence[Any]) -> Callable[[Any], Any]:
    return lambda column: np.isin(column, np.array(values, np.float64))
