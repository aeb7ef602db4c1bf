"""A run is tied to its data: moved, changed, and resumed from another folder, with processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.tasks.images_on_disk import write_classes, write_image

SMALL = (
    *("--method", "random", "-q", "--device", "cpu"),
    *(f"--set={each}" for each in ("search.epochs=1", "search.ranking.candidates=2", "train.epochs=1")),
    *(f"--set={each}" for each in ("network.layers=3", "network.init_channels=4")),
    *(f"--set={each}" for each in ("supernet.layers=3", "supernet.init_channels=4", "export.formats=[torch]")),
)


def archscout(*arguments: object, cwd: Path, exits: int = 0) -> str:
    """Run a command in a process of its own; its output, without line breaks."""
    done = subprocess.run(
        [sys.executable, "-m", "archscout", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "ARCHSCOUT_WORKERS": "0", "COLUMNS": "400", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == exits, output
    assert "Traceback" not in output
    return output


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run `run`, stopped ones `searched` and `trained`, and their images `pets`."""
    folder = tmp_path_factory.mktemp("work")
    write_classes(folder / "pets", ("cat", "dog"), 20)
    archscout("run", "pets", "--out", "searched", *SMALL, "--until", "search", cwd=folder)
    for name, until in (("trained", "train"), ("run", "report")):
        shutil.copytree(folder / "searched", folder / name)
        archscout("resume", name, "--until", until, "-q", cwd=folder)
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    """A copy; its runs know the images by their path in this copy."""
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    for run in ("searched", "trained", "run"):
        for file in ("config.yaml", "data.json"):
            path = folder / run / file
            path.write_text(path.read_text().replace(str(finished), str(folder)))
    return folder


def test_splits_digests_and_findings_are_written(finished: Path) -> None:
    record = json.loads((finished / "run" / "data.json").read_text())
    assert record["path"] == str(finished / "pets")
    assert record["class_names"] == ["cat", "dog"]
    rows = (finished / "run" / "splits.csv").read_text().splitlines()
    assert rows[0] == "split,name,target,sha"
    assert len(rows) == 41
    assert sum(row.startswith("test,cat/") for row in rows) > 0
    result = json.loads((finished / "run" / "result.json").read_text())
    assert "small" in [finding["code"] for finding in result["findings"]]
    assert "the test split has only" in (finished / "run" / "report.html").read_text()
    assert yaml.safe_load((finished / "run" / "config.yaml").read_text())["settings"]["task"] == str(finished / "pets")


@pytest.mark.parametrize("run", ["searched", "trained", "run"])
def test_a_run_goes_on_from_another_folder(work: Path, tmp_path: Path, run: str) -> None:
    archscout("resume", work / run, "-q", cwd=tmp_path)
    assert (work / run / "report.html").is_file()


@pytest.mark.parametrize(("run", "command"), [("searched", "resume"), ("trained", "evaluate"), ("run", "report")])
def test_data_that_has_moved_is_asked_for_and_accepted_where_it_is_the_same(work: Path, run: str, command: str) -> None:
    (work / "pets").rename(work / "elsewhere")
    told = archscout(command, run, cwd=work, exits=2)
    assert f"the data of {run} is not there any more: {work / 'pets'} does not exist" in told
    assert f"archscout resume {run} --task PATH" in told
    archscout(command, run, "--task", "elsewhere", cwd=work)
    archscout("resume", run, "-q", cwd=work)
    assert json.loads((work / run / "data.json").read_text())["path"] == str(work / "elsewhere")


@pytest.mark.parametrize(("run", "command"), [("searched", "resume"), ("trained", "evaluate"), ("run", "resume")])
def test_added_files_are_refused_at_every_stage(work: Path, run: str, command: str) -> None:
    for number in range(3):
        write_image(work / "pets" / "cat" / f"new{number}.png", seed=900 + number)
    told = archscout(command, run, cwd=work, exits=2)
    assert (
        f"the data is not what {run} was started with: 3 samples added: cat/new0.png, cat/new1.png, cat/new2.png"
        in told
    )
    assert f"archscout resume {run} --accept-data-change" in told


def test_a_renamed_class_a_changed_file_and_other_data_are_told(work: Path) -> None:
    write_image(work / "pets" / "cat" / "003.png", seed=901)
    assert "1 sample of other content: cat/003.png" in archscout("evaluate", "trained", cwd=work, exits=2)
    (work / "pets" / "dog").rename(work / "pets" / "wolf")
    told = archscout("evaluate", "trained", cwd=work, exits=2)
    assert "no class is called 'dog' any more; new classes: 'wolf'" in told
    told = archscout("resume", "trained", "--task", "nowhere", cwd=work, exits=2)
    assert "nowhere does not exist" in told


def test_changed_data_is_accepted_by_starting_what_depends_on_it_again(work: Path) -> None:
    write_image(work / "pets" / "cat" / "new.png", seed=902)
    before = (work / "run" / "result.json").read_bytes()
    archscout("resume", "run", "--accept-data-change", "-q", cwd=work)
    assert (work / "run" / "result.json").read_bytes() != before
    assert "cat/new.png" in (work / "run" / "splits.csv").read_text()
    told = archscout("resume", "run", "-q", cwd=work)
    assert "Report:" in told


def test_a_change_of_the_test_split_alone_evaluates_again(work: Path) -> None:
    rows = [row.split(",") for row in (work / "run" / "splits.csv").read_text().splitlines()]
    name = next(name for part, name, *_ in rows if part == "test")
    write_image(work / "pets" / name, seed=903)
    weights = load_file(work / "run" / "model.safetensors")
    archscout("resume", "run", "--accept-data-change", "-q", cwd=work)
    again = load_file(work / "run" / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    digests = json.loads((work / "run" / "model.json").read_text())["data"]
    assert digests == json.loads((work / "run" / "result.json").read_text())["splits"]
    assert (work / "run" / "report.html").is_file()
