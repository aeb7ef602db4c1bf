"""Looking at a network without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["untouched"]


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Within it no parameter wants a gradient, and buffers (running statistics) are put back at the end.

    For passes in training mode whose gradients go elsewhere. Backward passes belong inside.
    """
    wanting = [parameter for parameter in network.parameters() if parameter.requires_grad]
    before = [buffer.clone() for buffer in network.buffers()]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
