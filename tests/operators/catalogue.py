"""All cases and all oracles: what the modules of `families` say, each of its own operators."""

from __future__ import annotations

import importlib
import pkgutil

from operators import Operator
from tests.operators import families
from tests.operators.cases import Case
from tests.operators.oracle import Expected, History, Oracles

_MODULES = [
    importlib.import_module(f"{families.__name__}.{module.name}") for module in pkgutil.iter_modules(families.__path__)
]

CASES: list[Case] = [case for module in _MODULES for case in module.CASES]

_ORACLES: Oracles = {cls: oracle for module in _MODULES for cls, oracle in module.ORACLES.items()}


def expect(operator: Operator, history: History) -> Expected:
    """The result of the history's last event."""
    return _ORACLES[type(operator)](operator, history)
