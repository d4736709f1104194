"""Schemas of others, by which the files for Docker and Kubernetes are judged; see README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_FOLDER = Path(__file__).parent
_BY_GROUP = {"monitoring.coreos.com": "prometheus-operator-0.93.json"}


def compose_faults(document: Any) -> list[str]:
    """What is wrong with a file for Docker Compose."""
    return _faults(_read("compose-spec.json"), document)


def kubernetes_faults(manifest: Any) -> list[str]:
    """What is wrong with a manifest, one of a known kind."""
    group = manifest["apiVersion"].rpartition("/")[0]
    schema = _read(_BY_GROUP.get(group, "kubernetes-1.37.json"))
    return _faults({**schema, "$ref": f"#/$defs/{manifest['kind']}"}, manifest)


def _read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_FOLDER / name).read_text("utf-8"))
    return schema


def _faults(schema: dict[str, Any], document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]
