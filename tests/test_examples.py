"""Every script of `examples/` runs as it stands, and the method of one's own does what every method must."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from archscout.methods import METHODS
from archscout.testing import SPACE_CASES, MethodCase, MethodConformance

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
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


def test_the_page_lists_every_script() -> None:
    page = (ROOT / "examples/README.md").read_text()
    assert [script.name for script in SCRIPTS if f"({script.name})" not in page] == []


def test_the_docs_show_the_method_as_it_is() -> None:
    text = (ROOT / "examples/own_method.py").read_text()
    assert f"```python\n{text}```" in (ROOT / "docs/extending.md").read_text()
    assert len(text.splitlines()) < 80


@pytest.mark.usefixtures("methods")
class TestHalving(MethodConformance):
    method = "halving"
    case = MethodCase({"architectures": 3, "epochs": 1, "child": {"batch_size": 10}})
    spaces: ClassVar = {name: SPACE_CASES[name] for name in ("backbones", "nasbench201", "recurrent")}

    @pytest.fixture(autouse=True)
    def registered(self, methods: None) -> None:
        runpy.run_path(str(ROOT / "examples/own_method.py"))
