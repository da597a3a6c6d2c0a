"""Every relative link of the documents leads to a file, and to a heading of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "findings" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
# A file of this project that is named in a sentence.
_FILE = re.compile(
    r"`((?:\.ci|channel|cloud|deploy|docs|edge|experiments|findings|offline|policies|proto|tests|thinwire)"
    r"/[\w./-]+\.(?:md|py|json|proto|png|sh|svg))`"
)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings; the second of one text has -1 behind it."""
    seen: dict[str, int] = {}
    for heading in _HEADING.findall(prose(page)):
        text = _LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        seen[name] = seen.get(name, -1) + 1
    return {f"{name}-{number}" if number else name for name, last in seen.items() for number in range(last + 1)}


def broken(page: Path) -> Iterator[str]:
    """Links of a page that lead nowhere."""
    for target in _LINK.findall(_CODE.sub("`code`", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: no such heading; there are {', '.join(sorted(anchors(file)))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    assert [name for name in _FILE.findall(prose(page)) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [("Metrics", "metrics"), ("What `auto` does, and *why*", "what-auto-does-and-why"), ("[A](b.md) -- c", "a----c")],
)
def test_headings_are_named_as_github_names_them(tmp_path, text, name):
    page = tmp_path / "page.md"
    page.write_text(f"# {text}\n\n```\n# no heading\n```\n\n## {text}\n")
    assert anchors(page) == {name, f"{name}-1"}


def test_a_link_to_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Here\n\n[good](#here), [bad](#there), [worse](none.md), `[code](not-a-link)`\n")
    assert [one.partition(":")[0] for one in broken(page)] == ["#there", "none.md"]


def test_every_page_is_reached_from_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(prose(index))}
    assert {page for page in (ROOT / "docs").glob("*.md") if page != index} <= linked
