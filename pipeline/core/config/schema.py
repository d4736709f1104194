"""The JSON Schema of the configuration file, made from the model and the operators, for completion in editors."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from operators import TYPES, Operator
from pipeline.core.config.kinds import DurationText, NameText
from pipeline.core.config.model import App, Dedupe, Stream, Table
from pipeline.core.config.operator_types import listed, takes_duration
from pipeline.core.config.option import Option, options_of
from pipeline.core.config.security import KafkaSecurity

Schema = dict[str, Any]

_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def schema() -> Schema:
    """The schema, in the terms of JSON Schema 2020-12."""
    app = _object(App, inner=("tables", "streams", "kafka"))
    app["properties"]["kafka"] = {"description": App.kafka.doc, **_object(KafkaSecurity)}
    nested = ("name", "stream", "streams", "operators", "dedupe", "metrics_keys")
    table = _object(Table, inner=nested, required=("operators",))
    table["properties"] |= {
        "stream": {"type": "string", "description": Table.stream.doc},
        "streams": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": Table.streams.doc},
        "operators": {"description": Table.operators.doc, **_by_name(_operator())},
        "dedupe": _object(Dedupe) | {"description": Table.dedupe.doc},
        "metrics": _closed({"keys": _option(Table.metrics_keys)}, ()),
    }
    table["oneOf"] = [{"required": ["stream"]}, {"required": ["streams"]}]
    properties = {
        "app": app,
        "streams": _by_name(_object(Stream, inner=("name",)), msgspec.json.schema(NameText)),
        "tables": {"minProperties": 1, **_by_name(table, msgspec.json.schema(NameText))},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamfold configuration",
        **_closed(properties, ("app", "streams", "tables")),
    }


def _object(cls: type, inner: tuple[str, ...] = (), required: tuple[str, ...] = ()) -> Schema:
    options = {name: option for name, option in options_of(cls).items() if name not in inner}
    needed = (*(name for name, option in options.items() if option.required), *required)
    properties = {name: _option(option) for name, option in options.items()}
    return {"description": inspect.getdoc(cls), **_closed(properties, needed)}


def _option(option: Option[Any, Any]) -> Schema:
    made = _or_reference(msgspec.json.schema(option.in_file)) | {"description": option.doc}
    return made if option.required or option.default is None else made | {"default": option.default}


def _operator() -> Schema:
    """One of ours with its options, or one of the user's with any."""
    custom = {"type": "object", "properties": {"type": {"type": "string", "pattern": ":"}}, "required": ["type"]}
    return {"anyOf": [*(_ours(name, cls) for name, cls in TYPES.items()), custom]}


def _ours(name: str, cls: type[Operator]) -> Schema:
    hints = get_type_hints(cls)
    options = [option for option in dataclasses.fields(cls) if option.init]
    needed = [option.name for option in options if option.default is option.default_factory is dataclasses.MISSING]
    properties = {option.name: _or_reference(_hint(hints[option.name])) for option in options}
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    return {"description": summary, **_closed({"type": {"const": name}, **properties}, ("type", *needed))}


def _hint(hint: Any) -> Schema:
    if takes_duration(hint):
        return msgspec.json.schema(DurationText)
    if takes_duration(kind := listed(hint)):
        return {"type": "array", "items": _or_reference(_hint(kind))}
    made = msgspec.json.schema(hint)
    if "anyOf" in made:  # TOML has no null
        made["anyOf"] = [one for one in made["anyOf"] if one != {"type": "null"}]
    return made


def _or_reference(made: Schema) -> Schema:
    """Text with a limit may also be a reference to the environment."""
    limited = made.get("enum") or made.get("pattern")
    return {"anyOf": [made, _REFERENCE]} if limited else made


def _closed(properties: Mapping[str, Schema], required: tuple[str, ...]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def _by_name(inner: Schema, names: Schema | None = None) -> Schema:
    return {"type": "object", "additionalProperties": inner} | ({"propertyNames": names} if names else {})
