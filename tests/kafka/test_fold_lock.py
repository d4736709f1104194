"""Folds and commits take turns with those who only look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipeline.edges.kafka import fold_lock
from pipeline.edges.kafka.fold_lock import FoldLock
from tests.kafka.clients import run


async def held(lock: FoldLock, until: asyncio.Event, seen: list[str], name: str) -> None:
    async with lock:
        seen.append(f"{name} begins")
        await until.wait()
        seen.append(f"{name} ends")


async def soon() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def scene(work: Callable[[FoldLock, asyncio.Event, list[str]], Awaitable[None]]) -> None:
    async def scenario() -> None:
        await work(FoldLock(), asyncio.Event(), [])

    run(scenario)


def test_a_look_is_taken_at_once_while_nobody_holds_the_lock() -> None:
    async def work(lock: FoldLock, _: asyncio.Event, seen: list[str]) -> None:
        look = lock.look(lambda: seen.append("look"))
        with pytest.raises(StopIteration):
            look.send(None)  # to its end, without a turn of the loop
        assert seen == ["look"]

    scene(work)


def test_all_who_wait_look_between_two_holders() -> None:
    async def work(lock: FoldLock, done: asyncio.Event, seen: list[str]) -> None:
        folds = [asyncio.create_task(held(lock, done, seen, name)) for name in ("one", "two")]
        await soon()
        looks = [asyncio.create_task(lock.look(lambda: seen.append("look"))) for _ in range(3)]
        await soon()
        assert seen == ["one begins"]
        done.set()
        await asyncio.gather(*folds, *looks)
        assert seen == ["one begins", "one ends", "look", "look", "look", "two begins", "two ends"]

    scene(work)


def test_an_error_is_the_lookers_own_and_who_is_gone_is_passed_over() -> None:
    async def work(lock: FoldLock, done: asyncio.Event, seen: list[str]) -> None:
        fold = asyncio.create_task(held(lock, done, seen, "fold"))
        await soon()
        wrong = asyncio.create_task(lock.look(lambda: dict[str, str]()["no such key"]))
        gone = asyncio.create_task(lock.look(lambda: seen.append("gone")))
        last = asyncio.create_task(lock.look(lambda: 7))
        await soon()
        gone.cancel()
        done.set()
        with pytest.raises(KeyError, match="no such key"):
            await wrong
        assert await last == 7
        await fold
        assert seen == ["fold begins", "fold ends"]

    scene(work)


def test_a_holder_that_fails_lets_go() -> None:
    async def work(lock: FoldLock, done: asyncio.Event, seen: list[str]) -> None:
        fold = asyncio.create_task(held(lock, done, seen, "fold"))
        await soon()
        look = asyncio.create_task(lock.look(lambda: seen.append("look")))
        await soon()
        fold.cancel()
        await look
        async with lock:
            assert seen == ["fold begins", "look"]
        await asyncio.wait([fold])

    scene(work)


def test_many_looks_leave_the_loop_to_others_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_lock, "_LOOKS_SECONDS", -1.0)  # one look is too many

    async def work(lock: FoldLock, done: asyncio.Event, seen: list[str]) -> None:
        fold = asyncio.create_task(held(lock, done, seen, "fold"))
        await soon()
        looks = [asyncio.create_task(lock.look(lambda: seen.append("look"))) for _ in range(20)]
        await soon()
        done.set()
        await fold
        assert seen.count("look") < 5
        await asyncio.wait_for(asyncio.gather(*looks), 30)

    scene(work)
