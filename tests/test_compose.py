"""The compose file is one of the specification; its parts fit each other, the product, and what they mount."""

from __future__ import annotations

import re
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.core.config.load import load
from pipeline.edges.broker import KAFKA_VERSION
from pipeline.edges.demo.games import Games
from pipeline.edges.host.worker import STOP_SECONDS
from scripts.dashboards.rules import JOB
from tests.schemas.faults import compose_faults

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def yaml_of(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def config_of(service: str) -> Path:
    """The configuration that the commands of a service name, where the image has it from."""
    (named,) = re.findall(r"/(examples/\S+\.toml)", " ".join(SERVICES[service]["command"]))
    return ROOT / str(named)


def mounts_of(service: str) -> dict[str, str]:
    """What is where in the container, by what it is here."""
    return {volume.split(":")[0]: volume.split(":")[1] for volume in SERVICES[service]["volumes"]}


def test_it_is_of_the_schema() -> None:
    assert compose_faults(COMPOSE) == []
    assert compose_faults({"services": {"pipeline": {"imagge": "x"}}})


def test_there_is_all_that_one_wants_to_see() -> None:
    assert SERVICES.keys() == {"kafka", "topics", "pipeline", "games", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_of_one_version_and_ports_on_loopback_only(name: str) -> None:
    service = SERVICES[name]
    if "image" in service:
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    else:
        assert (ROOT / service["build"] / "Dockerfile").is_file()
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in service.get("ports", []))


def test_kafka_is_the_version_that_is_tested() -> None:
    assert {SERVICES[name]["image"] for name in ("kafka", "topics")} == {f"apache/kafka:{KAFKA_VERSION}"}


@pytest.mark.parametrize("name", SERVICES)
def test_services_volumes_and_files_exist(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        built = "build" in SERVICES[other]
        assert how["condition"] != "service_healthy" or built or "healthcheck" in SERVICES[other]
    for volume in SERVICES[name].get("volumes", []):
        source, *_, mode = volume.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), volume
            assert mode == "ro", volume
        else:
            assert source in COMPOSE["volumes"], volume


@pytest.mark.parametrize("name", ["pipeline", "games"])
def test_the_configuration_is_valid_in_the_environment_that_is_set(name: str) -> None:
    file, environment = config_of(name), SERVICES[name]["environment"]
    done = CliRunner().invoke(main, ["validate", str(file)], env=environment)
    assert (done.exit_code, done.stdout.count(": ok: ")) == (0, 1), done.output
    read = set(re.findall(r"\$\{(\w+)", file.read_text("utf-8")))
    assert environment.keys() <= read, "what is set is read"
    app = load(file, environment)
    assert app.brokers == SERVICES["pipeline"]["environment"]["KAFKA"]
    assert f"INSIDE://{app.brokers}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")


def test_the_pipeline_is_reached_by_those_who_ask_it_and_may_end_in_peace() -> None:
    pipeline = SERVICES["pipeline"]
    host, port = load(config_of("pipeline"), pipeline["environment"]).http.rsplit(":")
    assert host == "0.0.0.0"
    assert f"127.0.0.1:{port}:{port}" in pipeline["ports"]
    (scrape,) = yaml_of("dashboards/prometheus.yml")["scrape_configs"]
    assert scrape["job_name"] == JOB
    assert scrape["static_configs"] == [{"targets": [f"pipeline:{port}"]}]
    assert int(pipeline["stop_grace_period"].removesuffix("s")) >= STOP_SECONDS + 5


@pytest.mark.parametrize("name", ["pipeline", "games"])
def test_what_is_ours_may_write_nothing_and_has_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_topic_that_is_made_is_the_source() -> None:
    made = {
        option.removeprefix("--topic=") for option in SERVICES["topics"]["command"] if option.startswith("--topic=")
    }
    assert made == {stream.topic for stream in load(config_of("pipeline"), {}).streams.values()}


def test_the_producer_runs_and_lists_keys_for_the_dashboards_to_show() -> None:
    (script,) = re.findall(r"/(examples/\S+\.py)", SERVICES["games"]["command"][0])
    assert (ROOT / script).is_file()
    listed = {key for table in load(config_of("pipeline"), {}).tables.values() for key in table.metrics_keys}
    assert listed
    assert listed <= {str(game["player"]) for game in islice(Games(1).events(), 500)}


@pytest.mark.parametrize(("name", "url"), [("prometheus", "/-/ready"), ("grafana", "/api/health")])
def test_health_is_asked_where_it_is_told(name: str, url: str) -> None:
    (port,) = (port.rpartition(":")[2] for port in SERVICES[name]["ports"])
    assert SERVICES[name]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}{url}"


def test_prometheus_is_given_the_rules() -> None:
    mounts = mounts_of("prometheus")
    assert mounts["./dashboards/prometheus.yml"] == "/etc/prometheus/prometheus.yml"
    (pattern,) = yaml_of("dashboards/prometheus.yml")["rule_files"]
    assert mounts["./dashboards/rules"] == str(Path("/etc/prometheus", pattern).parent)
    assert {path.name for path in (ROOT / "dashboards/rules").iterdir()} == {"recording.yml", "alerts.yml"}
    assert all(path.match(pattern) for path in (ROOT / "dashboards/rules").iterdir())


def test_prometheus_takes_its_configuration(promtool: str) -> None:
    file = ROOT / "dashboards" / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "2 rule files found" in done.stdout


def test_grafana_is_provisioned_with_the_data_source_and_the_dashboards() -> None:
    environment, mounts = SERVICES["grafana"]["environment"], mounts_of("grafana")
    assert mounts["./dashboards/provisioning"] == "/etc/grafana/provisioning"
    (source,) = yaml_of("dashboards/provisioning/datasources/prometheus.yml")["datasources"]
    (port,) = (port.rpartition(":")[2] for port in SERVICES["prometheus"]["ports"])
    assert source["url"] == f"http://prometheus:{port}"
    (provider,) = yaml_of("dashboards/provisioning/dashboards/streamfold.yml")["providers"]
    assert mounts["./dashboards/grafana"] == provider["options"]["path"]
    home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (ROOT / "dashboards" / "grafana" / home.name).is_file()


def test_whoever_looks_at_grafana_needs_no_login_and_has_none() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
