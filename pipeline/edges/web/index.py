"""The page at ``/``: what runs here, with links to what a program would ask for."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any, cast

from pipeline.core.config.model import App
from pipeline.edges.web.keys import segment_of
from pipeline.version import VERSION

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$app - streamfold</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
  td.number { font-variant-numeric: tabular-nums; }
</style>
<h1>$app</h1>
<p>streamfold $version, brokers $brokers.
<a href="/readyz">ready?</a> <a href="/metrics">metrics</a> <a href="/tables">tables as JSON</a></p>
<table>
<tr><th>table<th>from topic<th>to topic<th>operators<th>partitions here<th>keys here</tr>
$rows
</table>
</html>
""")

_ROW = Template("""<tr><td><a href="/tables/$segment">$name</a><td>$topic<td>$output<td>$operators
<td class="number">$partitions<td class="number">$keys</tr>""")


def index(app: App, tables: Mapping[str, object]) -> str:
    """The page's HTML; ``tables`` as ``/tables`` gives them."""
    rows = [_row(name, cast("Mapping[str, Any]", table)) for name, table in tables.items()]
    return _PAGE.substitute(
        app=escape(app.name), version=escape(VERSION), brokers=escape(app.brokers), rows="\n".join(rows)
    )


def _row(name: str, table: Mapping[str, Any]) -> str:
    parts = table["partitions"]
    return _ROW.substitute(
        segment=segment_of(name),
        name=escape(name),
        topic=escape(table["topic"]),
        output=escape(table["output"]),
        operators=escape(", ".join(table["operators"])),
        partitions=escape(", ".join(str(part["partition"]) for part in parts)) or "none",
        keys=sum(part["keys"] or 0 for part in parts),
    )
