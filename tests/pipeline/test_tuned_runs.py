"""Runs with a tuning: what it hands to the final training, what it leaves behind, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import archscout
from archscout.errors import SettingsError
from archscout.pipeline.run import Run
from archscout.state import read_state
from tests.toys import SPEC, TOY_METHOD, ToySpace, registered_toys

TOY = [
    "search.tries=2",
    "train.epochs=2",
    "train.batch_size=8",
    "train.cutout=0",
    "train.optimizer.lr=0.5",
    "export.formats=[torch]",
    "tuning.epochs=4",
    "tuning.workers=1",  # the toys are not registered in other processes
    "tuning.parameters={optimizer.lr: [0.1, 0.01], optimizer.momentum: [0.0, 0.9]}",
]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "toy"
    with registered_toys():
        values = {"space": ToySpace.name}
        return archscout.run(SPEC.name, method=TOY_METHOD.name, values=values, overrides=TOY, out=out)


def test_tuning_is_a_stage_between_the_search_and_the_training(tuned: Run) -> None:
    with registered_toys():
        assert tuned.stage_names() == ["search", "tuning", "train", "evaluate", "export", "report"]
        assert tuned.pending() == []


def test_the_tuned_settings_reach_the_training_and_are_shown(tuned: Run) -> None:
    chosen = tuned.training["optimizer"]
    assert chosen["lr"] in (0.1, 0.01)
    with registered_toys():
        assert tuned.train_settings.optimizer.lr == chosen["lr"]
        assert tuned.train_settings.epochs == 2
        assert tuned.settings.train.optimizer.lr == 0.5  # as the run was started
    rates = {row["learning_rate"] for row in tuned.metrics("train")}
    assert max(rates) == pytest.approx(chosen["lr"])
    html = (tuned.directory.path / "report.html").read_text()
    assert "Tuning of the final training" in html
    assert "optimizer.momentum" in html


def test_the_training_begins_with_the_weights_of_the_trials(tuned: Run) -> None:
    weights = read_state(tuned.directory.path / "initial.safetensors")
    with registered_toys(), tuned.engine.seeded(0, "network"):
        network = tuned.space.build(tuned.architecture, tuned.task.spec, tuned.settings.network)
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())


def test_every_trial_is_on_record(tuned: Run) -> None:
    facts = tuned.search_facts["tuning"]["tuning"]
    assert facts["configurations"] == 4
    assert [each["number"] for each in facts["each"]] == list(range(len(facts["each"])))
    assert (tuned.directory.path / "tuning.db").is_file()


def test_a_given_architecture_can_be_tuned_too_up_to_a_stage(tmp_path: Path) -> None:
    with registered_toys():
        overrides = [text for text in TOY if not text.startswith("search.")]
        run = archscout.train(tuned_widths(), task=SPEC.name, overrides=overrides, out=tmp_path / "run", until="tuning")
        assert run.stage_names()[:2] == ["tuning", "train"]
        assert run.pending()[0] == "train"


def tuned_widths() -> Any:
    from tests.toys import Widths

    return Widths((4,))


def test_wrong_parameters_are_told_before_a_folder_is_made(tmp_path: Path) -> None:
    with registered_toys(), pytest.raises(SettingsError, match=r"tuning\.parameters, optimizer\.rate"):
        archscout.run(
            SPEC.name,
            method=TOY_METHOD.name,
            values={"space": ToySpace.name},
            overrides=["tuning.parameters={optimizer.rate: [1]}"],
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


# -- killed and resumed ------------------------------------------------------------------------------------------

DIGITS = [
    "network={init_channels: 4, layers: 3}",
    "tuning.epochs=3",
    "tuning.epoch_share=0.1",
    "tuning.workers=1",
    "tuning.parameters={optimizer.lr: [0.1, 0.01], drop_path: [0.0, 0.3]}",
    "train.epochs=1",
    "train.batch_size=128",
    "evaluate.latency_batch_sizes=[1]",
    "threads=1",
]


def command(out: Path) -> list[str]:
    settings = [part for text in DIGITS for part in ("--set", text)]
    return [sys.executable, "-m", "archscout", "train", "darts_v2", "--task", "digits", "--out", str(out), *settings]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_killed_while_tuning_ends_byte_for_byte_equal(tmp_path: Path, number: int) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    subprocess.run(command(undisturbed), check=True, capture_output=True)
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log, deadline = out / "metrics.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and len(log.read_bytes().splitlines()) >= 4:
            os.kill(process.pid, number)
            break
        time.sleep(0.01)
    process.wait()
    resume = [sys.executable, "-m", "archscout", "resume", str(out), "--until", "train"]
    subprocess.run(resume, check=True, capture_output=True)
    for name in ("training.json", "initial.safetensors", "model.safetensors"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    facts = [json.loads((folder / "search.json").read_text()) for folder in (undisturbed, out)]
    assert facts[0] == facts[1]
