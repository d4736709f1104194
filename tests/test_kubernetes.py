"""The manifests are what Kubernetes takes, and they fit each other and the product."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.core.config.load import load
from pipeline.core.config.model import App
from pipeline.edges.host.worker import STOP_SECONDS
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.web.address import Address
from pipeline.edges.web.pages import PAGES
from scripts.dashboards import operator
from scripts.dashboards.rules import JOB, alerting, recording
from tests.dockerfile import stages
from tests.programs import installed
from tests.schemas.faults import kubernetes_faults

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
MANIFESTS: list[dict[str, Any]] = [it for path in FILES for it in yaml.safe_load_all(path.read_text("utf-8"))]

Object = dict[str, Any]


def only(kind: str, **labels: str) -> Object:
    """The one manifest of this kind with these labels below ``app.kubernetes.io``."""
    wanted = {f"app.kubernetes.io/{name}": value for name, value in labels.items()}.items()
    (found,) = (it for it in MANIFESTS if it["kind"] == kind and wanted <= it["metadata"].get("labels", {}).items())
    return found


WORKERS, HEADLESS = only("StatefulSet")["spec"], only("Service", component="workers")
POD = WORKERS["template"]["spec"]
(CONTAINER,) = POD["containers"]
LABELS = WORKERS["template"]["metadata"]["labels"]
(PORT,) = CONTAINER["ports"]


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the container sees: the file, and where it says, secrets."""
    folder = tmp_path_factory.mktemp("streamfold")
    contents = {
        "http-token": b"0123456789abcdef",
        "kafka-password": b"swordfish",
        "ca.crt": trustme.CA().cert_pem.bytes(),
    }
    for source in projected():
        if "configMap" in source:
            (generated,) = kustomization(FOLDER)["configMapGenerator"]
            assert source["configMap"]["name"] == generated["name"]
            for name in generated["files"]:
                (folder / name).write_bytes((FOLDER / name).read_bytes())
        for item in source.get("secret", {}).get("items", ()):
            path = folder / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(contents.pop(item["key"]))
    assert not contents
    return folder


@pytest.fixture(scope="module")
def app(mounted: Path) -> App:
    return load(mounted / "pipeline.toml", {})


def projected() -> Iterator[Object]:
    (volume,) = POD["volumes"]
    (mount,) = CONTAINER["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert Path(CONTAINER["args"][1]).parent == Path(mount["mountPath"])
    yield from volume["projected"]["sources"]


def kustomization(folder: Path) -> Object:
    read: Object = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    return read


def secret_keys() -> tuple[str, set[str]]:
    (secret,) = (source["secret"] for source in projected() if "secret" in source)
    return secret["name"], {item["key"] for item in secret["items"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_manifest_is_of_its_schema(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text("utf-8")):
        assert kubernetes_faults(manifest) == []


def test_a_schema_finds_what_is_wrong() -> None:
    wrong = {**only("PodDisruptionBudget"), "spec": {"minAvailabel": 1}}
    assert any("minAvailabel" in fault for fault in kubernetes_faults(wrong))
    wrong = {**only("ServiceMonitor"), "spec": {"selector": {}, "endpoints": [{"prot": "http"}]}}
    assert any("prot" in fault for fault in kubernetes_faults(wrong))


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_a_kustomization_lists_what_is_beside_it(path: Path) -> None:
    beside = {file.name for file in FILES if file.parent == path.parent}
    assert set(kustomization(path.parent)["resources"]) == beside


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_kubectl_makes_valid_manifests_of_it(path: Path) -> None:
    command = [installed("kubectl", "kubernetes-client"), "kustomize", str(path.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    made = {(it["kind"], it["metadata"]["name"]): it for it in yaml.safe_load_all(done.stdout)}
    for (kind, _), manifest in made.items():
        assert kind == "Namespace" or manifest["metadata"]["namespace"] == "streamfold"
        assert kind == "ConfigMap" or kubernetes_faults(manifest) == []
    if ("StatefulSet", "streamfold") in made:
        spec = made["StatefulSet", "streamfold"]["spec"]["template"]["spec"]
        (name,) = (name for kind, name in made if kind == "ConfigMap")
        assert name.startswith("pipeline-")
        assert spec["volumes"][0]["projected"]["sources"][0]["configMap"]["name"] == name
        version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        assert spec["containers"][0]["image"] == f"streamfold:{version}"


def test_the_configuration_is_valid_where_it_is_mounted(mounted: Path, app: App) -> None:
    done = CliRunner().invoke(main, ["validate", str(mounted / "pipeline.toml")], env={})
    assert (done.exit_code, done.stdout.count(": ok: ")) == (0, 1), done.output
    assert ClientSettings.of(app).for_aiokafka()["ssl_context"] is not None, "the certificate is read"


def test_the_container_starts_a_worker(mounted: Path) -> None:
    verb, file, *options = CONTAINER["args"]
    assert (verb, mounted / Path(file).name) == ("run", mounted / "pipeline.toml")
    done = CliRunner().invoke(main, [verb, str(mounted / "pipeline.toml"), *options, "--help"])
    assert done.exit_code == 0, done.output


def test_others_reach_a_worker_where_it_listens_and_show_a_token(app: App) -> None:
    address = Address.parse(app.http)
    assert address.port == PORT["containerPort"]
    assert address.host == "0.0.0.0"
    assert app.http_token
    for service in (it for it in MANIFESTS if it["kind"] == "Service"):
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] == PORT["name"]
        assert service["spec"]["selector"].items() <= LABELS.items()


def test_a_worker_has_a_name_that_the_others_can_look_up() -> None:
    assert WORKERS["serviceName"] == HEADLESS["metadata"]["name"]
    assert HEADLESS["spec"]["clusterIP"] == "None"
    assert HEADLESS["spec"]["publishNotReadyAddresses"] is True


def test_the_selectors_choose_the_workers() -> None:
    chosen = [
        WORKERS["selector"]["matchLabels"],
        only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]),
    ]
    assert all(labels and labels.items() <= LABELS.items() for labels in chosen)


def test_probes_ask_for_pages_that_there_are() -> None:
    for name, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = CONTAINER[name]["httpGet"]
        assert asked == {"path": path, "port": PORT["name"]}
        assert path in PAGES


def test_a_start_is_waited_for_and_an_end_too(app: App) -> None:
    probe = CONTAINER["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * app.start_timeout
    assert POD["terminationGracePeriodSeconds"] >= STOP_SECONDS + 5


def test_a_worker_may_do_nothing_that_it_does_not_need() -> None:
    user = {instruction.text for instruction in stages(ROOT / "Dockerfile")[-1] if instruction.name == "USER"}
    context = POD["securityContext"]
    assert user == {f"{context['runAsUser']}:{context['runAsGroup']}"}
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert only("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_there_is_a_worker_left_while_a_node_is_emptied() -> None:
    budget = only("PodDisruptionBudget")["spec"]
    assert 0 < budget["maxUnavailable"] < WORKERS["replicas"]
    assert CONTAINER["resources"]["limits"].keys() == {"memory"}


def test_the_network_lets_through_what_is_needed(app: App) -> None:
    policy = only("NetworkPolicy")["spec"]
    (ingress,) = policy["ingress"]
    assert [port["port"] for port in ingress["ports"]] == [PORT["name"]]
    asked = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    brokers = {int(broker.rpartition(":")[2]) for broker in app.brokers.split(",")}
    assert asked == {53, PORT["name"], *brokers}


def test_prometheus_scrapes_each_worker_as_the_job_of_the_rules() -> None:
    monitor = only("ServiceMonitor")["spec"]
    labels = HEADLESS["metadata"]["labels"]
    assert labels[monitor["jobLabel"]] == JOB
    (chosen,) = (
        it["metadata"]["name"]
        for it in MANIFESTS
        if it["kind"] == "Service" and monitor["selector"]["matchLabels"].items() <= it["metadata"]["labels"].items()
    )
    assert chosen == HEADLESS["metadata"]["name"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] == HEADLESS["spec"]["ports"][0]["name"]
    assert endpoint["path"] in PAGES
    name, keys = secret_keys()
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["name"] == name
    assert credentials["key"] in keys


def test_the_rules_are_those_of_the_generator() -> None:
    assert operator.FILE.read_text("utf-8") == operator.manifest(), "run `make dashboards`"
    groups = only("PrometheusRule")["spec"]["groups"]
    assert groups == [*recording(), *alerting()]


def test_the_how_to_makes_the_secret_that_is_mounted() -> None:
    page = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text("utf-8")
    ((name, options),) = re.findall(r"create secret generic (\S+) (.*\n.*)", page)
    assert secret_keys() == (name, set(re.findall(r"--from-(?:file|literal)=([\w.-]+)", options)))
    for path in re.findall(r"--(?:kustomize|filename) (\S+)|--from-file=(\w+/\S+)", page):
        assert (ROOT / "".join(path)).exists(), path
