"""What the tests against a broker share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.pipelines import Site


@pytest.fixture(autouse=True)
def _sites_are_closed() -> Iterator[None]:
    """Also after a failure: what an abandoned client does in the background is held against later tests."""
    yield
    Site.close_all()
