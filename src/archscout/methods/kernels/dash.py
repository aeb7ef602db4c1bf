"""DASH: the kernel search on its own, over backbones, found cells or a network of the user's own.

The search itself is in `archscout.methods.kernels.search`. Source: arXiv 2204.07554; docs/methods/dash.md.
"""

from __future__ import annotations

from archscout.methods.base import Method, SearchStage, register_method
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings
from archscout.spaces.base import KernelPatterned

register_method(
    Method(
        name="dash",
        description="kernel size and dilation of every convolution of a network, by one mixture of all",
        settings=KernelSearchSettings,
        requires=(KernelPatterned,),
        stages=(SearchStage("kernels", KernelSearch),),
        starts_from_architecture=True,
    )
)
