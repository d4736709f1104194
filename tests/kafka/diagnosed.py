"""What doctor finds of an app, and an app that has been at work."""

from __future__ import annotations

from pipeline import App
from pipeline.edges.doctor import Finding, examine
from tests.kafka.pipelines import Site, drained, running, scenario


def verdicts(app: App, verdict: str, **options: float) -> list[Finding]:
    return [finding for finding in examine(app, **options) if finding.verdict == verdict]  # type: ignore[arg-type]


def the_problem(app: App, **options: float) -> Finding:
    """The only one that there is."""
    found = verdicts(app, "problem", **options)
    assert len(found) == 1, found
    assert found[0].mend
    return found[0]


def folded(site: Site, events: int = 3) -> App:
    """An app whose worker has folded some events, and has ended."""
    app = site.app()
    site.send(events)

    async def fold() -> None:
        async with running(app) as plane:
            await drained(site, plane)

    scenario(fold)
    return app


def own(site: Site, app: App) -> dict[str, str]:
    table = app.tables["table"]
    return {"changelog": app.changelog(table), "output": app.output(table), "letters": app.dead_letters}
