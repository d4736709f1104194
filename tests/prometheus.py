"""A real Prometheus for tests, and the queries of dashboards as it takes them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from scripts.dashboards.rules import JOB, Group, alerting, alerts, as_yaml, recording
from tests.programs import installed


def queries_of(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each query of a dashboard, with the title of its panel."""
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))


def concrete(query: str, interval: str = "1m", **choices: str) -> str:
    """A query as Grafana sends it: variables are what is chosen, everything unless told otherwise."""
    query = query.replace("$__rate_interval", interval)
    return re.sub(r"\$(\w+)", lambda found: choices.get(found[1], ".+"), query)


LONGER = {"StreamfoldRestoreLoop": 3}
"""Of alerts whose fault takes its time: how many seconds a minute lasts."""


class Prometheus:
    """A Prometheus on loopback with the project's rules, a minute of which lasts a second; it scrapes each second."""

    def __init__(self, folder: Path, port: int, target: str) -> None:
        self._folder, self._port = folder / "prometheus", port
        rules = self._folder / "rules"
        rules.mkdir(parents=True)
        (rules / "recording.yml").write_text(as_yaml(recording(minute=1)))
        (rules / "alerts.yml").write_text(as_yaml(_hasty(alerting(minute=1))))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": ["rules/*.yml"],
            "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    @contextmanager
    def running(self) -> Iterator[None]:
        """From when it answers until the body ends."""
        command = [
            installed("prometheus", "prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with (self._folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as started:
            try:
                deadline = time.monotonic() + 60
                while not self._answers():
                    assert started.poll() is None, (self._folder / "log").read_text()
                    assert time.monotonic() < deadline, (self._folder / "log").read_text()
                    time.sleep(0.1)
                yield
            finally:
                started.kill()

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series of a query now, each with its last ``value``."""
        result: list[dict[str, Any]] = self._get("query", query=query)["result"]
        return result

    def ask_range(self, query: str, start: float, end: float) -> list[dict[str, Any]]:
        """The series of a query over a time, each with its ``values``, one a second."""
        found = self._get("query_range", query=query, start=str(start), end=str(end), step="1")
        assert found["resultType"] == "matrix"
        result: list[dict[str, Any]] = found["result"]
        return result

    def label_values(self, series: str, label: str, start: float, end: float) -> list[str]:
        """What values a label has in some series over a time."""
        values: list[str] = self._get(
            f"label/{label}/values", **{"match[]": series, "start": str(start), "end": str(end)}
        )
        return values

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from error


def _hasty(groups: Sequence[Group]) -> Sequence[Group]:
    longer = {alert.name: alert.rule(minute) for minute in set(LONGER.values()) for alert in alerts(minute)}
    return [
        {**group, "rules": [longer[rule["alert"]] if rule["alert"] in LONGER else rule for rule in group["rules"]]}
        for group in groups
    ]
