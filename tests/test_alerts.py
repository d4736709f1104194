"""Each alert fires when it should, and no longer when it is over: by Prometheus' own unit tests of rules."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dashboards import FOLDER
from scripts.dashboards.rules import Alert, alerting, alerts, as_yaml, recording

RUNBOOK, HOW_TO = (Path(__file__).parent.parent / "docs" / "how-to" / name for name in ("operations.md", "grafana.md"))
WORKER = {"job": "streamfold", "instance": "a"}
ALERTS = {alert.name: alert for alert in alerts()}


def selector(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


def series(name: str, **labels: str) -> str:
    return selector(name, WORKER | labels)


@dataclass(frozen=True)
class Case:
    """Series, a sample a minute; at which minutes the alert is silent, fires with these labels, and is silent again.

    ``_`` is a minute without a sample.
    """

    alert: str
    series: Mapping[str, str]
    before: int
    fires: int
    over: int
    labels: Mapping[str, str] = field(default_factory=lambda: WORKER)


LAG = series("streamfold_lag_events", topic="t", partition="0")
LEFT = series("streamfold_restore_remaining_events", table="t", partition="0")
COMMITS = {"stream": "s"}

CASES = [
    Case("StreamfoldWorkerAbsent", {series("up"): "1x9 0x9 1x19"}, 11, 13, 25),
    Case("StreamfoldWorkerAbsent", {series("up"): "1x9 _x19 1x19"}, 11, 20, 35, {"job": "streamfold"}),
    Case("StreamfoldNotReady", {series("streamfold_ready"): "1x9 0x9 1x9"}, 14, 16, 22),
    Case("StreamfoldRebalanceStorm", {series("streamfold_rebalances_total"): "1x9 1+1x9 10x30"}, 11, 19, 45),
    Case("StreamfoldFenced", {series("streamfold_fenced_total"): "0x9 1x40"}, 9, 12, 40),
    Case("StreamfoldLagRising", {LAG: "500x9 1000+100x29 0x40"}, 15, 35, 60, {"job": "streamfold", "topic": "t"}),
    Case(
        "StreamfoldNoProgress",
        {
            LAG: "100x39 0x9",
            series("streamfold_events_total", stream="s", partition="0"): "0+60x9 600x29 600+60x9",
        },
        12,
        25,
        45,
    ),
    Case(
        "StreamfoldDeadLetters",
        {series("streamfold_dead_letters_total", stage="decode", reason="not JSON"): "_x9 1x30"},
        8,
        12,
        20,
        {"job": "streamfold", "stage": "decode", "reason": "not JSON"},
    ),
    Case(
        "StreamfoldDeadLetters",
        {series("streamfold_dead_letters_total", stage="fold", reason="overflow"): "3x19 4x30"},
        18,
        21,
        30,
        {"job": "streamfold", "stage": "fold", "reason": "overflow"},
    ),
    Case(
        "StreamfoldSlowCommits",
        {
            series("streamfold_commit_seconds_bucket", **COMMITS, le="1"): "0+60x9 600x29 600+60x20",
            series("streamfold_commit_seconds_bucket", **COMMITS, le="2.5"): "0+60x60",
            series("streamfold_commit_seconds_bucket", **COMMITS, le="+Inf"): "0+60x60",
        },
        15,
        30,
        55,
        {"job": "streamfold", "stream": "s"},
    ),
    Case(
        "StreamfoldRestoreStuck",
        {LEFT: "9000-100x9 8000x29 7000-1000x7"},
        12,
        25,
        46,
        WORKER | {"table": "t", "partition": "0"},
    ),
    Case(
        "StreamfoldRestoreLoop",
        {LAG: "0x60", series("streamfold_restores_total", reason="assigned"): "1x9 1+1x9 10x40"},
        10,
        19,
        45,
        {"job": "streamfold"},
    ),
]

QUIET = {
    "a start": {
        series("up"): "1x60",
        series("streamfold_ready"): "0x2 1x57",
        LEFT: "9000-3000x3 0x57",
        LAG: "50000-10000x5 10x55",
        series("streamfold_events_total", stream="s", partition="0"): "_x3 0+10000x57",
        series("streamfold_restores_total", reason="assigned"): "1x20 2x39",
        series("streamfold_rebalances_total"): "0 1x59",
        series("streamfold_fenced_total"): "0x60",
    },
    "a little more behind all the time": {
        series("up"): "1x60",
        LAG: "100+10x59",
        series("streamfold_events_total", stream="s", partition="0"): "0+10000x59",
    },
    "what is left to read is no events": {
        series("up"): "1x60",
        LAG: "9000-100x59",
        series("streamfold_events_total", stream="s", partition="0"): "500x60",
    },
    "no events for an hour": {
        series("up"): "1x60",
        series("streamfold_ready"): "1x60",
        LAG: "0x60",
        series("streamfold_events_total", stream="s", partition="0"): "500x60",
    },
}


def told(alert: Alert, labels: Mapping[str, str]) -> dict[str, Any]:
    """An alert as it is told, with its labels in its text."""
    annotations = alert.rule(60)["annotations"]
    return {
        "exp_labels": {**labels, "severity": alert.severity},
        "exp_annotations": {
            name: re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels.get(found[1], ""), text)
            for name, text in annotations.items()
        },
    }


def judge(promtool: str, folder: Path, *tests: Mapping[str, Any]) -> None:
    """`promtool test rules` of the rules as they are."""
    file = folder / "tests.yml"
    rules = [str(FOLDER / "rules" / name) for name in ("recording.yml", "alerts.yml")]
    file.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "15s", "tests": list(tests)}))
    judged = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def given(history: Mapping[str, str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in history.items()],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.fires}")
def test_it_fires_and_clears(case: Case, promtool: str, tmp_path: Path) -> None:
    alert = ALERTS[case.alert]
    expected: list[tuple[int, list[Any]]] = [
        (case.before, []),
        (case.fires, [told(alert, case.labels)]),
        (case.over, []),
    ]
    looked = [{"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts} for minute, alerts in expected]
    judge(promtool, tmp_path, given(case.series) | {"alert_rule_test": looked})


@pytest.mark.parametrize("history", QUIET.values(), ids=list(QUIET))
def test_nothing_is_told_when_all_is_well(history: Mapping[str, str], promtool: str, tmp_path: Path) -> None:
    silent = [
        {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": []} for name in ALERTS for minute in range(60)
    ]
    judge(promtool, tmp_path, given(history) | {"alert_rule_test": silent})


@pytest.mark.parametrize(("record", "labels", "value"), [
    ("job_topic:streamfold_lag_events:sum", {"topic": "t"}, 12),
    ("job_stream:streamfold_events:rate5m", {"stream": "s"}, 2),
    ("job_stream:streamfold_latency_seconds:p99_5m", {"stream": "s"}, 0.99),
])  # fmt: skip
def test_what_is_recorded(record: str, labels: Mapping[str, str], value: float, promtool: str, tmp_path: Path) -> None:
    history = {
        LAG: "5x20",
        LAG.replace('"0"', '"1"'): "7x20",
        series("streamfold_events_total", stream="s", partition="0"): "0+60x20",
        series("streamfold_events_total", stream="s", partition="1"): "0+60x20",
        series("streamfold_latency_seconds_bucket", **COMMITS, le="1"): "0+60x20",
        series("streamfold_latency_seconds_bucket", **COMMITS, le="+Inf"): "0+60x20",
    }
    sample = {"labels": selector(record, {"job": "streamfold", **labels}), "value": value}
    asked = {"expr": record, "eval_time": "15m", "exp_samples": [sample]}
    judge(promtool, tmp_path, given(history) | {"promql_expr_test": [asked]})


@pytest.mark.parametrize("minute", [60, 1])
def test_the_rules_are_rules(minute: int, promtool: str, tmp_path: Path) -> None:
    for name, groups in (("recording", recording(minute)), ("alerts", alerting(minute))):
        file = tmp_path / f"{name}.yml"
        file.write_text(as_yaml(groups))
        checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == ALERTS.keys()


def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() -> None:
    for name, alert in ALERTS.items():
        rule = alert.rule(60)
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"}), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["description"].endswith("."), name
        assert rule["annotations"]["runbook_url"] == f"docs/how-to/operations.md#{name.lower()}"


def test_the_runbook_has_an_entry_for_each_alert_and_for_no_other() -> None:
    assert re.findall(r"^### (Streamfold\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE) == list(ALERTS)


def test_the_how_to_lists_the_alerts_as_they_are() -> None:
    listed = re.findall(
        r"^\| \[(\w+)\]\((\S+)\) \| (\w+) \| (.*?)(?:, for (\d+) minutes)? \|$", HOW_TO.read_text("utf-8"), re.M
    )
    assert listed == [
        (
            name,
            f"operations.md#{name.lower()}",
            alert.severity,
            alert.summary[0].lower() + alert.summary[1:],
            str(alert.minutes or ""),
        )
        for name, alert in ALERTS.items()
    ]


def test_only_the_durations_depend_on_how_long_a_minute_is() -> None:
    def timeless(minute: int) -> str:
        return re.sub(r"\d+[sm]\b", "", as_yaml([*recording(minute), *alerting(minute)])).replace(" ", "")

    assert timeless(60).replace("\n", "") == timeless(1).replace("\n", "")
