"""Where a worker that listens everywhere says that it is to be found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.edges.web.address import Address

ROOT = Path(__file__).parent.parent
ISOLATED = ("unshare", "--map-root-user", "--mount", "--uts")
PROGRAM = "from pipeline.edges.web.address import Address; print(Address.parse('0.0.0.0:6066').advertised())"


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("10.0.0.5 streamfold-0.workers.apps.svc.cluster.local streamfold-0", "{0}.workers.apps.svc.cluster.local"),
        ("10.0.0.5 streamfold-0", "{0}"),
        ("127.0.0.1 localhost streamfold-0", "{0}"),
        ("127.0.0.1 localhost", "{0}"),
    ],
    ids=["a pod of a StatefulSet", "a container", "an alias of localhost", "not to be found"],
)
def test_a_host_is_known_by_its_name_and_domain(hosts: str, expected: str, tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*ISOLATED, "true"], check=False).returncode:
        pytest.skip("NOT TESTED: the name that a worker is known by, for a host's name can't be changed here")
    (tmp_path / "hosts").write_text(f"{hosts}\n")
    script = f'hostname streamfold-0 && mount --bind {tmp_path}/hosts /etc/hosts && exec {sys.executable} -c "$0"'
    done = subprocess.run(
        [*ISOLATED, "sh", "-c", script, PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == f"{expected.format('streamfold-0')}:6066", done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:6066", "[::1]:6066", "worker-1.example:80"])
def test_an_address_that_was_chosen_is_the_one(address: str) -> None:
    assert str(Address.parse(address).advertised()) == address
