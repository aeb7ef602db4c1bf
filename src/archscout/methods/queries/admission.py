"""Random architectures within limits, also where hardly any random one keeps them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

import torch

from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["random_within"]

TRIES = 200  # random draws before an architecture is made smaller


def random_within(
    space: LayerCoded, admit: Callable[[Architecture], bool], draw: Random, smallest: Architecture | None = None
) -> Architecture | None:
    """A random architecture that is admitted, or None.

    Draws until one is. After 200 in vain the layers of the last one become those of the smallest architecture, one
    after the other in random order, until it is admitted; the outcome is not uniform among those within the limits.

    Args:
        space: to draw from.
        admit: whether an architecture keeps the limits.
        draw: the generator.
        smallest: of the space, which should be admitted; None: there is nothing to shrink to.
    """
    architecture: Any = None
    for _ in range(TRIES):
        architecture = cast(Any, space).random(draw)
        if admit(architecture):
            return cast(Architecture, architecture)
    if smallest is None:
        return None
    code, target = list(space.encode(architecture)), space.encode(smallest)
    for layer in draw.sample(range(len(code)), len(code)):
        code[layer] = target[layer]
        shrunk: Architecture = space.decode(space.canonical(torch.tensor([code]))[0].tolist())
        if admit(shrunk):
            return shrunk
    return None
