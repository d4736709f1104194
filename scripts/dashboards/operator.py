"""The rules as prometheus-operator takes them in a Kubernetes cluster: the same groups, in a manifest."""

from __future__ import annotations

from pathlib import Path

from scripts.dashboards import rules

FILE = Path(__file__).parent.parent.parent / "deploy" / "kubernetes" / "monitoring" / "rules.yaml"


def manifest() -> str:
    """The file."""
    return rules.dumped(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": rules.JOB, "labels": {"app.kubernetes.io/name": rules.JOB}},
            "spec": {"groups": [*rules.recording(), *rules.alerting()]},
        }
    )
