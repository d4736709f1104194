"""The keys of a table, page by page, while keys come and go."""

from __future__ import annotations

import pytest

from pipeline.core.config.model import Table
from pipeline.edges.web import proxy, reading
from pipeline.edges.web.cursor import Cursor
from pipeline.edges.web.proxy import Listing
from pipeline.edges.web.reading import Reader
from tests.kafka.pipelines import Site, drained, running, scenario


async def follow(listing: Listing, link: str | None, limit: int) -> list[list[str]]:
    """The pages from a link on."""
    pages = list[list[str]]()
    while link is not None:
        at = Cursor.parse(link.rpartition("cursor=")[2])
        assert at is not None
        page = await listing.page(at, limit)
        pages.append(page["keys"])
        link = page["next"]
    return pages


def of(site: Site) -> Table:
    return site.table(on_null="delete")


def test_keys_that_stay_are_listed_once_whatever_comes_and_goes(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, partitions=2)

    async def work() -> None:
        for n in range(10):
            site.send(1, f"old-{n}", partition=n % 2)
        async with running(site.app([of(site)])) as plane:
            await drained(site, plane)
            reader = Reader(plane)
            listing = Listing(reader, None, reader.table("table"), "")
            first = await listing.page(Cursor(), 3)
            assert first["keys"] == ["old-0", "old-2", "old-4"]
            gone = ["old-0", "old-6", "old-8", "old-7"]
            for key in gone:
                site.send_raw([None], key, partition=int(key[-1]) % 2)  # type: ignore[list-item] # a tombstone
            await drained(site, plane)
            for n in range(2):
                site.send(1, f"new-{n}", partition=n % 2)
            await drained(site, plane)
            rest = await follow(listing, first["next"], 3)
        listed = [*first["keys"], *(key for page in rest for key in page)]
        stayed = {f"old-{n}" for n in range(10)} - set(gone)
        assert stayed <= set(listed)
        assert len(listed) == len(set(listed))
        assert set(listed) <= stayed | {"old-0", *(f"new-{n}" for n in range(2))}

    scenario(work)


def test_a_page_that_would_take_long_is_short_and_goes_on(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(kafka, topic_prefix, partitions=2)
    monkeypatch.setattr(reading, "SCANNED", 2)

    async def work() -> None:
        for n in range(12):
            site.send(1, f"{'rare' if n == 10 else 'key'}-{n}", partition=n % 2)
        async with running(site.app([of(site)])) as plane:
            await drained(site, plane)
            reader = Reader(plane)
            rare = Listing(reader, None, reader.table("table"), "rare")
            assert (await rare.page(Cursor(), 5))["keys"] == ["rare-10"], "it looks on within its time"
            monkeypatch.setattr(proxy, "_PAGE_SECONDS", 0.0)
            assert sorted(await follow(rare, "?cursor=0.0", 5)) == [[], [], [], [], [], ["rare-10"]]
            pages = await follow(Listing(reader, None, reader.table("table"), "key"), "?cursor=0.0", 4)
        assert sorted(key for page in pages for key in page) == sorted(f"key-{n}" for n in range(12) if n != 10)
        assert all(len(page) <= 4 for page in pages)

    scenario(work)
