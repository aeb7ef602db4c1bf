"""D2NAS: cells, kernels, tuning, training, for diverse tasks (Lee, Han, Lee 2024; docs/methods/d2nas.md).

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

from typing import cast

from pydantic import Field

from archscout.errors import SettingsError
from archscout.methods.base import Method, SearchContext, SearchStage, register_method
from archscout.methods.differentiable.pdarts import PdartsSettings, ProgressiveSearch, StageSettings, check_stages
from archscout.methods.differentiable.relaxed import AlphaSettings
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings
from archscout.settings import Settings
from archscout.spaces.base import KernelPatterned, Relaxed, SearchSpace
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = ["D2nasSettings"]


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


def _settings(context: SearchContext) -> D2nasSettings:
    return cast(D2nasSettings, context.settings)


register_method(
    Method(
        name="d2nas",
        description="cells, then kernel sizes and dilations, then tuning (D2NAS), for diverse tasks",
        settings=D2nasSettings,
        requires=(Relaxed, KernelPatterned),
        stages=(
            SearchStage("cells", lambda context, before: ProgressiveSearch(context, _settings(context).cells)),
            SearchStage("kernels", lambda context, before: KernelSearch(context, before, _settings(context).kernels)),
        ),
        check=lambda context: check_stages(context, _settings(context).cells),
        tunes_training=True,
    )
)
