"""D2NAS: cells, kernels, tuning, training, for diverse tasks (Lee, Han, Lee 2024; spec d2nas 1).

cells    for each stage of a progressive search: a fresh supernet with the operations that are left on each edge
             train weights; after the warm-up also the architecture, on the validation split
             keep the strongest operations of each edge; after the last stage one, and two edges of each node
kernels  put all kernel sizes and dilations, mixed, into the stem and every depthwise convolution of that network
             train weights and mixture together until the strongest kernels have settled; keep those
tuning   train the network with every configuration for a while, from the same weights; keep the best (any run
             may have this stage: `archscout.tuning`)
train    from these weights with that configuration, on training and validation data (as in any run)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, cast

from pydantic import Field

from archscout.errors import SettingsError
from archscout.jobs import Job
from archscout.methods.base import METHODS, SearchContext, SearchStage
from archscout.methods.differentiable.pdarts import Pdarts, PdartsSettings, ProgressiveSearch, StageSettings
from archscout.methods.differentiable.relaxed import AlphaSettings
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import KernelPatterned, Relaxed, SearchSpace
from archscout.training.optimizers import ScheduleSettings, SgdSettings
from archscout.tuning.settings import TuningSettings

__all__ = ["D2nas", "D2nasSettings"]


class D2nasSettings(Settings):
    """Settings of D2NAS's searches: of cells, and of kernels; `supernet` is the size of the kernel search's network."""

    cells: PdartsSettings = PdartsSettings(
        stages=(StageSettings(layers=2, init_channels=8), StageSettings(layers=2, init_channels=16)),
        batch_size=64,
        optimizer=SgdSettings(lr=0.1, weight_decay=5e-4, schedule=ScheduleSettings(lr_min=0.0)),
        alphas=AlphaSettings(lr=0.05, lr_min=0.0, weight_decay=5e-4, clip=5.0),
        skip_limit=None,
        validation_fraction=None,
    )
    kernels: KernelSearchSettings = KernelSearchSettings()
    validation_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="of the development data, for all stages; null: the task's own split"
    )

    def check_space(self, space: SearchSpace) -> None:
        """Raise SettingsError for a split that only one of the stages would see."""
        if self.cells.validation_fraction is not None:
            raise SettingsError(
                "search.cells.validation_fraction: all stages share one split; set search.validation_fraction instead."
            )


def _search_cells(context: SearchContext, before: Architecture | None) -> Job:
    return ProgressiveSearch(context, cast(D2nasSettings, context.settings).cells)


def _search_kernels(context: SearchContext, before: Architecture | None) -> Job:
    return KernelSearch(context, before, cast(D2nasSettings, context.settings).kernels)


@METHODS.register("d2nas")
class D2nas:
    """D2NAS: cells, then kernels, for images and sequences; tuning and training follow as in every run."""

    name: ClassVar[str] = "d2nas"
    description: ClassVar[str] = "cells, then kernel sizes and dilations, then tuning (D2NAS), for diverse tasks"
    settings_model: ClassVar[type[Settings]] = D2nasSettings
    requires: ClassVar[tuple[type, ...]] = (Relaxed, KernelPatterned)
    tuning: ClassVar[TuningSettings] = TuningSettings()

    def stages(self) -> Sequence[SearchStage]:
        """The two searches."""
        return [SearchStage("cells", _search_cells), SearchStage("kernels", _search_kernels)]

    def check(self, context: SearchContext) -> None:
        """Raise an ArchscoutError if a network of the cell search cannot be built."""
        Pdarts().check(replace(context, settings=cast(D2nasSettings, context.settings).cells))
