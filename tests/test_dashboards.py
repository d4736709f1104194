"""The dashboards show metrics that exist, as Prometheus and Grafana want them.

The rules are those of Grafana's dashboard linter, by its names where it has one.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import units
from prometheus_client.parser import text_string_to_metric_families

from pipeline.edges.metrics import Metrics
from scripts.dashboards import FOLDER, files
from tests.prometheus import concrete, queries_of

ROOT = Path(__file__).parent.parent
DASHBOARDS = sorted((FOLDER / "grafana").glob("*.json"))
SELECTOR = re.compile(r"\b((?:streamfold|process|python)_[a-z_]+|up)\{([^}]*)\}")
NAME = re.compile(r"\b(?:streamfold|process|python)_[a-z_]+\b")
SCRAPED = ("job", "instance")
"""The labels that Prometheus gives to what it scrapes."""

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)


def registered() -> dict[str, tuple[str, set[str]]]:
    """By sample name, the type of every metric of a worker, and its labels."""
    labels = {
        metric._name: set(metric._labelnames) for metric in vars(Metrics()).values() if hasattr(metric, "_labelnames")
    }
    known = {}
    for family in text_string_to_metric_families(Metrics().text().decode()):
        given = {name for sample in family.samples for name in sample.labels} | labels.get(family.name, set())
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
        for suffix in suffixes.get(family.type, [""]):
            known[family.name.removesuffix(suffix) + suffix] = family.type, given | set(SCRAPED)
    return known


KNOWN = registered() | {"up": ("gauge", set(SCRAPED))}


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def panels(path: Path) -> Iterator[dict[str, Any]]:
    return (panel for panel in read(path)["panels"] if panel["type"] != "row")


def variables(path: Path) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in read(path)["templating"]["list"]}


def queries(path: Path) -> Iterator[str]:
    yield from (query for _, query in queries_of(read(path)))
    yield from (each["query"]["query"] for each in variables(path).values() if each["type"] == "query")


def test_what_is_there_is_what_the_generator_makes() -> None:
    there = [path for folder in ("grafana", "rules") for path in (FOLDER / folder).iterdir()]
    assert {str(path.relative_to(FOLDER)): path.read_text("utf-8") for path in there} == files()


def test_the_dashboards() -> None:
    assert [path.stem for path in DASHBOARDS] == ["kafka", "overview", "tables", "workers"]
    assert len({read(path)["uid"] for path in DASHBOARDS}) == len({read(path)["title"] for path in DASHBOARDS}) == 4


def test_every_metric_of_the_product_is_shown_somewhere() -> None:
    shown = {name for path in DASHBOARDS for query in queries(path) for name in NAME.findall(query)}
    wanted = {name for name in KNOWN if name.startswith("streamfold_")}
    assert not {name for name in wanted - shown if re.sub("_(sum|count)$", "_bucket", name) not in shown}


@each_dashboard
def test_every_metric_that_is_shown_exists_with_the_labels_it_is_grouped_and_chosen_by(path: Path) -> None:
    for query in queries(path):
        named = SELECTOR.findall(query)
        assert named, query
        assert {name for name, _ in named} >= set(NAME.findall(query)), query
        for name, selector in named:
            assert set(re.findall(r"(\w+)=", selector)) <= KNOWN[name][1], query
        for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", query):
            wanted = {label.strip() for label in grouped.split(",")} - {"le"}
            assert all(wanted <= KNOWN[name][1] for name, _ in named), query


@each_dashboard
def test_legends_name_labels_that_the_query_leaves(path: Path) -> None:
    for panel in panels(path):
        for target in panel["targets"]:
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            left = {label.strip() for labels in grouped for label in labels.split(",")} if grouped else set(SCRAPED)
            assert set(re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))) <= left, target


@each_dashboard
def test_target_job_rule_and_target_instance_rule(path: Path) -> None:
    for _, query in queries_of(read(path)):
        for _, selector in SELECTOR.findall(query):
            assert 'job=~"$job"' in selector, query
            assert 'instance=~"$instance"' in selector, query


@each_dashboard
def test_target_counter_agg_rule_and_target_rate_interval_rule(path: Path) -> None:
    for _, query in queries_of(read(path)):
        for name, selector in SELECTOR.findall(query):
            is_counter = KNOWN[name][0] in ("counter", "histogram")
            assert is_counter == (f"rate({name}{{{selector}}}[$__rate_interval])" in query), query
        assert set(re.findall(r"\[(.*?)\]", query)) <= {"$__rate_interval"}, query


@each_dashboard
def test_target_promql_rule(path: Path, promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": concrete(query)} for n, (_, query) in enumerate(queries_of(read(path)))]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


@each_dashboard
def test_template_datasource_rule(path: Path) -> None:
    source = variables(path)["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")


@each_dashboard
def test_template_job_rule_and_template_instance_rule(path: Path) -> None:
    for name in SCRAPED:
        variable = variables(path)[name]
        assert variable["type"] == "query"
        assert variable["label"] == name.title()
        assert variable["multi"] is variable["includeAll"] is True
        assert variable["allValue"] == ".+"


@each_dashboard
def test_variables_are_used_described_and_asked_anew_with_the_time(path: Path) -> None:
    text = path.read_text("utf-8")
    for name, variable in variables(path).items():
        assert variable["description"].endswith("."), name
        assert text.count(f"${name}") + text.count(f"${{{name}}}") > 0, name
        if variable["type"] == "query":
            assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert variable["refresh"] == 2, "template-on-time-change-reload-rule"


@each_dashboard
def test_panels_have_titles_descriptions_units_targets_and_the_chosen_data_source(path: Path) -> None:
    dashboard = read(path)
    known = {unit for unit in vars(units).values() if isinstance(unit, str)}
    assert dashboard["editable"] is False, "uneditable-dashboard"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({panel["title"] for panel in panels(path)}) == len(list(panels(path)))
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in known
        assert panel["targets"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_dashboard
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
