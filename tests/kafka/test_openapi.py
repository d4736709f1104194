"""What a running worker answers to requests made from its OpenAPI document is what the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, DeserializationContext, GenerationMode, Response, SerializationContext
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from pipeline.edges.web.assets import ASSETS
from pipeline.edges.web.openapi import document
from pipeline.edges.web.pages import PAGES
from tests.fuzz.http import TROUBLE
from tests.kafka.process import Site, ask, end, free_ports, until

MSGPACK = "application/msgpack"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@schemathesis.deserializer(MSGPACK)
def unpacked(_: DeserializationContext, response: Response) -> Any:
    return msgspec.msgpack.decode(response.content)


@schemathesis.serializer(MSGPACK)
def packed(_: SerializationContext, value: Any) -> Any:
    return msgspec.msgpack.encode(value)


def pointed() -> dict[str, Any]:
    """The document, narrowed to what there is at the site and a little more: otherwise hardly any request would hit."""
    made = document(PAGES)
    there = {"table": ["player", "machine", "nobody"], "key": ["a", "b/c", "m", "unknown", "base64:/wA=", "\x7f"]}
    for methods in made["paths"].values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in there:
                    parameter["schema"]["enum"] = there[parameter["name"]]
    fields = made["components"]["schemas"]["Query"]["properties"]
    fields["operator"]["enum"] = ["games", "average", "memory"]
    fields["query"]["anyOf"][0] |= {"minItems": 2, "maxItems": 2}
    return made


OPERATIONS = {
    f"{operation.method.upper()} {operation.path}": operation
    for found in schemathesis.openapi.from_dict(pointed()).get_all_operations()
    for operation in [found.ok()]  # type: ignore[union-attr] # of a document that is wrong there is none
}


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_ports()
    site = Site(kafka, tmp_path_factory.mktemp("openapi"), f"openapi-{port}", port)
    site.make_sources()
    site.send("scores", [(key, {"score": 1}) for key in (b"a", b"b/c", b"\xff\x00")])
    site.send("machine", [(b"m", {"k": [1, 0], "v": [3, 4]})])
    with site.running() as worker:
        until(lambda: site.committed() == 4, 60, "all committed", worker)
        yield site
        _, said = end(worker)
        assert not TROUBLE.search(said.encode()), said


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_answer_is_one_of_those_that_the_document_tells_of(
    site: Site, operation: APIOperation[Any, Any, Any, Any]
) -> None:
    # What takes nothing but a path takes nothing wrong.
    modes = list(GenerationMode) if operation.query or operation.body else [GenerationMode.POSITIVE]
    made = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @settings(max_examples=40)
    @given(made, st.sampled_from(["*/*", "application/json", MSGPACK]))
    def conforms(case: Case[Any], accept: str) -> None:
        case.call_and_validate(f"http://127.0.0.1:{site.port}", headers={"Accept": accept}, checks=CHECKS)

    conforms()


def test_the_document_is_one_of_openapi() -> None:
    made = document(PAGES)
    schemathesis.openapi.from_dict(made).validate()
    pages_for_programs = set(PAGES) - {*ASSETS, "/live"}  # what never ends is no answer that a schema has
    assert set(made["paths"]) == {path.replace(":[^/]+", "") for path in pages_for_programs}


def test_the_document_is_served_as_it_is_made(site: Site) -> None:
    assert ask(site.port, "/openapi.json") == (200, document(PAGES))
