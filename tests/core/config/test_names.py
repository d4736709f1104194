"""Names of fields and operators: any text that JSON writes as it is works, any other is refused where it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from operators import KvMean, Mean
from pipeline import App, Stream, Table
from pipeline.core.batch import WireBatch
from pipeline.core.config.checks import RESERVED
from pipeline.core.config.model import Format
from pipeline.core.config.problem import ConfigError
from pipeline.core.partition import Identity, Partition

SHORT = {"key": "k", "time": "t", "vector": "v", "number": "x", "part": "y", "operator": "o"}
"""By what a name is for, one that works."""

PLACES = {
    "key": ("key",),
    "time": ("time",),
    "vector": ("vectors", None),
    "number": ("operators", "one", "value"),
    "part": ("operators", "pair", "key", 1),
    "operator": ("operators", None),
}
"""By what a name is for, the path to it: None stands for the name itself."""

NAMES = st.text(min_size=1) | st.text(st.sampled_from('"\\/\n\t\x00\x1f\x7f\ud800.é 😀a'), min_size=1, max_size=4)
TAKEN = {*SHORT.values(), *RESERVED, "z", "one", "pair"}


def app(form: Format, *, key: str, time: str, vector: str, number: str, part: str, operator: str) -> App:
    stream = Stream("events", "events", format=form, key=key, time=time, vectors={vector: 2})
    operators = {
        "one": Mean(value=number),
        "pair": KvMean(key=["z", part], value=vector),
        operator: Mean(value=vector, publish="both"),
    }
    return App("app", [Table("table", stream, operators)])


def folded(app: App, event: Mapping[str, object]) -> dict[str, Any]:
    """The output record of an event."""
    stream = app.streams["events"]
    encode = msgspec.json.encode if stream.format == "json" else msgspec.msgpack.encode
    partition = Partition(app, stream, 0, 1)
    partition.resume(0, Identity("id", "source", {"table": "changelog"}, 0, 1_000_000))
    partition.fold(WireBatch("events", 0, 0, 1, [b"k"], [encode(event)], [0], [0]))
    (record,) = next(append.values for append in partition.cut().appends if append.topic == "app-table")
    result: dict[str, Any] = json.loads(record or b"")
    return result


def stands_in_json(name: str) -> bool:
    """Whether JSON has the name as it is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return json.dumps(name, ensure_ascii=False) == f'"{name}"'


@pytest.mark.parametrize("place", PLACES)
@given(name=NAMES, form=st.sampled_from(("json", "msgpack")))
def test_a_name_works_or_is_refused_where_it_stands(place: str, name: str, form: Format) -> None:
    assume(name not in TAKEN)
    names = SHORT | {place: name}
    if stands_in_json(name):
        event = {"key": "a", "time": 5.0, "vector": [1.0, 2.0], "number": 3.0, "part": 4.0}
        record = folded(app(form, **names), {"z": 0.0} | {names[role]: value for role, value in event.items()})
        assert (record["key"], record["time"], record["one"]) == ("a", 5.0, 3.0)
        assert record["pair"]["key"] == [0.0, 4.0]
        assert record[names["operator"]] == [1.0, 2.0]
        assert record[f"{names['operator']}.state"] == {"count": 1, "mean": [1.0, 2.0]}
    else:
        with pytest.raises(ConfigError) as caught:
            app(form, **names)
        (path,) = {problem.path for problem in caught.value.problems}
        wanted = tuple(name if step is None else step for step in PLACES[place])
        assert path == wanted[: max(len(path), 1)]
