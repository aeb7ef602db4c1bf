"""Layers of sequences that take torch's fast paths of images on a CPU.

Parameters, state dict and results are those of torch's own layers; see `archscout.nn.fast.layout.as_image`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.fast.layout import as_image, on_plain_cpu

__all__ = ["SequenceConv", "SequenceNorm"]


class SequenceConv(nn.Conv1d):
    """`nn.Conv1d` with zero padding."""

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C_in, L)` to `(N, C_out, L_out)`."""
        if not on_plain_cpu(input) or isinstance(self.padding, str):
            return super().forward(input)
        pair = ((1, *self.stride), (0, *self.padding), (1, *self.dilation))
        return F.conv2d(as_image(input), self.weight.unsqueeze(2), self.bias, *pair, self.groups).squeeze(2)


class SequenceNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` over `(N, C, L)`."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # also called with images of one row

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, L)` to the same."""
        if not on_plain_cpu(input):
            return super().forward(input)
        return super().forward(as_image(input)).squeeze(2)
