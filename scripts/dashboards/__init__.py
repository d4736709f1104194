"""The dashboards and the rules of Prometheus, made from code: ``make dashboards``.

A dashboard as code says each query, unit and selector once; what Grafana and Prometheus load is what this writes.
"""

from __future__ import annotations

from pathlib import Path

from scripts.dashboards import kafka, overview, rules, tables, workers
from scripts.dashboards.board import as_json

FOLDER = Path(__file__).parent.parent.parent / "dashboards"


def files() -> dict[str, str]:
    """By path below ``dashboards/``, what the file holds."""
    boards = {"overview": overview, "tables": tables, "kafka": kafka, "workers": workers}
    return {
        **{f"grafana/{name}.json": as_json(board.dashboard()) for name, board in boards.items()},
        "rules/recording.yml": rules.as_yaml(rules.recording()),
        "rules/alerts.yml": rules.as_yaml(rules.alerting()),
    }
