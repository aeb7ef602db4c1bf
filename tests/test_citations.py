"""Every source that code, recipes and docs name can be opened: pages and their headings, papers, modules, files."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "docs", "tests", "benchmarks", "examples")
SUFFIXES = (".py", ".yaml", ".json", ".md")
FILES = sorted(
    path
    for path in chain(ROOT.glob("*.*"), *((ROOT / folder).rglob("*") for folder in FOLDERS))
    if path.suffix in SUFFIXES and path != Path(__file__)
)
PAGES = [path for path in FILES if path.suffix == ".md"]
NO_MODULES = {"archscout.plugins"}  # a group of entry points

# `docs/page.md`, `docs/page.md#heading`, `docs/page.md#heading and #another`
_DOCS = re.compile(r"(?<![\w/])(docs/[\w/-]+\.md)((?:(?:, | and )?#[\w-]+)*)")
_LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(#[\w-]+)?\)")
_ARXIV = re.compile(r"arxiv(?:\.org/\w+/|[: ]\s*)(\d{4}\.\d{4,5}(?: and \d{4}\.\d{4,5})*)", re.IGNORECASE)
_NOTES = re.compile(r"\b[Ss]pecs? \(?(?:ednas|d_?darts|dsm(?:_nas)?|d2nas|published_cells|\d)|\b[Ss]pecs?'")


def slugs(text: str) -> set[str]:
    """The anchors of the headings of a Markdown page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@cache
def anchors(page: Path) -> set[str]:
    return slugs(page.read_text())


def missing(page: Path, headings: list[str]) -> list[str]:
    """What is wrong with a citation of these headings of a page."""
    if not page.exists():
        return ["no such file"]
    return [f"no heading #{heading}" for heading in headings if heading not in anchors(page)]


def test_anchors_are_those_of_github() -> None:
    text = "# Once-for-all, *short*\n```\n# no heading\n```\n## The `a_b`\n### DSM-NAS's [table](x.md)\n## The `a_b`\n"
    assert slugs(text) == {"once-for-all-short", "the-a_b", "dsm-nass-table", "the-a_b-1"}


def test_nothing_cites_notes_that_readers_do_not_have() -> None:
    assert [f"{path}: {hit.group()}" for path in FILES for hit in _NOTES.finditer(path.read_text())] == []


def test_pages_and_headings_of_the_docs_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {page}{headings}: {fault}"
        for path in FILES
        for page, headings in _DOCS.findall(path.read_text())
        for fault in missing(ROOT / page, re.findall(r"#([\w-]+)", headings))
    ]
    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    wrong = [
        f"{target}{heading}: {fault}"
        for target, heading in _LINK.findall(path.read_text())
        for fault in missing(path.parent / target if target else path, [heading[1:]] if heading else [])
    ]
    assert wrong == []


def test_papers_are_in_the_bibliography() -> None:
    rows = re.findall(r"^\| (\d{4}\.\d{5}) \|", (ROOT / "docs/sources.md").read_text(), flags=re.MULTILINE)
    assert len(rows) == len(set(rows)) > 0
    assert rows == sorted(rows)
    cited = {
        (number, str(path.relative_to(ROOT)))
        for path in FILES
        for numbers in _ARXIV.findall(path.read_text())
        for number in numbers.split(" and ")
    }
    assert sorted(where for where in cited if where[0] not in rows) == []


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of archscout or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_modules_that_the_docs_name_exist() -> None:
    pages = "".join(path.read_text() for path in PAGES)
    code = "".join(path.read_text() for path in FILES if path.suffix == ".py")
    names = set(re.findall(r"(?<![\w./-])archscout(?:\.[A-Za-z_]\w*)+(?![\w/-])", pages))
    names |= set(re.findall(r"`(archscout(?:\.\w+)+)`", code))
    assert sorted(name for name in names - NO_MODULES if not resolves(name)) == []


def test_files_of_code_that_are_named_exist() -> None:
    wrong = []
    for path in FILES:
        text = path.read_text()
        named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", text))
        named |= {f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m (benchmarks\.\w+)", text)}
        bases = (ROOT, ROOT / "src/archscout", ROOT / "src/archscout/deployment", path.parent)
        wrong += [f"{path}: {name}" for name in named if not any((base / name).exists() for base in bases)]
    assert sorted(wrong) == []
