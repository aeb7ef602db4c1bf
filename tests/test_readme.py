"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    accuracy, parameters = capsys.readouterr().out.split()
    assert 0 <= float(accuracy) <= 1
    assert int(parameters) < 300_000


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/runs.md",
        "docs/tasks.md",
        "docs/architecture.md",
        "docs/methods/ddarts.md",
        "docs/methods/darts.md",
        "docs/methods/ednas.md",
        "docs/methods/once-for-all.md",
        "docs/methods/pdarts.md",
        "docs/methods/random.md",
        "docs/methods/dsm.md",
    ],
)
def test_recipes_exist(page: str) -> None:
    from archscout.recipes import recipe_names

    text = (ROOT / page).read_text()
    for name in re.findall(r"`((?:ednas|once-for-all|random|darts|fairdarts|ddarts|dartopti)/[\w-]+)`", text):
        assert name in recipe_names(), name
