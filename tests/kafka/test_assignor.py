"""Who gets which partition, for any members that come and go."""

from __future__ import annotations

from itertools import chain

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edges.kafka.assignor import Assignor, spread

Found = dict[str, dict[str, list[int]]]

topics = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 9).map(range), min_size=1)
groups = st.lists(st.sets(st.sampled_from("uvwxyz"), min_size=1), min_size=1, max_size=6)


def owners(found: Found) -> dict[TopicPartition, str]:
    return {
        TopicPartition(topic, number): member
        for member, held in found.items()
        for topic, numbers in held.items()
        for number in numbers
    }


@given(topics, groups)
def test_every_topic_is_spread_evenly_and_what_is_due_is_kept(topics: dict[str, range], groups: list[set[str]]) -> None:
    found: Found = {}
    for members in groups:
        before, found = found, spread(topics, dict.fromkeys(members, frozenset(topics)), owners(found))
        totals = []
        for topic, partitions in topics.items():
            shares = [found[member].get(topic, []) for member in members]
            assert sorted(chain.from_iterable(shares)) == list(partitions)
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
            for member, share in zip(members, shares, strict=True):
                stayed = set(share) & set(before.get(member, {}).get(topic, []))
                assert len(stayed) == min(len(share), len(before.get(member, {}).get(topic, [])))
        totals = [sum(map(len, held.values())) for held in found.values()]
        assert max(totals) - min(totals) <= 1
        assert spread(topics, dict.fromkeys(members, frozenset(topics)), owners(found)) == found, "nothing changed"


def test_who_does_not_read_a_topic_gets_nothing_of_it() -> None:
    found = spread({"a": range(4), "b": range(2)}, {"old": frozenset("a"), "new": frozenset("ab")}, {})
    assert found["old"].keys() == {"a"}
    assert found["new"]["b"] == [0, 1]


class Cluster:
    """What a leader knows of the topics."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {"events": {0, 1}, "between": {0, 1}}.get(topic)


def test_a_second_member_gets_half_of_each_topic() -> None:
    names = ["events", "between", "gone"]
    first, second = Assignor.own(), Assignor.own()
    alone = first.assign(Cluster(), {"one": first.metadata(names)})
    assert alone["one"].assignment == [("between", [0, 1]), ("events", [0, 1])]
    first.on_assignment(alone["one"])
    first.on_generation_assignment(1)
    both = first.assign(Cluster(), {"one": first.metadata(names), "two": second.metadata(names)})
    assert both["one"].assignment == [("between", [0]), ("events", [0])]
    assert both["two"].assignment == [("between", [1]), ("events", [1])]


def test_of_two_who_hold_a_partition_the_newer_keeps_it() -> None:
    stale, newer = Assignor.own(), Assignor.own()
    for member, generation in ((stale, 1), (newer, 2)):
        member.on_assignment(member.assign(Cluster(), {"x": member.metadata(["events"])})["x"])
        member.on_generation_assignment(generation)
    found = newer.assign(Cluster(), {"a": stale.metadata(["events"]), "b": newer.metadata(["events"])})
    assert {member: given.assignment for member, given in found.items()} == {
        "a": [("events", [1])],
        "b": [("events", [0])],
    }
