"""What the README and the pages of the docs show works: Python runs, commands parse, recipes exist."""

from __future__ import annotations

import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import pytest
import typer
import yaml

from archscout.cli import app
from archscout.methods import METHODS
from archscout.recipes import recipe_names
from archscout.registry import Registry
from archscout.tasks import TASKS, load_task
from archscout.tasks.registry import READERS
from archscout.testing import METHOD_CASES, SPACE_CASES
from archscout.testing.methods import make_job, run_to_end
from archscout.viz import DRAWINGS
from archscout.zoo import ZOO, load_zoo

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
# Whole lines of blocks, and what stands in the text.
_COMMAND = re.compile(r"^ {4}(archscout .+)$|`(archscout [^`]+)`", flags=re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Words of the commands on a page; what is left open as `...`, and comments, are cut off."""
    text = page.read_text().replace("\\\n", " ")
    found = [" ".join((line or inline).split()) for line, inline in _COMMAND.findall(text)]
    return [shlex.split(re.split(r" \.\.\.| # | && |, then: ", each)[0])[1:] for each in found]


def test_the_python_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = blocks("README.md")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    accuracy, parameters = capsys.readouterr().out.split()
    assert 0 <= float(accuracy) <= 1
    assert int(parameters) < 300_000


@pytest.mark.parametrize("example", blocks("docs/estimators.md"), ids=lambda example: example.split("(")[0][-10:])
def test_the_examples_of_the_page_on_estimators_run(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/estimators.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_parse(page: Path) -> None:
    for words in commands(page):
        command = typer.main.get_command(app)
        while words and not words[0].startswith("-") and hasattr(command, "commands"):
            assert words[0] in command.commands, f"archscout {' '.join(words)}"
            command = command.commands[words.pop(0)]
        if words and not hasattr(command, "commands"):
            command.make_context(command.name, words)


@pytest.mark.parametrize("command", [each for each in commands(ROOT / "README.md") if each[0] in ("list", "show")])
def test_quick_commands_of_the_readme_run(command: list[str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "archscout", *command], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_recipes_exist(page: Path) -> None:
    known = recipe_names()
    named = re.findall(rf"`((?:{'|'.join(METHODS)})/[\w-]+)`", page.read_text())
    assert [each for each in named if each not in known] == []


def test_paths_that_the_changelog_gives_can_be_imported() -> None:
    rows = re.findall(r"^\| (`\w+\..*) \| (.*) \|$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert len(rows) > 10
    for _, now in rows:
        for module in re.findall(r"`([\w.]+)`", now):
            pkgutil.resolve_name(f"archscout.{module}")


def test_the_citation_file_names_papers_of_the_bibliography() -> None:
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    sources = (ROOT / "docs/sources.md").read_text()
    assert content["cff-version"] == "1.2.0"
    assert content["title"] == "archscout"
    assert {"message", "authors", "references"} <= set(content)
    for paper in content["references"]:
        assert paper["type"] == "article"
        if "doi" in paper:
            assert paper["doi"] in sources
            continue
        (number,) = re.findall(r"arXiv:(\d{4}\.\d{5})", paper["identifiers"][0]["value"])
        (row,) = re.findall(rf"^\| {number} \| .*$", sources, flags=re.MULTILINE)
        assert paper["title"] in row
        assert paper["authors"][0]["family-names"] in row


# -- docs/extending.md -------------------------------------------------------------------------------------------


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything of the page, registered for a while."""
    registries: tuple[Registry[object], ...] = (DRAWINGS, METHODS, READERS, TASKS, ZOO)  # type: ignore[assignment]
    before = [set(registry) for registry in registries]
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks("docs/extending.md"):
        exec(compile(block, "docs/extending.md", "exec"), vars(module))
    yield
    for registry, names in zip(registries, before, strict=True):
        for each in set(registry) - names:
            registry.unregister(each)


@pytest.mark.usefixtures("extended")
def test_what_the_page_on_extending_registers_works(tmp_path: Path) -> None:
    job = make_job("one-plus-one", "nasbench201", METHOD_CASES["local"], SPACE_CASES["nasbench201"])
    assert len(run_to_end(job)[1].candidates) > 1
    assert TASKS.get("stripes").description.startswith("Images of stripes")
    table = tmp_path / "waves.log"
    table.write_text("".join(f"{row % 2},{row},2,3,{row % 5},1,4\n" for row in range(60)))
    task = load_task(str(table))
    assert (task.spec.input_shape, task.spec.outputs, len(task.test)) == ((1, 6), 2, 12)
    drawing = DRAWINGS.get("my.widths")(SimpleNamespace(widths=(3, 5)), "auto")
    assert len(re.findall("<rect", drawing)) >= 2
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert load_zoo("mine").architecture.space == "nasbench201"


def test_the_page_on_extending_names_what_methods_need() -> None:
    page = (ROOT / "docs/extending.md").read_text()
    for method, entry in METHODS.items():
        for need in entry.requires:
            for protocol in getattr(need, "__args__", (need,)):
                (row,) = re.findall(rf"^\| .*`{protocol.__name__}`.* \| .* \| (.*) \|$", page, flags=re.MULTILINE)
                assert f"`{method}`" in row, f"{method} needs {protocol.__name__}"
