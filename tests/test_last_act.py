"""How a process ends whose threads wait for a broker that does not answer."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDING = """
import sys, threading, time
from pipeline.edges.host.report import last_act
from pipeline.errors import RunError

threading.Thread(target=time.sleep, args=[60]).start()
with last_act():
    {act}
"""


@pytest.mark.parametrize(
    ("act", "code"),
    [
        ("pass", 0),
        ("sys.exit(0)", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('no')", 1),
        ("raise RunError('no')", 1),
        ("raise ValueError", 1),
    ],
)
def test_a_thread_that_waits_holds_up_no_end_and_changes_no_exit_code(act: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", ENDING.format(act=act)], check=False, capture_output=True, timeout=30)
    assert done.returncode == code, done.stderr
