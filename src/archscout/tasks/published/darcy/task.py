"""The task of permeability fields and their pressures, published or generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from archscout.tasks.metrics.classification import pooled_sum
from archscout.tasks.metrics.dense import relative_l2, relative_l2_loss
from archscout.tasks.resident import Resident
from archscout.tasks.scale import TargetScale
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["darcy_spec", "darcy_task"]

EPSILON = 1e-5  # added to standard deviations; docs/nasbench360.md#what-is-done-with-the-data


def darcy_spec(name: str, resolution: int) -> TaskSpec:
    """Three channels: the normalised permeability and both coordinates; one output: the normalised pressure."""
    return TaskSpec(name, "dense", (3, resolution, resolution), 1)


def darcy_task(
    spec: TaskSpec, permeability: Tensor, pressure: Tensor, sizes: tuple[int, int, int], provenance: Mapping[str, Any]
) -> Task:
    """The task of all samples, cut in order into train, validation and test.

    Every grid point is normalised with its mean and deviation over the train split, permeability and pressure alike.
    Networks give the normalised pressure; loss and metric compare in the units of the data
    (docs/nasbench360.md#what-is-done-with-the-data).

    Args:
        spec: from `darcy_spec`.
        permeability, pressure: `(N, H, W)`, float32.
        sizes: of train, validation and test, together N.
    """
    train, validation, test = torch.split(torch.arange(sum(sizes)), list(sizes))
    source = ArraySource(permeability.unsqueeze(1), pressure.unsqueeze(1))
    scale = PointScale(source.targets[train])
    return Task(
        spec=spec,
        train=Split(source, train),
        validation=Split(source, validation),
        test=Split(source, test),
        loss=relative_l2_loss(scale.decode),
        metric=relative_l2(scale.decode),
        to_float=lambda raw: raw.to(torch.float32),
        normalize=_encoder(source.inputs[train]),
        provenance=provenance,
        pool_loss=pooled_sum,
        scale=scale,
    )


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every point, `(1, C, H, W)`."""
    values = samples.to(torch.float64)
    deviation = values.std(0, keepdim=True, correction=0) + EPSILON
    return values.mean(0, keepdim=True).to(torch.float32), deviation.to(torch.float32)


def _encoder(samples: Tensor) -> Callable[[Tensor], Tensor]:
    axes = [torch.linspace(0, 1, size) for size in samples.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)
    kept = [Resident(each) for each in (*_moments(samples), grid)]

    def encode(inputs: Tensor) -> Tensor:
        mean, deviation, positions = (each.on(inputs.device) for each in kept)
        return torch.cat([(inputs - mean) / deviation, positions.expand(len(inputs), -1, -1, -1)], dim=1)

    return encode


class PointScale(TargetScale):
    """Mean and deviation of every grid point; `mean` and `std` are those of all points together."""

    def __init__(self, samples: Tensor) -> None:
        whole = TargetScale.of(samples)
        super().__init__(whole.mean, whole.std)
        self._moments = [Resident(each) for each in _moments(samples)]

    def decode(self, outputs: Tensor) -> Tensor:
        """What a network gives, in the units of the targets."""
        mean, deviation = (each.on(outputs.device) for each in self._moments)
        return outputs * deviation + mean
