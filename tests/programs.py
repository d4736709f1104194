"""Programs that some tests need and not every machine has."""

from __future__ import annotations

import shutil

import pytest


def installed(program: str, package: str) -> str:
    """Where a program is; the test is skipped, and says so, where there is none."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"NOT TESTED: {program} is not installed (on Debian: apt-get install {package})")
    return path
