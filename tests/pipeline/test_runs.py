"""Whole runs: from a task to a report, killed and resumed, in Python and with toys registered from outside."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import archscout
from archscout.errors import DataError, RunError, SettingsError, SpaceError
from archscout.pipeline.artifacts import load_network
from archscout.pipeline.run import Run
from archscout.spaces import CellGenotype
from tests.toys import SPEC, TOY_METHOD, ToySpace, registered_toys, toy_task

QUICK = [
    "supernet.init_channels=4",
    "supernet.layers=3",
    "network.init_channels=4",
    "network.layers=3",
    "search.epochs=1",
    "search.child.batch_size=128",
    "search.policy.architectures_per_step=2",
    "search.ranking.candidates=4",
    "search.ranking.limits.max_parameters=null",
    "train.epochs=1",
    "train.batch_size=128",
    "evaluate.latency_batch_sizes=[1]",
    "export.formats=[torch]",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return archscout.run("digits", out=tmp_path_factory.mktemp("runs") / "digits", overrides=QUICK)


def test_a_run_leaves_everything_the_documentation_names(finished: Run) -> None:
    names = {path.name for path in finished.directory.path.iterdir()}
    assert names >= {
        "config.yaml",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "architecture.json",
        "candidates.jsonl",
        "model.safetensors",
        "result.json",
        "export",
        "report.html",
    }
    assert finished.pending() == []


def test_the_result_states_the_split_of_its_numbers(finished: Run) -> None:
    result = finished.result
    assert result["test"]["samples"] == 300
    assert 0 <= result["test"]["accuracy"] <= 1
    assert result["trained_on"] == {"split": "development", "samples": 1497}
    assert result["seed"] == 0


def test_the_found_network_is_a_plain_module_with_the_stated_size(finished: Run) -> None:
    model = finished.model()
    assert sum(parameter.numel() for parameter in model.parameters()) == finished.result["parameters"]
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert isinstance(finished.architecture, CellGenotype)


def test_the_report_is_one_file_with_the_chosen_cells(finished: Run) -> None:
    html = (finished.directory.path / "report.html").read_text()
    assert "<svg" in html
    assert f"{finished.result['parameters']:,}" in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_repeating_a_run_with_the_same_folder_does_nothing_again(finished: Run) -> None:
    before = (finished.directory.path / "model.safetensors").stat().st_mtime_ns
    again = archscout.run("digits", out=finished.directory.path, overrides=QUICK)
    assert (again.directory.path / "model.safetensors").stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused(finished: Run) -> None:
    with pytest.raises(RunError, match=r"started with other settings \(seed: 0 then, 1 now\)"):
        archscout.run("digits", out=finished.directory.path, overrides=[*QUICK, "seed=1"])


def test_a_moved_run_still_works(finished: Run, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(finished.directory.path, moved)
    assert archscout.load_run(moved).model()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert archscout.report(moved, compare=[finished.directory.path]).is_file()


def test_the_given_architecture_is_trained_without_a_search(tmp_path: Path) -> None:
    overrides = ["network.init_channels=4", "network.layers=3", "train.epochs=1", "train.batch_size=256"]
    run = archscout.train("darts_v2", task="digits", out=tmp_path / "run", overrides=overrides)
    assert run.stage_names() == ["train", "evaluate", "export", "report"]
    assert run.architecture == archscout.load_architecture("darts_v2")
    assert run.pending()[0] == "evaluate"


def test_toys_registered_from_outside_run_like_everything_else(tmp_path: Path) -> None:
    with registered_toys():
        values = {"space": ToySpace.name}
        overrides = [
            "search.tries=3",
            "train.epochs=2",
            "train.batch_size=8",
            "train.cutout=0",
            "export.formats=[torch]",
        ]
        run = archscout.run(SPEC.name, method=TOY_METHOD.name, values=values, overrides=overrides, out=tmp_path / "run")
        assert len(run.candidates()) == 3
        assert run.model()(torch.zeros(2, 4)).shape == (2, 3)
        assert "hidden layers" in (run.directory.path / "report.html").read_text()
        assert Run.open(run.directory.path).result["task"] == SPEC.name


def test_a_task_object_of_the_callers_own(tmp_path: Path) -> None:
    with registered_toys():
        run = archscout.search(
            toy_task(Path()), method=TOY_METHOD.name, values={"space": ToySpace.name}, out=tmp_path / "run"
        )
        assert run.pending()[0] == "train"


def test_a_method_that_needs_more_than_the_space_has_is_refused(tmp_path: Path) -> None:
    with registered_toys(), pytest.raises(SpaceError, match="WeightSharing"):
        archscout.run(SPEC.name, method="ednas", values={"space": ToySpace.name}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arrays_become_a_network(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = (labels[:, None, None] * 80 + draw.integers(0, 40, (60, 12, 12))).astype(np.uint8)
    file = tmp_path / "mine.npz"
    np.savez(file, x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    overrides = [text for text in QUICK if "batch_size=128" not in text]
    overrides += ["search.child.batch_size=8", "train.batch_size=8"]
    run = archscout.run(str(file), overrides=overrides, out=tmp_path / "run")
    assert run.model()(torch.zeros(1, 1, 12, 12)).shape == (1, 3)


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_pickle_is_refused_where_weights_are_expected(tmp_path: Path) -> None:
    bomb = tmp_path / "model.safetensors"
    torch.save({"a": torch.zeros(1)}, bomb)
    with pytest.raises(DataError, match=r"is no safetensors file .* --weights FILE"):
        load_network(bomb)


def test_tensors_of_somebody_else_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="no network that archscout wrote"):
        load_network(tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="does not exist"):
        load_network(tmp_path / "missing.safetensors")


def test_a_folder_with_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(RunError, match="exists and is no run directory"):
        archscout.run("digits", out=tmp_path, overrides=QUICK)
    with pytest.raises(SettingsError, match="unknown stage"):
        archscout.run("digits", out=tmp_path / "new", overrides=QUICK, until="fly")


# -- killed and resumed --------------------------------------------------------------------------------------------

KILLED = [*QUICK, "checkpoint_seconds=0", "threads=1"]


def command(out: Path) -> list[str]:
    settings = [part for text in KILLED for part in ("--set", text)]
    return [sys.executable, "-m", "archscout", "run", "digits", "--out", str(out), "--quiet", *settings]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run(command(out), check=True, capture_output=True)
    return out


@pytest.fixture
def moments() -> Iterator[random.Random]:
    yield random.Random(7)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_killed_at_random_moments_ends_byte_for_byte_equal(
    undisturbed: Path, tmp_path: Path, number: int, moments: random.Random
) -> None:
    out = tmp_path / "run"
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_steps(out, process, moments.randint(1, 4))
        time.sleep(moments.random() * 0.3)
        if process.poll() is None:
            os.kill(process.pid, number)
            kills += 1
        process.wait()
    final = subprocess.run(
        [sys.executable, "-m", "archscout", "resume", str(out), "--quiet"], capture_output=True, text=True, check=False
    )
    assert final.returncode == 0, final.stderr
    assert kills > 0
    for name in ("architecture.json", "model.safetensors"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (out, undisturbed))
    assert ours["test"] == theirs["test"]


def wait_for_steps(out: Path, process: subprocess.Popen[Any], count: int) -> None:
    """Wait until the process has logged so many steps, or has ended."""
    log = out / "metrics.jsonl"
    start = len(log.read_bytes().splitlines()) if log.exists() else 0
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and len(log.read_bytes().splitlines()) >= start + count:
            return
        time.sleep(0.01)
