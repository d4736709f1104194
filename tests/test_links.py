"""Links of the documentation lead somewhere: to a file, to a heading in it; those that lead outside are well formed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for top in ("docs", "examples", "pipeline") for page in (ROOT / top).rglob("*.md"))]
)

_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)[^`].*?\1")
_LINK = re.compile(r"\]\(<?([^)>\s]+)>?(?: \"[^\"]*\")?\)|^\[[^\]]+\]: (\S+)|<(https?:[^>]+)>", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} (.*?)#* *$", re.MULTILINE)
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*`]")


def links(text: str) -> Iterator[str]:
    for match in _LINK.finditer(_CODE.sub("", _FENCED.sub("", text))):
        yield next(target for target in match.groups() if target)


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them: letters, digits, hyphens; those of equal ones are numbered."""
    seen, found = Counter[str](), set()
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        words = _MARKUP.sub(r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a link on a page; None if nothing is."""
    parts = urlsplit(target)
    if parts.scheme:
        sound = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.-]+", parts.hostname or "") is not None
        return None if sound else "no address of a page"
    file = page if not parts.path else page.parent / unquote(parts.path)
    if parts.path.startswith("/") or not file.exists():
        return "no such file"
    if ROOT not in file.resolve().parents:
        return "outside of the project"
    if parts.fragment and (file.suffix != ".md" or parts.fragment not in anchors(file.read_text("utf-8"))):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    faults = {target: fault(page, target) for target in links(page.read_text("utf-8"))}
    assert {target: what for target, what in faults.items() if what} == {}


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("tutorial.md", None),
        ("tutorial.md#2-your-own-file-in-four-commands", None),
        ("#documentation", None),
        ("images/demo.svg", None),
        ("https://kafka.apache.org/documentation/#semantics", None),
        ("http://127.0.0.1:6066/metrics", None),
        ("tutorial.html", "no such file"),
        ("/docs/tutorial.md", "no such file"),
        ("tutorial.md#two", "no such heading"),
        ("images/demo.svg#two", "no such heading"),
        ("../../", "outside of the project"),
        ("https:///nowhere", "no address of a page"),
        ("mailto:nobody", "no address of a page"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target: str, what: str | None) -> None:
    assert fault(ROOT / "docs" / "index.md", target) == what


def test_links_and_headings_are_found_where_they_are() -> None:
    text = (
        "# A `b`: *c*, [d](e.md)\n## x\n## x\n```\n# no\n[no](no)\n```\n`[no](no)` ![f](g.svg)\n<https://a.b>\n"
        "[h]: i.md\n"
    )
    assert list(links(text)) == ["e.md", "g.svg", "https://a.b", "i.md"]
    assert anchors(text) == {"a-b-c-d", "x", "x-1"}


def test_every_page_of_the_documentation_is_reached_from_its_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached, waiting = set[Path](), [index]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_relative_to(ROOT / "docs"):
            continue
        reached.add(page)
        targets = (urlsplit(target) for target in links(page.read_text("utf-8")))
        waiting += [
            (page.parent / unquote(parts.path)).resolve() for parts in targets if not parts.scheme and parts.path
        ]
    assert reached == set((ROOT / "docs").rglob("*.md"))
