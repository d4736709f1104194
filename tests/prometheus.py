"""A real Prometheus for tests, and the queries of dashboards as it takes them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest


def installed(program: str) -> str:
    """Where a program of Prometheus is; the test is skipped, and says so, where there is none."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"NOT TESTED: {program} is not installed (on Debian: apt-get install prometheus)")
    return path


def queries_of(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each query of a dashboard, with the title of its panel."""
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))


def concrete(query: str, interval: str = "1m", **choices: str) -> str:
    """A query as Grafana sends it: variables are what is chosen, everything unless told otherwise."""
    query = query.replace("$__rate_interval", interval)
    return re.sub(r"\$(\w+)", lambda found: choices.get(found[1], ".+"), query)
