"""What `archscout estimate` computes: sizes by one forward pass each on shapes, times by a few steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from archscout.jobs import Metrics
from archscout.pipeline import estimate
from archscout.pipeline.config import resolve_settings
from archscout.pipeline.run import Run
from archscout.rundir import RunDirectory
from archscout.spaces.cells.network import CellNetwork
from archscout.training.job import TrainingJob

SMALL = [
    "supernet.layers=3",
    "supernet.init_channels=4",
    "network.layers=3",
    "network.init_channels=4",
    "search.policy.architectures_per_step=2",
    "train.batch_size=32",
]


def small_run(path: Path, *overrides: str) -> Run:
    return Run(RunDirectory(path / "none"), resolve_settings("digits", overrides=[*SMALL, *overrides]))


def test_each_size_takes_one_forward_pass_on_shapes(tmp_path: Path) -> None:
    devices: Counter[str] = Counter()

    def count(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, CellNetwork):
            devices[args[0].device.type] += 1

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        estimate.estimate_run(small_run(tmp_path))
    finally:
        handle.remove()
    assert devices["meta"] <= estimate.SAMPLES + 2
    assert devices["cpu"] == 2  # steps of the final training: the first epochs have no validation


def test_the_training_is_measured_in_two_steps_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []
    run = TrainingJob.run

    def counted(job: TrainingJob) -> Iterator[Metrics]:
        for metrics in run(job):
            steps.append(metrics["steps"])
            yield metrics

    monkeypatch.setattr(TrainingJob, "run", counted)
    found = estimate.estimate_run(small_run(tmp_path, "train.epochs=20"))
    assert steps == [1.0, 1.0]
    (train,) = (stage for stage in found.stages if stage.name == "train")
    assert train.seconds_total > 100 * train.seconds_per_step  # 20 epochs of 37 steps


def test_an_estimate_leaves_no_epoch_out_where_there_is_only_one(tmp_path: Path) -> None:
    found = estimate.estimate_run(small_run(tmp_path, "train.epochs=1"))
    assert all(stage.seconds_total > 0 for stage in found.stages)
