"""Settings of the search for kernel sizes and dilations; see `archscout.methods.kernels.search`."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from archscout.nn.kernels.candidates import Candidates
from archscout.nn.kernels.choice import BackendSetting
from archscout.settings import Settings
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = ["KernelSearchSettings"]

DENSE_FIELD = 10  # times a kernel's size, on dense tasks, instead of its field; docs/methods/dash.md#kernel-search
SCHEDULE = ScheduleSettings(kind="steps", milestones=(61, 121, 161), factors=(0.2, 0.04, 0.008))


class KernelSearchSettings(Settings):
    """Settings of the kernel search; the defaults are the published ones for classifying images."""

    epochs: int = Field(default=100, ge=1)
    fraction: float = Field(default=0.2, gt=0, le=1, description="of the batches in an epoch, drawn anew for each")
    patience: int = Field(default=25, ge=1, description="epochs without a change of the pattern that end the search")
    batch_size: int = Field(default=16, ge=2, description="per process")
    split: Literal["development", "train"] = Field(
        default="development", description="train: leaves validation out, and reports it after every epoch"
    )
    kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)
    dilations: tuple[int, ...] = (1, 3, 7, 15)
    grad_scale: float = Field(default=100.0, gt=0, description="S; larger values let the size penalty decide")
    alpha_lr: float = Field(default=0.05, gt=0, description="of the architecture parameters; scheduled as optimizer.lr")
    optimizer: SgdSettings = SgdSettings(lr=0.1, nesterov=True, weight_decay=5e-4, clip=1.0, schedule=SCHEDULE)
    depthwise: bool | None = Field(
        default=None,
        description="search convolutions with as many outputs as inputs as depthwise ones; null: as published, but "
        "the groups of a model of your own stay",
    )
    live_kernels: bool = Field(
        default=True, description="leave out taps of the chosen kernels that can never touch data of this size"
    )
    backend: BackendSetting = Field(
        default="auto", description="of the aggregated convolutions; auto: a rule on a CPU, measured elsewhere"
    )

    @field_validator("kernel_sizes", "dilations")
    @classmethod
    def _check_candidates(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or min(values) < 1 or len(set(values)) != len(values):
            raise ValueError("at least one number from 1 on, each once")
        return values

    @field_validator("kernel_sizes")
    @classmethod
    def _check_odd(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(size % 2 == 0 for size in values):
            raise ValueError("sizes must be odd, so that a kernel has a centre")
        return values

    def fields(self, *, dense: bool) -> Tensor:
        """What the penalty counts for each candidate, `(M,)`."""
        kernels = Candidates.of(self.kernel_sizes, self.dilations, 1).kernels
        return torch.tensor(
            [DENSE_FIELD * size if dense else dilation * (size - 1) + 1 for size, dilation in kernels],
            dtype=torch.float32,
        )
