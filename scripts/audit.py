"""Audit of the dependencies, without a network: ``make audit``.

Everything that is installed is locked to one version and one set of bytes, and nothing says where it has to come from:
so what was looked at is what everybody gets. What an audit without a network cannot know is whether somebody has found
a hole in one of these versions since: docs/how-to/security.md says how to ask.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pipeline.edges.broker.distribution import locked_jars

ROOT = Path(__file__).parent.parent
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


Locked = Mapping[str, list[Requirement]]
"""By a package's canonical name, what a lock says of it: once, or once for each kind of environment."""


def entries(lock: str) -> Iterator[tuple[str, list[str]]]:
    """Of each entry of a lock, what it asks for, and its hashes."""
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        text, *hashes = line.partition(" #")[0].split(" --hash=")
        if text.strip() and not text.startswith("#"):
            yield text.strip(), [part.strip() for part in hashes]


def unlocked(lock: str) -> Iterator[str]:
    """Entries of a lock that leave a choice of version, of bytes or of origin."""
    for text, hashes in entries(lock):
        try:
            found = Requirement(text)
        except InvalidRequirement:
            yield f"{text}: not a name with a version"
            continue
        pins = list(found.specifier)
        if found.url is not None:
            yield f"{found.name}: comes from {found.url}, not from the registry"
        elif len(pins) != 1 or pins[0].operator != "==" or "*" in pins[0].version:
            yield f"{found.name}: not one version, but {found.specifier or 'any'}"
        if not hashes:
            yield f"{found.name}: no hash"
        for digest in hashes:
            if not _HASH.fullmatch(digest):
                yield f"{found.name}: a hash that is no SHA-256: {digest}"


def locked_in(lock: str) -> Locked:
    """What a lock without faults holds."""
    locked: dict[str, list[Requirement]] = {}
    for text, _ in entries(lock):
        found = Requirement(text)
        locked.setdefault(canonicalize_name(found.name), []).append(found)
    return locked


def unmet(project: Mapping[str, Any], locked: Locked) -> Iterator[str]:
    """What the project asks for and the lock does not give."""
    declared = project["project"]
    groups = declared.get("optional-dependencies", {}).values()
    for text in [*declared["dependencies"], *(text for group in groups for text in group)]:
        asked = Requirement(text)
        if canonicalize_name(asked.name) not in locked:
            yield f"{asked.name}: declared, but not locked"
        for found in locked.get(canonicalize_name(asked.name), ()):
            (pin,) = found.specifier
            if not asked.specifier.contains(pin.version, prereleases=True):
                yield f"{asked.name}: locked at {pin.version}, declared as {asked.specifier}"


def installed_otherwise(locked: Locked) -> Iterator[str]:
    """What this environment holds in another version than the lock has for it."""
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        wanted = [found for found in locked.get(name, ()) if found.marker is None or found.marker.evaluate()]
        if wanted and not any(found.specifier.contains(distribution.version, prereleases=True) for found in wanted):
            versions = " or ".join(str(found.specifier) for found in wanted)
            yield f"{name}: {distribution.version} is installed, {versions} is locked"


def unhashed_jars() -> Iterator[str]:
    """Jars of the embedded broker without a checksum."""
    return (f"{jar.coordinate}: no SHA-256" for jar in locked_jars() if not _SHA256.fullmatch(jar.sha256))


def main() -> int:
    """Tell what is wrong; 1 if anything is."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found = list(unlocked(lock))
    if not found:
        locked = locked_in(lock)
        found = [*unmet(project, locked), *installed_otherwise(locked), *unhashed_jars()]
    sys.stdout.writelines(f"{trouble}\n" for trouble in found)
    count = len(list(entries(lock)))
    sys.stdout.write(f"{count} packages and {len(locked_jars())} jars, by version and hash: {len(found)} problems\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
