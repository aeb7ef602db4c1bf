"""DASH: the kernel search on its own, over backbones, found cells or a network of the user's own.

The search itself is in `archscout.methods.kernels.search`. Source: arXiv 2204.07554; docs/methods/dash.md.
"""

from __future__ import annotations

from typing import cast

import torch

from archscout.errors import SpaceError
from archscout.methods.base import Method, SearchContext, SearchStage, register_method
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings, check_names
from archscout.spaces.base import KernelPatterned


def _check(context: SearchContext) -> None:
    """Raise SpaceError, before anything starts, if there is no convolution to search."""
    space, spec = cast(KernelPatterned, context.space), context.task.spec
    try:
        base = space.kernel_base(spec)
    except SpaceError:
        return  # a space without a network of its own: an architecture was given
    with torch.device("meta"):
        network = space.build(base, spec, context.supernet_size)
    check_names(network, space.kernel_layers(network))


register_method(
    Method(
        name="dash",
        description="kernel size and dilation of every convolution of a network, by one mixture of all",
        settings=KernelSearchSettings,
        requires=(KernelPatterned,),
        stages=(SearchStage("kernels", KernelSearch),),
        starts_from_architecture=True,
        check=_check,
    )
)
