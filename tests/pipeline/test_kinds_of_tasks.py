"""Series, dense and multilabel tasks through all stages of a run, with a toy space of convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout import api
from archscout.errors import SettingsError
from archscout.pipeline.config import resolve_settings
from archscout.pipeline.estimate import estimate_run
from archscout.pipeline.run import Run
from archscout.rundir import RunDirectory
from archscout.spaces import ARCHITECTURES, SPACES
from archscout.tasks import Task, TaskSpec, load_task
from archscout.tasks.checks import DataSummary, check_task
from tests.toys import TOY_METHOD, ToySize, ToySpace, Widths, registered_toys


class Channels(Widths):
    """The channels of inner convolutions."""

    format: ClassVar[str] = "toy.channels"
    space: ClassVar[str] = "toy-convolutions"


class Convolutions(nn.Module):
    """Two convolutions; classes and labels are read from the mean over positions."""

    def __init__(self, spec: TaskSpec, channels: int) -> None:
        super().__init__()
        layer = nn.Conv1d if len(spec.input_shape) == 2 else nn.Conv2d
        self.first = layer(spec.input_shape[0], channels, 3, padding=1)
        self.last = layer(channels, spec.outputs, 1)
        self.dense = spec.kind == "dense"

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.relu(self.first(inputs)))
        return outputs if self.dense else outputs.flatten(2).mean(2)


class ConvolutionSpace(ToySpace):
    """Convolutions of searched width, for inputs of one or two dimensions."""

    name: ClassVar[str] = "toy-convolutions"

    def check(self, spec: TaskSpec) -> None:
        pass

    def random(self, draw: Random) -> Widths:
        return Channels((draw.randint(1, self.options.widest),))

    def build(self, architecture: Widths, spec: TaskSpec, size: ToySize) -> nn.Module:
        return Convolutions(spec, architecture.widths[0])

    def extremes(self, spec: TaskSpec, size: ToySize) -> tuple[Widths, Widths]:
        return Channels((1,)), Channels((self.options.widest,))


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with registered_toys():
        ARCHITECTURES.register(Channels.format)(Channels)
        SPACES.register(ConvolutionSpace.name)(ConvolutionSpace)
        yield
        ARCHITECTURES.unregister(Channels.format)
        SPACES.unregister(ConvolutionSpace.name)


DRAW = np.random.default_rng(0)


def labels_of_series() -> Task:
    x = {f"x_{part}": DRAW.normal(size=(count, 2, 16)) for part, count in (("train", 40), ("test", 12))}
    y = {f"y_{part}": DRAW.integers(0, 2, (count, 3)) for part, count in (("train", 40), ("test", 12))}
    return Task.from_arrays(**x, **y, name="several")


def make(kind: str, folder: Path) -> tuple[str | Task, Task]:
    """What a user gives, and the task."""
    if kind == "dense":
        name = "darcy-generated:resolution=8,samples=40"
        return name, load_task(name, folder)
    if kind == "dense series":
        x = {f"x_{part}": DRAW.normal(size=(count, 2, 16)) for part, count in (("train", 40), ("test", 12))}
        task = Task.from_arrays(**x, y_train=x["x_train"][:, :1], y_test=x["x_test"][:, :1], name="denoise")
        return task, task
    if kind == "multilabel":
        task = labels_of_series()
        return task, task
    lines = [f"{i % 3},1,{i % 5},2,1:{'a' if i % 2 else 'b'}\n" for i in range(40)]
    for part, some in (("TRAIN", lines), ("TEST", lines[:10])):
        (folder / f"Toy_{part}.ts").write_text("@classLabel true a b\n@data\n" + "".join(some))
    return str(folder / "Toy_TRAIN.ts"), load_task(str(folder / "Toy_TRAIN.ts"))


OVERRIDES = [
    "train.epochs=2",
    "train.batch_size=8",
    "train.drop_path=0",
    "train.split=train",
    "export.formats=[torch]",
    "evaluate.latency_batch_sizes=[1]",
]


@pytest.mark.parametrize(
    ("kind", "metric", "lower"),
    [
        ("dense", "relative_l2", True),
        ("dense series", "relative_l2", True),
        ("multilabel", "mean_average_precision", False),
        ("series", "accuracy", False),
    ],
)
def test_a_run_from_search_to_report(tmp_path: Path, kind: str, metric: str, lower: bool) -> None:
    given, task = make(kind, tmp_path)
    values = {"space": ConvolutionSpace.name, "data": str(tmp_path), "device": "cpu"}
    run = api.run(given, method=TOY_METHOD.name, values=values, overrides=OVERRIDES, out=tmp_path / "run")
    assert run.pending() == []
    assert run.result["metric"] == metric
    assert np.isfinite(run.result["test"][metric])
    assert run.result["splits"] == task.split_digests()
    rows = run.metrics("train")
    assert f"train_{metric}" in rows[0]
    assert f"validation_{metric}" in rows[-1]
    report = (tmp_path / "run" / "report.html").read_text()
    assert ("lower is better" in report) == lower
    words = report.lower().replace("top-1 accuracy", "")
    assert ("accuracy" in words) == (metric == "accuracy")
    summary = check_task(task)
    assert isinstance(summary, DataSummary)
    assert summary.lines()[0] == f"{task.name}: {task.spec.describe()}"
    assert bool(summary.targets) == (task.spec.kind == "dense")
    assert bool(summary.splits[0].class_counts) == (task.spec.kind != "dense")


def test_what_a_run_will_cost(tmp_path: Path) -> None:
    given, _ = make("dense", tmp_path)
    assert isinstance(given, str)
    settings = resolve_settings(
        given,
        method=TOY_METHOD.name,
        values={"space": ConvolutionSpace.name, "data": str(tmp_path), "device": "cpu"},
        overrides=OVERRIDES,
    )
    found = estimate_run(Run(RunDirectory(tmp_path / "none"), settings))
    assert found.largest.madds == 8 * 8 * (9 * 3 * 8 + 8)
    assert found.stages[-1].name == "train"


@pytest.mark.parametrize("kind", ["dense", "series"])
@pytest.mark.parametrize("setting", ["train.cutout=4", "train.color_jitter={brightness: 0.4}"])
def test_augmentation_that_would_harm_is_refused(tmp_path: Path, kind: str, setting: str) -> None:
    given, _ = make(kind, tmp_path)
    values = {"space": ConvolutionSpace.name, "data": str(tmp_path)}
    with pytest.raises(SettingsError, match=r"train\.\w+.* Switch it off: --set train\.\w+="):
        api.run(given, method=TOY_METHOD.name, values=values, overrides=[*OVERRIDES, setting], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
