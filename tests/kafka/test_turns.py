"""How many turns of the event loop a fold leaves to commits."""

from __future__ import annotations

import asyncio

from pipeline.edges.kafka.plane import EVENTS_A_DRAIN, _turns


def test_a_fold_leaves_commits_some_turns_and_fewer_if_more_events_wait_behind_it() -> None:
    async def turns(events: int) -> int:
        seen, loop = 0, asyncio.get_running_loop()

        def see() -> None:
            nonlocal seen
            seen += 1
            loop.call_soon(see)

        loop.call_soon(see)
        await _turns(events)
        return seen

    found = [asyncio.run(turns(events)) for events in (EVENTS_A_DRAIN + 1, EVENTS_A_DRAIN, EVENTS_A_DRAIN - 1, 1)]
    assert found[0] == found[1] > 0
    assert found[2] == found[3] > 2 * found[1]
