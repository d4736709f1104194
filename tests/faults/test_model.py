"""The promise holds in the model whatever happens in whichever order, and every rule is needed for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Part
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.model import Fate, Owner
from tests.faults.model_rules import Rules
from tests.faults.model_world import Violation, World

FAITHFUL = Rules()


class Protocol(RuleBasedStateMachine):
    """Anything may happen next. An owner pauses whenever it is the turn of others, for as long as that lasts."""

    WHO = st.sampled_from([0, 1])

    def __init__(self, rules: Rules, seen: Counter[str]) -> None:
        super().__init__()
        self.world = World(rules)
        self.seen = seen

    @initialize(damage=st.sampled_from(["none", "lost head", "lost tombstones", "lost offset"]))
    def begin(self, damage: str) -> None:
        """One kind of damage at a time: two may cancel out in the number of keys."""
        self.damage = damage
        self.world.send(*"abc")
        self.world.give(self.world.one)

    @rule(keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
    def send(self, keys: list[str]) -> None:
        self.world.send(*keys)

    @rule(key=st.sampled_from("abc"))
    def delete(self, key: str) -> None:
        self.world.send(key, value=None)

    @rule(key=st.sampled_from("abc"))
    def abort(self, key: str) -> None:
        self.world.send(key, aborted=True)

    @rule(who=WHO, steps=st.integers(1, 12))
    def run(self, who: int, steps: int) -> None:
        for _ in range(steps):
            self.world.owners[who].step()

    @rule(who=WHO, turns=st.integers(1, 4), events=st.integers(1, 4), rest=st.integers(0, 12))
    def work(self, who: int, turns: int, events: int, rest: int) -> None:
        owner = self.world.owners[who]
        for _ in range(turns):
            owner.hear()
            for _ in range(20):
                owner.step()
                self.world.kafka.mark()
                if owner.next == "wait_for_work":
                    break
            self.drain(who, events)
        self.run(who, rest)

    @rule(who=WHO, point=st.sampled_from(["fence", "write", "add_offset"]))
    def fail(self, who: int, point: str) -> None:
        self.to(who, point).step(Fate.LATE)

    @rule(who=WHO, fate=st.sampled_from([Fate.LATE, Fate.REPEATED]), arrives=st.booleans())
    def doubt(self, who: int, fate: Fate, arrives: bool) -> None:
        self.to(who, "end").step(fate)
        if arrives:
            self.world.kafka.deliver(-1)

    def to(self, who: int, point: str) -> Owner:
        owner = self.world.owners[who]
        for _ in range(12):
            if owner.next == point:
                break
            owner.step()
        return owner

    @rule(who=WHO, events=st.integers(1, 4))
    def drain(self, who: int, events: int) -> None:
        self.fetch(who, events)
        self.fold(who)

    @rule(who=WHO, events=st.integers(1, 4))
    def fetch(self, who: int, events: int) -> None:
        self.world.owners[who].fetch(events)

    @rule(who=WHO)
    def fold(self, who: int) -> None:
        self.world.owners[who].fold()

    @rule(who=WHO, position=st.integers(0, 30))
    def slip(self, who: int, position: int) -> None:
        self.world.owners[who].slip(min(position, self.world.kafka.source.end))

    @rule(who=WHO)
    def crash(self, who: int) -> None:
        self.world.owners[who].start()

    @rule(who=WHO)
    def give(self, who: int) -> None:
        self.world.give(self.world.owners[who])

    @rule(who=st.sampled_from(["one", "other", None]))
    def rebalance(self, who: str | None) -> None:
        self.world.kafka.rebalance(who)

    @rule(who=WHO)
    def hear(self, who: int) -> None:
        self.world.owners[who].hear()

    @rule(number=st.integers(0, 3))
    def deliver(self, number: int) -> None:
        self.world.kafka.deliver(number)

    @rule()
    def mark(self) -> None:
        self.world.kafka.mark()

    @rule()
    def show_offset(self) -> None:
        self.world.kafka.show_offset()

    @rule()
    def time_out(self) -> None:
        self.world.kafka.time_out_all()

    @rule(upto=st.integers(1, 60))
    def compact(self, upto: int) -> None:
        self.world.lossy |= self.damage == "lost tombstones"
        gone = self.world.kafka.changelog.compact(upto, tombstones=self.damage == "lost tombstones")
        self.seen["compacted"] += gone

    @rule(upto=st.integers(1, 60))
    def harm(self, upto: int) -> None:
        if self.damage == "lost head":
            self.world.lose(upto)
        elif self.damage == "lost offset":
            self.world.kafka.expire_offsets()

    @invariant()
    def promise(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        for owner in self.world.owners:
            self.seen.update(owner.seen)


def search(rules: Rules, examples: int) -> Counter[str]:
    """Try schedules, the same ones each time; returns how often what was met."""
    seen: Counter[str] = Counter()

    class Schedules(Protocol):
        def __init__(self) -> None:
            super().__init__(rules, seen)

    run_state_machine_as_test(
        Schedules,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Part.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return seen


def test_the_promise_holds() -> None:
    seen = search(FAITHFUL, 600)
    met = [
        "owned",
        "reclaimed",
        "committed",
        "gap",
        "Fenced",
        "Failed",
        "InDoubt",
        "superseded",
        "refused",
        "compacted",
    ]
    assert all(seen[what] for what in [*met, "settled: done", "settled: not done"]), seen


# Each rule has a schedule that does no harm if it is kept, and breaks the promise if it is not.


def read_before_fencing(world: World) -> None:
    """The old owner commits between the new one's reading and its fence."""
    folded_by_one(world)
    world.give(world.other)
    world.until(world.other, "fence")
    world.commit(world.one)
    world.check()
    world.work(world.other)
    world.commit(world.other)


def a_zombie(world: World) -> None:
    """The old owner sleeps with a cut made, and wakes after the new one has committed the same events."""
    folded_by_one(world)
    world.until(world.one, "write")
    world.give(world.other)
    world.work(world.other)
    world.commit(world.other)
    world.commit(world.one)


def a_gap(world: World) -> None:
    """The consumer goes on after an event that it did not deliver."""
    world.send("a", "b")
    world.give(world.one)
    world.until(world.one, "wait_for_work")
    world.one.slip(1)
    world.work(world.one)
    world.commit(world.one)


def a_lost_head(world: World) -> None:
    """Of two keys the changelog has lost one; the offset is that of the meta record all the same."""
    folded_by_one(world)
    world.commit(world.one)
    world.send("b")
    world.work(world.one)
    world.commit(world.one)
    world.lose(1 + next(record.offset for record in world.kafka.changelog.records if record.key == "a"))
    world.give(world.other)
    for _ in range(20):
        world.other.step()


def a_write_without_an_answer(world: World) -> None:
    """The changelog's rows do not arrive."""
    folded_by_one(world)
    world.until(world.one, "write")
    world.one.step(Fate.LATE)
    world.until(world.one, "wait_for_work")


def a_commit_without_an_answer(world: World) -> None:
    """The commit arrives; its answer does not."""
    folded_by_one(world)
    world.until(world.one, "end")
    world.one.step(Fate.LATE)
    world.kafka.deliver(0)
    world.until(world.one, "wait_for_work")


def a_second_request_to_commit(world: World) -> None:
    """It overtakes nothing, but is so late that the next transaction is open."""
    folded_by_one(world)
    world.until(world.one, "end")
    world.one.step(Fate.REPEATED)
    world.send("b")
    world.work(world.one)
    world.until(world.one, "write")
    world.one.step()
    world.kafka.deliver(0)


def a_zombie_that_renews(world: World) -> None:
    """The old owner sleeps with a producer that must be renewed, and wakes after the new one has committed."""
    folded_by_one(world)
    world.until(world.one, "end")
    world.one.step(Fate.REPEATED)
    world.give(world.other)
    world.send("b")
    world.work(world.other)
    world.commit(world.other)
    world.work(world.one)
    world.commit(world.one)


def a_restore_that_sleeps(world: World) -> None:
    """A new owner has read the changelog and sleeps; the old one takes over again, and commits before it wakes."""
    folded_by_one(world)
    world.commit(world.one)
    world.give(world.other)
    world.until(world.other, "committed")
    world.one.start()
    world.send("b")
    world.give(world.one)
    world.work(world.one)
    world.commit(world.one)
    world.kafka.show_offset()
    for _ in range(20):
        world.other.step()


def folded_by_one(world: World) -> None:
    """One owner has folded an event of key a and not committed it."""
    world.send("a")
    world.give(world.one)
    world.work(world.one)


SCHEDULES: dict[str, Callable[[World], None]] = {
    "fences_before_reading": read_before_fencing,
    "fences": a_zombie,
    "checks_contiguity": a_gap,
    "counts_keys": a_lost_head,
    "acknowledges": a_write_without_an_answer,
    "settles": a_commit_without_an_answer,
    "renews": a_second_request_to_commit,
    "looks_after_renewing": a_zombie_that_renews,
    "proves_refusals": a_restore_that_sleeps,
}


def test_every_rule_has_its_schedule() -> None:
    assert list(SCHEDULES) == [rule.name for rule in fields(Rules)]


@pytest.mark.parametrize(("name", "schedule"), SCHEDULES.items())
def test_a_rule_is_needed(name: str, schedule: Callable[[World], None]) -> None:
    world = World(FAITHFUL)
    schedule(world)
    world.check()
    world = World(replace(FAITHFUL, **{name: False}))
    with pytest.raises(Violation):  # noqa: PT012  some look in between too
        schedule(world)
        world.check()


@pytest.mark.parametrize("name", ["checks_contiguity", "acknowledges"])
def test_the_search_finds_what_is_wrong(name: str) -> None:
    with pytest.raises(Violation):
        search(replace(FAITHFUL, **{name: False}), 400)
