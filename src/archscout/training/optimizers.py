"""Settings of stochastic gradient descent and of its learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from archscout.settings import Settings

__all__ = ["ScheduleSettings", "SgdSettings"]


class ScheduleSettings(Settings):
    """The learning rate as a function of the epoch.

    `cosine` goes from `lr` to `lr_min` over all epochs; `steps` multiplies `lr` by `factors[i]` from the i-th
    milestone on, but passes no further milestone once the rate is at or below `lr_min`; `constant` stays. Before that,
    `warmup_epochs` rise linearly from `lr` to its multiple by the number of processes (one process: no change), the
    linear scaling rule of Goyal et al. 2017 (arXiv 1706.02677).
    """

    kind: Literal["cosine", "steps", "constant"] = "cosine"
    lr_min: float = Field(default=0.0, ge=0)
    milestones: tuple[int, ...] = ()
    factors: tuple[float, ...] = ()
    warmup_epochs: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if len(self.milestones) != len(self.factors):
            raise ValueError(f"{len(self.milestones)} milestones need as many factors; got {len(self.factors)}")
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError("milestones must ascend")
        if (self.kind == "steps") != bool(self.milestones):
            raise ValueError("milestones and factors go with kind: steps, and only with it")
        return self

    def rate(self, lr: float, epoch: float, epochs: int, world_size: int = 1) -> float:
        """The learning rate of an epoch (counted from 0; fractions are allowed)."""
        peak = lr * world_size if self.warmup_epochs else lr
        if epoch < self.warmup_epochs:
            return lr + (peak - lr) * epoch / self.warmup_epochs
        if self.kind == "cosine":
            return self.lr_min + 0.5 * (peak - self.lr_min) * (1 + math.cos(math.pi * epoch / epochs))
        rate = peak
        for milestone, factor in zip(self.milestones, self.factors, strict=True):
            if epoch >= milestone and rate > self.lr_min:
                rate = peak * factor
        return rate


class SgdSettings(Settings):
    """Stochastic gradient descent with momentum."""

    lr: float = Field(default=0.025, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=3e-4, ge=0)
    clip: float | None = Field(default=5.0, gt=0, description="largest global gradient norm; null clips nothing")
    schedule: ScheduleSettings = ScheduleSettings()

    def create(self, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> torch.optim.SGD:
        """The optimiser; its momentum starts at zero for all parameters, which may be in groups as torch takes them."""
        optimizer = torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )
        if self.momentum > 0:
            # The same as torch's lazy start, whose fused step fails where only some parameters have a momentum yet:
            # in single-path training those are the parameters that earlier paths used.
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
