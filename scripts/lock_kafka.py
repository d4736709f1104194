"""Write the lock of the embedded broker: Kafka's runtime dependencies, its tools and a logger, each with its SHA-256.

Resolves what ``KAFKA_VERSION`` needs afresh and trusts what it downloads, so look at the difference before committing.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from pipeline.edges.broker import distribution
from pipeline.edges.broker.distribution import KAFKA_VERSION

# Kafka speaks to SLF4J 1.7 and brings no backend; this one writes to stderr and starts fastest.
ROOTS = [f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36"]
# Kafka's console consumer, which runs on what the broker needs; the tools of Connect, which need more, are not for us.
ALONE = [f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}"]
HEADER = f"# Apache Kafka {KAFKA_VERSION}: Maven coordinate and SHA-256 of each jar. Written by `make lock`.\n"


def main() -> None:
    """Resolve, download, hash and write."""
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), remote_repos=GlobalSettings.load().repositories or None)
        inputs, transitive = context.resolver.resolve([context.create_dependency(root) for root in ROOTS])
        lines = []
        for dependency in [*inputs, *transitive, *map(context.create_dependency, ALONE)]:
            digest = hashlib.sha256(dependency.artifact.resolve().read_bytes()).hexdigest()
            lines.append(f"{dependency.groupId}:{dependency.artifactId}:{dependency.version} {digest}\n")
    Path(distribution.__file__).with_name("kafka.lock").write_text(HEADER + "".join(sorted(lines)), "ascii")


if __name__ == "__main__":
    main()
