"""Batch-norm statistics of a network, measured anew on given images.

The statistics that a supernet gathers are those of all its networks mixed. A network that was cut out of it needs its
own before it is judged or used (docs/methods/once-for-all.md#supernet).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["recalibrate"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running means and variances of all batch norms by their average over the batches.

    Everything else, dropout included, runs as in evaluation. The network is left in evaluation mode.

    Args:
        network: changed in place: its batch norms' running statistics, nothing else.
        batches: prepared inputs `(N, ...)`, best of equal sizes, since each counts the same.

    Returns:
        The number of batches; after 0 the statistics are those of a new network.
    """
    norms = [module for module in network.modules() if isinstance(module, _NORMS)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then keeps the plain average
        norm.train()
    count = 0
    try:
        with torch.inference_mode():
            for inputs in batches:
                network(inputs)
                count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return count
