"""Drop path: whole branches of single samples are dropped in training.

Source: arXiv 1605.07648; docs/methods/darts.md#cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["drop_path"]


def drop_path(inputs: Tensor, rate: float) -> Tensor:
    """Zero each sample `(C, H, W)` of the batch with probability `rate`, and scale the kept ones by `1 / (1 - rate)`.

    Draws from torch's default generator of the device: the engine seeds it for each training step.
    """
    if rate <= 0:
        return inputs
    keep = 1.0 - rate
    mask = torch.empty((len(inputs),) + (1,) * (inputs.dim() - 1), dtype=inputs.dtype, device=inputs.device)
    return inputs * mask.bernoulli_(keep).div_(keep)
