"""Every script of `examples/` runs as it stands, and the method of one's own does what every method must."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from archscout.methods import METHODS
from archscout.testing import SPACE_CASES, MethodCase, MethodConformance

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SAYS = {  # what a script ends with, beside its numbers
    "compare_runs": "runs/random/report.html",
    "own_data": "is taken for",
    "own_method": "accuracy",
    "own_network": "Net: accuracy",
}


@pytest.fixture
def methods() -> Iterator[None]:
    """Takes away what a script registers."""
    before = set(METHODS)
    yield
    for name in set(METHODS) - before:
        METHODS.unregister(name)


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_scripts_run(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert SAYS[script.stem] in capsys.readouterr().out.splitlines()[-1]
    assert list(tmp_path.glob("runs/*/report.html"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebooks_run(notebook: Path, tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    program = tmp_path / "cells.py"
    program.write_text("\n".join("".join(cell["source"]) for cell in cells))
    ended = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    accuracy = re.search(r"^accuracy (0\.\d+)$", ended.stdout, flags=re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.8
    assert ended.stdout.splitlines()[-1] == "digits.safetensors"


def test_the_page_lists_every_script() -> None:
    page = (ROOT / "examples/README.md").read_text()
    assert [script.name for script in (*SCRIPTS, *NOTEBOOKS) if f"({script.name})" not in page] == []


def test_the_docs_show_the_method_as_it_is() -> None:
    text = (ROOT / "examples/own_method.py").read_text()
    assert f"```python\n{text}```" in (ROOT / "docs/extending.md").read_text()
    assert len(text.splitlines()) < 80


def test_an_installed_package_brings_the_method(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/own_method.py", tmp_path / "halving.py")
    facts = tmp_path / "halving-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: halving\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[archscout.plugins]\nmine = halving\n")
    program = (
        "from archscout.pipeline.config import resolve_settings\n"
        "print(resolve_settings('digits', method='halving').search)"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert ended.stdout.startswith("architectures=16"), ended.stderr


@pytest.mark.usefixtures("methods")
class TestHalving(MethodConformance):
    method = "halving"
    case = MethodCase({"architectures": 3, "epochs": 1, "child": {"batch_size": 10}})
    spaces: ClassVar = {name: SPACE_CASES[name] for name in ("backbones", "nasbench201", "recurrent")}

    @pytest.fixture(autouse=True)
    def registered(self, methods: None) -> None:
        runpy.run_path(str(ROOT / "examples/own_method.py"))
