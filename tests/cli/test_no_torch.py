"""What only tells something answers at once: it imports no torch, which takes longer than all the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from archscout.catalog import FAMILIES, METHODS, SPACES, TASKS, ZOO
from archscout.cli import app
from archscout.cli.listing import Kind
from archscout.registry import Registry, line_of

PROGRAM = """
import sys
from typer.testing import CliRunner
from archscout.cli import app

for line in sys.stdin:
    words = line.split()
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    heavy = {"torch", "numpy", "scipy", "sklearn"} & set(sys.modules)
    if done.exit_code or heavy:
        sys.exit(f"{words}: exit code {done.exit_code}, imported {heavy}")
"""


def commands(group: typer.core.TyperGroup, *names: str) -> list[str]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found += commands(command, *names, name)
        found.append(" ".join([*names, name]))
    return found


def test_help_list_and_status_import_no_torch(tmp_path: Path) -> None:
    stages = {"stages": ["search", "train"], "settings": {}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stages))
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    verbs = commands(group)
    assert {"run", "list", "data fetch", "table query"} < set(verbs)
    lines = ["--help", *(f"{verb} --help" for verb in verbs), *(f"list {kind}" for kind in Kind), f"status {tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_completion_imports_no_torch() -> None:
    program = (
        "import sys\nfrom archscout.cli import main\nsys.argv = ['archscout']\n"
        "try: main()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "_ARCHSCOUT_COMPLETE": "complete_bash",
            "COMP_WORDS": "archscout list me",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr.split()) == (["methods"], ["False"])


@pytest.mark.parametrize("registry", [METHODS, SPACES, TASKS, ZOO], ids=lambda registry: str(registry.noun))
def test_the_catalog_says_of_each_registered_thing_what_it_says_itself(registry: Registry[object]) -> None:
    assert dict(registry.lines()) == {name: line_of(entry) for name, entry in registry.items()}


def test_the_catalog_shows_families_of_tasks_by_their_form() -> None:
    assert dict(FAMILIES.lines()) == {family.form: line_of(family) for _, family in FAMILIES.items()}
