"""The reference page of HTTP, made from the OpenAPI document that every worker serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.edges.web.openapi import document
from pipeline.edges.web.pages import PAGES
from scripts.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
BASE = "http://127.0.0.1:6066"

_HEAD = """\
# HTTP

Each worker serves what this page tells, on the address that `http` in `[app]` names. **Any worker answers for any
key**: what it does not have it asks of those members of the group that may have it, all at once and within bounds, and
passes their answer on. Who the members are is asked of Kafka, once a second at most; workers on several machines need
an address that the others reach. Nothing here changes anything.

- `/` is a page for people. `/openapi.json` is this interface for programs, in OpenAPI 3.1; this page is made from it.
- Answers are JSON, or MessagePack for those who send `Accept: application/msgpack` (`application/vnd.msgpack` and
  `application/x-msgpack` too). A body is JSON, unless its `Content-Type` is one of these. Undefined numbers are null.
- What can't be answered is a [Problem](#problem) in the same format: one line of cause, one of what to do.
- While partitions are being restored, or go to another worker, what may be in them is 503, with the records still to be
  read, and a header `Retry-After`. What is elsewhere is answered meanwhile.
- A request with the header `Streamfold-Local` is answered by this worker alone; what it does not have is 421. Workers
  ask each other with this header, so that no request goes in a circle.
- Where `http_token` is set, all but `/livez` and `/readyz` asks for `Authorization: Bearer TOKEN`:
  [how to secure it](../how-to/security.md#http). In the examples below add `-H "Authorization: Bearer $TOKEN"`.
- What is shown is folded, committed or not yet; an entry says up to which offset is committed."""

_COST = """\
## What reading costs

A look-up takes 0.08 ms of CPU, of the core that folds too. A worker answers those of its own keys as soon as it has
read the request, and together those that have come together; what a connection sent before, but for the key, it need
not parse again, so keep connections open and their header fields as they are. Whatever else is asked, and look-ups of
keys of other workers, with an `Origin`, or several at once on one connection, take two or three times as long. Requests
that come while a commit is under way begin together, 64 at most, as soon as the commit does nothing but wait for the
broker, or is over, or after 40 ms: what it has to do itself nobody holds up. Who looks waits for the fold or the cut
under way, never the other way round; a listing looks at 50,000 keys between two folds at most.

`make bench-reads` finds the largest load that comes in and is folded at once, and then measures the lag at half of
it, by turns and six times 20 seconds each: without readers; elsewhere, while readers ask a server that does nothing, as
they take time of the cores too; and while they ask the worker. On two cores, which Kafka, the source of the events and
the readers shared with the worker, with 366,000 to 400,000 events a second:

| | lag at the median, at 95 % | worker read beside it, by rounds | growth a second | worker |
| --- | --- | --- | --- | --- |
| without readers | 70, 112 ms | -2.2 ± 1.3 ms | +0.0 ± 0.1 ms | 49 % of a core |
| elsewhere, 999 reads a second | 68, 113 ms | -0.2 ± 1.6 ms | -0.0 ± 0.1 ms | 49 % |
| of the worker, 999 reads a second | 68, 112 ms | | -0.1 ± 0.2 ms | 58 % |

So the lag does not grow while reads go on, nor is it higher by more than can be measured. In six runs before, the lag
of the worker read was 1.8 ± 1.2 ms above that with readers elsewhere and 2.3 ± 1.2 ms above that without any, of some
70: Kafka's log cleaner took most of a core for 15 seconds of each, always while the worker was read, and no longer does
here. The last four of these without that round: 1.8 ± 0.7 ms below, and 0.6 ± 0.9 ms below.

The fuller a core is, the more reads add to the lag, for a commit takes longer with less time between reads and folds,
and what comes meanwhile is the lag. With earlier versions, it was a fifth to a third higher where the host let the
cores run at half their speed, so that the worker took 71 to 79 % of one before anybody read; and where no room was
left at all, 516 ms in place of 251, though it went neither up nor down there either. Give it room, or take more
workers."""

EXAMPLES: Mapping[str, tuple[str, str | None]] = {
    "/livez": ("/livez", '{"live": true}'),
    "/readyz": ("/readyz", '{"ready": true, "reasons": []}'),
    "/metrics": ("/metrics", None),
    "/openapi.json": ("/openapi.json", None),
    "/tables": ("/tables", None),
    "/tables/{table}": (
        "'/tables/player?prefix=b%2F&limit=1'",
        """{
  "topic": "game-scores",
  "output": "arcade-player",
  "emit": "every",
  "operators": {"games": "Count", "average": "Mean"},
  "partitions": [
    {"partition": 0, "phase": "running", "keys": 2, "position": 6, "committed": 6, "remaining": null},
    {"partition": 1, "phase": "running", "keys": 0, "position": 0, "committed": 0, "remaining": null},
    {"partition": 2, "phase": "running", "keys": 0, "position": 0, "committed": 0, "remaining": null},
    {"partition": 3, "phase": "running", "keys": 1, "position": 3, "committed": 3, "remaining": null}
  ],
  "keys": ["b/c"],
  "next": "?prefix=b%2F&limit=1&cursor=1.0"
}""",
    ),
    "/tables/{table}/{key}": (
        "/tables/player/b%2Fc",
        """{
  "key": "b/c",
  "time": 1774792800.0,
  "partition": 0,
  "offset": 5,
  "games": 3,
  "average": 3.0,
  "state": {"games": {"count": 3}, "average": {"count": 3, "mean": 3.0}},
  "committed": 6
}""",
    ),
    "/tables/{table}/{key}/read": (
        """/tables/machine/m/read -d '{"operator": "memory", "query": [1, 1]}'""",
        '{"value": [5.4, 6.4]}',
    ),
}
"""Of each path what to ask with curl, and what is answered where that is short."""


def page() -> str:
    """The page's text."""
    made = document(PAGES)
    parts = [_HEAD]
    for path, methods in made["paths"].items():
        parts += [_operation(path, method, operation) for method, operation in methods.items()]
    parts.append(_COST)
    parts.append("## Types\n\nThose of all answers and bodies; more fields may come, but none goes.")
    parts += [_type(name, schema) for name, schema in sorted(made["components"]["schemas"].items())]
    return "\n\n".join(parts) + "\n"


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f"## {method.upper()} {path}", operation["summary"], operation["description"]]
    if operation["parameters"]:
        rows = [
            (f"`{given['name']}`", given["in"], given["description"], _shown(given["schema"]))
            for given in operation["parameters"]
        ]
        parts.append(table(("parameter", "in", "what", "type"), rows))
    if "requestBody" in operation:
        parts.append(f"The body is a {_shown(_schema(operation['requestBody']))}.")
    answers = operation["responses"].items()
    told = [(status, answer["description"], _shown(_schema(answer))) for status, answer in answers]
    parts.append(table(("status", "when", "body"), told))
    asked, answer = EXAMPLES[path]
    url = f"'{BASE}{asked[1:]}" if asked.startswith("'") else BASE + asked
    parts.append(f"```sh\ncurl {url}\n```")
    if answer is not None:
        parts.append(f"```json\n{answer}\n```")
    return "\n\n".join(parts)


def _type(name: str, schema: Mapping[str, Any]) -> str:
    rows = [
        (f"`{field}`", _shown(about), about.get("description", "") + _optional(field, schema["required"]))
        for field, about in schema["properties"].items()
    ]
    return f"### {name}\n\n{schema['description']}\n\n{table(('field', 'type', 'what'), rows)}"


def _optional(field: str, required: Sequence[str]) -> str:
    return "" if field in required else " May be left out."


def _schema(content: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = next(iter(content["content"].values()))["schema"]
    return schema


def _shown(schema: Mapping[str, Any]) -> str:
    """A type for people."""
    return " ".join(_words(schema))


def _words(schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f"[{name}](#{name.lower()})"
    elif "anyOf" in schema:
        yield " or ".join(map(_shown, schema["anyOf"]))
    elif "enum" in schema:
        yield " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    elif schema["type"] == "array":
        yield f"list of {_shown(schema['items'])}" if "items" in schema else "list"
    elif schema.get("additionalProperties"):
        yield f"object of {_shown(schema['additionalProperties'])} by name"
    else:
        yield schema["type"]
    if "minimum" in schema:
        yield f"from {schema['minimum']} to {schema['maximum']}"
    if "default" in schema:
        yield f"(`{json.dumps(schema['default'])}`)"
