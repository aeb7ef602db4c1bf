"""D2NAS as a whole: its stages in one run, each on its own, and what goes from one to the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import archscout
from archscout.errors import SettingsError
from archscout.pipeline.run import Run
from archscout.spaces import CellGenotype
from archscout.spaces.kernels.pattern import KernelPattern
from archscout.tasks import Split, load_task

OVERRIDES = [
    "cells.stages=[{layers: 2, init_channels: 4}, {layers: 2, init_channels: 4}]",
    "cells.epochs=2",
    "cells.warmup_epochs=1",
    "cells.batch_size=20",
    "kernels.epochs=2",
    "kernels.batch_size=20",
    "kernels.kernel_sizes=[3, 5]",
    "kernels.dilations=[1, 3]",
    "supernet.init_channels=4",
    "network.init_channels=6",
    "tuning.epochs=2",
    "tuning.workers=1",
    "tuning.parameters={optimizer.lr: [0.1, 0.01], optimizer.weight_decay: [0.0005], optimizer.momentum: [0.9]}",
    "train.epochs=1",
    "train.batch_size=20",
    "evaluate.latency_batch_sizes=[1]",
    "export.formats=[torch]",
]


def small_digits() -> archscout.Task:
    task = load_task("digits")
    sizes = {"train": 60, "validation": 40, "test": 40}
    parts = {name: Split(task.split(name).source, task.split(name).indices[:size]) for name, size in sizes.items()}
    return archscout.Task(**{**vars(task), **parts})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "d2nas"
    return archscout.run(small_digits(), method="d2nas", recipe="digits", overrides=OVERRIDES, out=out)


def test_four_stages_stand_in_one_run(run: Run) -> None:
    assert run.stage_names() == ["cells", "kernels", "tuning", "train", "evaluate", "export", "report"]
    assert run.pending() == []
    assert [bool(run.metrics(stage)) for stage in run.stage_names()[:4]] == [True] * 4


def test_the_pattern_has_a_kernel_for_every_convolution(run: Run) -> None:
    pattern = run.architecture
    assert isinstance(pattern, KernelPattern)
    assert isinstance(pattern.base, CellGenotype)
    names = run.space.kernel_layers(run.space.build(pattern, run.task.spec, run.settings.network))  # type: ignore[attr-defined]
    assert len(pattern.kernels) >= len(names)  # kernels that are cut to one pixel take no other
    assert len(run.search_facts["kernels"]["convolutions"]) == len(pattern.kernels)


def test_the_network_of_the_kernel_search_has_a_width_of_its_own(run: Run) -> None:
    assert (run.settings.supernet.init_channels, run.settings.network.init_channels) == (4, 6)
    assert run.model()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_the_report_shows_cells_kernels_and_trials(run: Run) -> None:
    html = (run.directory.path / "report.html").read_text()
    for part in ("Kernels", "Curves: cells", "Curves: kernels", "Tuning of the final training"):
        assert part in html


def test_stages_can_be_run_one_by_one_with_the_same_outcome(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "stepwise"
    for stage in ("cells", "kernels", "tuning", "train"):
        stepwise = archscout.run(
            small_digits(), method="d2nas", recipe="digits", overrides=OVERRIDES, out=out, until=stage
        )
        assert stepwise.directory.complete(stage)
    for name in ("architecture.json", "training.json"):
        assert (out / name).read_bytes() == (run.directory.path / name).read_bytes(), name
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, run.directory.path))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    records = [json.loads(line) for line in (out / "candidates.jsonl").read_text().splitlines()]
    assert {record["stage"] for record in records} == {"cells", "kernels"}


def test_a_split_of_the_cells_alone_is_refused(tmp_path: Path) -> None:
    overrides = [*OVERRIDES, "cells.validation_fraction=0.3"]
    with pytest.raises(SettingsError, match=r"set search\.validation_fraction"):
        archscout.run(small_digits(), method="d2nas", recipe="digits", overrides=overrides, out=tmp_path / "run")
