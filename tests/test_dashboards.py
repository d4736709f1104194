"""The dashboard shows metrics that exist, as Prometheus and Grafana want them; the compose file fits together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipeline.edges.metrics import Metrics

ROOT = Path(__file__).parent.parent
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
METRIC = re.compile(r"\b(?:streamfold|process)_[a-z_]+\b")
SELECTOR = re.compile(r"\b((?:streamfold|process)_[a-z_]+)\{([^}]*)\}")


def registered() -> dict[str, tuple[str, set[str]]]:
    """By sample name, the type of every metric of the product, and its labels."""
    labels = {
        metric._name: set(metric._labelnames) for metric in vars(Metrics()).values() if hasattr(metric, "_labelnames")
    }
    known = {}
    for family in text_string_to_metric_families(Metrics().text().decode()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
        for suffix in suffixes.get(family.type, [""]):
            sample = family.name.removesuffix("_info") + suffix if suffix == "_info" else family.name + suffix
            known[sample] = family.type, labels.get(family.name, set())
    return known


def panels(path: Path) -> Iterator[dict[str, Any]]:
    return (panel for panel in json.loads(path.read_text("utf-8"))["panels"] if panel["type"] != "row")


def queries(path: Path) -> Iterator[str]:
    dashboard = json.loads(path.read_text("utf-8"))
    for panel in panels(path):
        yield from (target["expr"] for target in panel["targets"])
    yield from (v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query")


def yaml_of(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def test_there_is_a_dashboard() -> None:
    assert DASHBOARDS


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_metric_that_is_shown_exists_with_the_labels_it_is_grouped_by(path: Path) -> None:
    known = registered()
    for query in queries(path):
        named = METRIC.findall(query)
        assert named, query
        assert set(named) <= set(known), query
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            wanted = {label.strip() for label in grouped.split(",")} - {"le"}
            assert all(wanted <= known[name][1] for name in named), query


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_metric_of_the_product_is_shown(path: Path) -> None:
    shown = {name for query in queries(path) for name in METRIC.findall(query)}
    wanted = {name for name in registered() if name.startswith("streamfold_")}
    hidden = {name for name in wanted - shown if re.sub("_(sum|count)$", "_bucket", name) not in shown}
    assert not hidden


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_queries_select_job_and_instance_and_take_rates_of_counters_only(path: Path) -> None:
    known = registered()
    for panel in panels(path):
        for query in (target["expr"] for target in panel["targets"]):
            for name, selector in SELECTOR.findall(query):
                assert 'job=~"$job"' in selector, query
                assert 'instance=~"$instance"' in selector, query
                counts = name.endswith(("_total", "_bucket", "_sum", "_count"))
                assert counts == (f"rate({name}{{{selector}}}[$__rate_interval])" in query), query
                assert counts == (known[name][0] in ("counter", "histogram"))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_have_titles_descriptions_units_and_the_chosen_data_source(path: Path) -> None:
    dashboard = json.loads(path.read_text("utf-8"))
    assert dashboard["editable"] is False
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text("utf-8"))["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_compose_names_images_by_version_and_listens_on_loopback_only() -> None:
    services = yaml_of("docker-compose.yml")["services"]
    assert {"kafka", "pipeline", "prometheus", "grafana"} <= set(services)
    for name, service in services.items():
        if "image" in service:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        else:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_compose_services_volumes_and_files_exist() -> None:
    compose = yaml_of("docker-compose.yml")
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", [])) <= set(compose["services"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"], volume


def test_the_pipeline_of_the_compose_file_is_reached_by_those_who_ask_it() -> None:
    services = yaml_of("docker-compose.yml")["services"]
    kafka, pipeline = services["kafka"]["environment"], services["pipeline"]
    assert f"INSIDE://{pipeline['environment']['KAFKA']}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    port = pipeline["environment"]["HTTP"].rpartition(":")[2]
    assert f"127.0.0.1:{port}:{port}" in pipeline["ports"]
    (scrape,) = yaml_of("dashboards/prometheus.yml")["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"pipeline:{port}"]}]
    verb, config = pipeline["command"]
    assert verb == "run"
    assert (ROOT / config.removeprefix("/")).is_file()


def test_grafana_is_provisioned_with_the_data_source_and_the_dashboard() -> None:
    grafana = yaml_of("docker-compose.yml")["services"]["grafana"]
    (source,) = yaml_of("dashboards/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml_of("dashboards/provisioning/dashboards/streamfold.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in grafana["volumes"]]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted
    assert Path(home).parent == Path(provider["options"]["path"])
