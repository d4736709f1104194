"""Expressions over the fields of events, like ``score > 0 and kind == 'final'``, evaluated on whole columns.

The text is parsed by Python's own parser and never run: what is allowed is compiled into NumPy calls, node by node, and
everything else is refused. It is our own because no library does both: numexpr and ``pandas.eval`` trust the text that
they run, asteval has attributes and statements, simpleeval and CEL know single values and no columns.
"""

from pipeline.core.expression.compile import read
from pipeline.core.expression.error import ExpressionError
from pipeline.core.expression.functions import FUNCTIONS
from pipeline.core.expression.kind import Column, Kind, Mask, Texts, texts
from pipeline.core.expression.scope import Expression, Scope
from pipeline.core.expression.syntax import canonical

__all__ = [
    "FUNCTIONS",
    "Column",
    "Expression",
    "ExpressionError",
    "Kind",
    "Mask",
    "Scope",
    "Texts",
    "canonical",
    "read",
    "texts",
]
