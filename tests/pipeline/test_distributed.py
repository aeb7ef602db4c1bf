"""Two processes started by `torchrun`: equal weights, averaged gradients, one run directory, resume."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from archscout.engine import Engine
from tests.pipeline import distributed_program

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "supernet.init_channels=4",
    "supernet.layers=3",
    "network.init_channels=4",
    "network.layers=3",
    "search.epochs=2",
    "search.child.batch_size=64",
    "search.policy.architectures_per_step=2",
    "search.ranking.candidates=5",
    "search.ranking.group=2",
    "search.ranking.limits.max_parameters=null",
    "train.epochs=2",
    "train.batch_size=64",
    "evaluate.latency_batch_sizes=[1]",
    "export.formats=[torch]",
    "checkpoint_seconds=0",
    "threads=1",
]


def launch(processes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in so many processes that know of each other."""
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *starter, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
        )
        # About once in 75 launches a process of torch 2.13 aborts while it exits, when its work is done and written.
        if "terminate called without an active exception" not in done.stderr:
            break
    return done


def run(processes: int, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    overrides = [part for text in (*SETTINGS, *more) for part in ("--set", text)]
    return launch(processes, "-m", "archscout", "run", "digits", "--out", out, "--device", "cpu", *overrides)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where each of two processes wrote down its weights."""
    folder = tmp_path_factory.mktemp("states")
    done = launch(2, "-m", "tests.pipeline.distributed_program", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "two"
    done = run(2, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1, done.stdout
    assert done.stderr.count("2 processes, seed 0") == 1, done.stderr
    return out


@pytest.mark.parametrize("what", ["plain", "cells", "texts"])
def test_weights_and_running_statistics_are_equal_in_both_processes(states: Path, what: str) -> None:
    first, second = (load_file(states / f"{what}-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_text_goes_on_from_the_hidden_states_of_all_processes(states: Path) -> None:
    tensors = load_file(states / "texts-1.safetensors")
    names = [name.removeprefix("resumed.") for name in tensors if name.startswith("resumed.")]
    assert names
    for name in names:
        assert torch.equal(tensors[f"undisturbed.{name}"], tensors[f"resumed.{name}"]), name


def test_two_halves_of_a_batch_are_worth_the_whole_in_one_process(states: Path) -> None:
    whole = distributed_program.plain(Engine(torch.device("cpu")))
    halves = load_file(states / "plain-0.safetensors")
    for name, tensor in whole.items():
        assert torch.allclose(tensor, halves[name], rtol=1e-4, atol=1e-5), name


def test_two_processes_make_one_run(finished: Path) -> None:
    assert [path.name for path in finished.parent.iterdir()] == [finished.name]
    assert len(list(finished.glob("*.html"))) == 1
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for stage in ("search", "train"):
        steps = [line["step"] for line in lines if line["stage"] == stage]
        assert steps == list(range(1, len(steps) + 1)), stage
    assert len((finished / "candidates.jsonl").read_text().splitlines()) == 5
    for folder in (finished / "tensorboard").glob("*"):
        assert len(list(folder.iterdir())) == 1, folder
    result = json.loads((finished / "result.json").read_text())
    assert result["test"]["samples"] == 300
    assert "2 processes" in result["device"]


@pytest.mark.slow
def test_metrics_of_choice_wait_for_no_other_process(tmp_path: Path) -> None:
    out = tmp_path / "chosen"
    done = run(2, out, "metric=balanced_accuracy", "metrics=auroc,kappa", "sampling=balanced", "train.epochs=1")
    assert done.returncode == 0, done.stderr
    test = json.loads((out / "result.json").read_text())["test"]
    assert {"balanced_accuracy", "auroc", "kappa", "accuracy"} <= set(test)


@pytest.mark.slow
def test_a_run_stopped_in_its_search_ends_byte_for_byte_equal(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped = run(2, out, "time_limit_minutes=0.0001")
    assert stopped.returncode != 0
    assert f"stopped by the time limit after step 1 of search; nothing is lost. Go on: archscout resume {out}" in (
        stopped.stderr
    )
    again = run(2, out)
    assert again.returncode == 0, again.stderr
    assert "search: goes on after step 1" in again.stderr
    assert_equal_results(out, finished)


@pytest.mark.slow
def test_a_run_killed_in_its_training_ends_byte_for_byte_equal(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for name in ("model.safetensors", "result.json"):
        (out / name).unlink()
    shutil.rmtree(out / "checkpoints" / "train-00000002")
    stages = json.loads((out / "stages.json").read_text())
    (out / "stages.json").write_text(json.dumps({"search": stages["search"]}))
    alone = launch(1, "-m", "archscout", "resume", out)
    assert "the saved place is that of 2 processes, but 1 run now" in alone.stderr
    again = launch(2, "-m", "archscout", "resume", out)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("train: goes on after step 1") == 1
    assert_equal_results(out, finished)


def assert_equal_results(out: Path, other: Path) -> None:
    for name in ("architecture.json", "model.safetensors"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name
    results = [json.loads((folder / "result.json").read_text()) for folder in (out, other)]
    assert results[0]["test"] == results[1]["test"]
