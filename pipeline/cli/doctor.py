"""`streamfold doctor`: what would stop a pipeline, or makes it wrong, before it is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import Config, Duration, as_json, config_file
from pipeline.errors import KafkaStateError

if TYPE_CHECKING:
    from pipeline.edges.doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_VERDICT, _SUBJECT = 7, 12


@click.command("doctor")
@config_file
@click.option("--abort-hanging", is_flag=True, help="Abort the hanging transactions that are found.")
@click.option(
    "--older-than",
    metavar="DURATION",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Open transactions that were silent for so long are hanging.",
)
@as_json
def command(*, config: Config, abort_hanging: bool, older_than: float, as_json: bool) -> int:
    """Examine what FILE needs: brokers, login, clock, topics, permissions, transactions, group, state.

    Each finding is a line; of what is not in order the next line says how to mend it. Reads the changelogs from end to
    end while no worker runs. Changes nothing but what --abort-hanging says. Exit code 3 if there is a problem.
    """
    from pipeline.edges.doctor import examine  # noqa: PLC0415

    findings = examine(config.app, older_than=older_than, abort=abort_hanging)
    found = list(findings) if as_json else _told(findings)
    troubled = any(finding.verdict == "problem" for finding in found)
    if as_json:
        answer = {"ok": not troubled, "findings": [asdict(finding) for finding in found]}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    return KafkaStateError.exit_code if troubled else 0


def _told(findings: Iterable[Finding]) -> list[Finding]:
    """Print them as they come, and then how many of each there are."""
    found = []
    for finding in findings:
        found.append(finding)
        verdict = click.style(f"{finding.verdict:{_VERDICT}}", _COLOURS[finding.verdict])
        click.echo(f"{verdict}  {finding.subject:{_SUBJECT}}  {finding.found}")
        if finding.mend:
            click.echo(f"{'':{_VERDICT}}  {'':{_SUBJECT}}  -> {finding.mend}")
        sys.stdout.flush()
    verdicts = [finding.verdict for finding in found]
    click.echo(f"\nproblems: {verdicts.count('problem')}, warnings: {verdicts.count('warning')}")
    return found
