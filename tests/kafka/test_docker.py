"""The Dockerfile's own steps, done outside a container, give a worker that runs; the file keeps to the rules.

No image is built here: what these tests can't see is the base image, and that the users are made.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topic_spec import TopicSpec
from scripts.audit import entries, locked_in, unlocked
from tests.dockerfile import Image, Instruction, allowed, stages
from tests.kafka.process import end, is_ready, process, until

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
LOCKS = [ROOT / "deploy" / "docker" / name for name in ("run.lock", "build.lock")]
STAGES = stages(DOCKERFILE)
QUICK = {"PIP_NO_CACHE_DIR": "0", "PIP_NO_COMPILE": "1"}
"""What makes layers small or starts quick, and costs a test its time."""


def all_of(name: str) -> list[Instruction]:
    return [instruction for stage in STAGES for instruction in stage if instruction.name == name]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image") / "root", ROOT, QUICK)
    try:
        image.build(DOCKERFILE)
    except subprocess.CalledProcessError as failed:
        if re.search("NewConnectionError|Name or service not known|ConnectTimeout", failed.stdout):
            pytest.skip("NOT TESTED: the Dockerfile's steps, for the package registry can't be reached")
        raise AssertionError(failed.stdout) from failed
    return image


def test_the_entry_point_is_the_command_of_this_version(image: Image) -> None:
    done = image.run([*image.entrypoint, "--version"])
    assert done.returncode == 0, done.stderr
    (declared,) = re.findall('^version = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert declared in done.stdout
    assert "Usage: streamfold" in image.run([*image.entrypoint, *image.command]).stdout


def test_what_is_installed_is_what_is_locked_and_nothing_else(image: Image) -> None:
    listing = "from importlib.metadata import distributions as d; print(*(f'{i.name}=={i.version}' for i in d()))"
    found = {Requirement(text) for text in image.run(["python", "-I", "-c", listing]).stdout.split()}
    installed: dict[str, str] = {canonicalize_name(each.name): str(each.specifier) for each in found}
    assert installed.pop("streamfold")
    assert installed == {
        name: str(each.specifier)
        for name, pins in locked_in(LOCKS[0].read_text("utf-8")).items()
        for each in pins
        if each.marker is None or each.marker.evaluate()
    }


def test_the_locks_of_the_image_are_parts_of_the_lock_of_all() -> None:
    whole = dict(entries((ROOT / "requirements.lock").read_text("utf-8")))
    for path in LOCKS:
        part = path.read_text("utf-8")
        assert list(unlocked(part)) == []
        assert {text: whole.get(text) for text, _ in entries(part)} == dict(entries(part)), "run `make lock`"


@pytest.fixture
def config(kafka: str, tmp_path: Path, topic_prefix: str) -> Path:
    """The example that the image carries, with names of its own; its topic is there."""
    text = (ROOT / "examples" / "arcade.toml").read_text("utf-8")
    file = tmp_path / "arcade.toml"
    names = {
        '"arcade"': topic_prefix,
        '"game-scores"': f"{topic_prefix}-scores",
        '"player-averages"': f"{topic_prefix}-out",
    }
    for name, own in names.items():
        text = text.replace(name, f'"{own}"')
    file.write_text(text)
    with closing(Admin(ClientSettings(kafka))) as admin:
        admin.create([TopicSpec.source(f"{topic_prefix}-scores", 2)])
    return file


def test_its_worker_runs_is_found_healthy_and_writes_nothing(image: Image, config: Path, kafka: str) -> None:
    port = free_port("127.0.0.1")
    health = [word.replace(":6066/", f":{port}/") for word in image.health]
    assert health != image.health, "the health check asks the port that the container exposes"
    assert all_of("EXPOSE")[0].text == "6066"
    before = files(image.root)
    assert image.run(health).returncode != 0
    environment = {**image.environment, "KAFKA": kafka, "HTTP": f"127.0.0.1:{port}", "HOME": str(image.root / "home")}
    streamfold = str(image.root / "opt" / "streamfold" / "bin" / image.entrypoint[0])
    with process(sealed([streamfold, "run", str(config)]), **environment) as worker:
        until(lambda: is_ready(port), 60, "ready", worker)
        done = image.run(health)
        assert done.returncode == 0, done.stderr
        code, said = end(worker)
    assert code == 0, said
    assert files(image.root) == before
    assert image.run(health).returncode != 0


def sealed(command: list[str]) -> list[str]:
    """On a root file system that can't be written, where a test may have one."""
    script = 'mount -o remount,ro,bind / && exec "$@"'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    possible = shutil.which("unshare") and subprocess.run([*inside, "true"], check=False).returncode == 0
    return [*inside, *command] if possible else command


def files(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def test_base_images_are_small_and_of_one_version_that_is_tested() -> None:
    bases = {stage[0].text.partition(" ")[0] for stage in STAGES}
    (base,) = bases
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base)
    minor = re.findall(r":(\d+\.\d+)", base)[0]
    assert f'"Programming Language :: Python :: {minor}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_it_does_not_run_as_root_and_knows_no_secret() -> None:
    last = STAGES[-1]
    (user,) = (instruction for instruction in last if instruction.name == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.text), "by number: an orchestrator looks no names up"
    after = last[last.index(user) + 1 :]
    assert {instruction.name for instruction in after} <= {"EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    uid, gid = user.text.split(":")
    made = " ".join(instruction.text for instruction in last if instruction.name == "RUN")
    assert f"groupadd --system --gid {gid}" in made
    assert f"--uid {uid} --gid {gid}" in made
    assert not all_of("ARG")
    assert not re.search("(?i)token|secret|passw", DOCKERFILE.read_text("utf-8"))


def test_commands_get_signals_themselves_and_term_ends_them() -> None:
    for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        (instruction,) = all_of(name)
        assert instruction.words, f"{name} in JSON, so that no shell stands between"
    assert [instruction.text for instruction in all_of("STOPSIGNAL")] == ["SIGTERM"]


def test_whatever_pip_installs_was_looked_at() -> None:
    steps = [step for run in all_of("RUN") for step in run.text.split(" && ") if step.startswith("pip ")]
    assert len(steps) == 4
    for step in steps:
        assert "--require-hashes" in step or "--no-deps" in step, step
    assert not all_of("ADD")


def test_what_is_sent_to_be_built_is_there_and_nothing_that_is_not_used() -> None:
    copied = {word for copy in all_of("COPY") for word in copy.text.split()[:-1] if not word.startswith(("-", "/"))}
    for path in allowed(ROOT):
        assert (ROOT / path).exists(), path
        assert any(Path(word).is_relative_to(path) for word in copied), f"{path} is sent and not used"
