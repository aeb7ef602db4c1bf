"""DASH: the kernel search on its own, over backbones, found cells or a network of the user's own.

The search itself is in `archscout.methods.kernels.search`. Source: arXiv 2204.07554; docs/methods/dash.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archscout.methods.base import METHODS, SearchStage
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings
from archscout.settings import Settings
from archscout.spaces.base import KernelPatterned

__all__ = ["Dash"]


@METHODS.register("dash")
class Dash:
    """Kernel sizes and dilations for every convolution of a network."""

    name: ClassVar[str] = "dash"
    description: ClassVar[str] = "kernel size and dilation of every convolution of a network, by one mixture of all"
    settings_model: ClassVar[type[Settings]] = KernelSearchSettings
    starts_from_architecture: ClassVar[bool] = True
    requires: ClassVar[tuple[type, ...]] = (KernelPatterned,)

    def stages(self) -> Sequence[SearchStage]:
        """One stage; the architecture before it, where there is one, is the base."""
        return [SearchStage("kernels", lambda context, before: KernelSearch(context, before))]
