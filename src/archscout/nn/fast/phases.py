"""Pixels rearranged so that a dilated convolution becomes an undilated one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["from_phases", "to_phases"]


def to_phases(pixels: Tensor, dilation: int = 2) -> Tensor:
    """`(N, C, H, W)` to `(d^2 N, C, ceil(H / d), ceil(W / d))`, d the dilation; zeros where there is no pixel.

    A phase holds every d-th row and column; within it, dilation d is dilation 1. A sequence `(N, C, L)` becomes
    `(d N, C, ceil(L / d))`.
    """
    count, channels, *size = pixels.shape
    if any(length % dilation for length in size):
        pixels = F.pad(pixels, [part for length in reversed(size) for part in (0, -length % dilation)])
        size = [length + -length % dilation for length in size]
    dims = len(size)
    split = pixels.movedim(1, -1).reshape(
        count, *(part for length in size for part in (length // dilation, dilation)), channels
    )
    phases, places = range(2, 2 * dims + 1, 2), range(1, 2 * dims, 2)
    apart = split.permute(*phases, 0, *places, 2 * dims + 1)
    return apart.reshape(dilation**dims * count, *(length // dilation for length in size), channels).movedim(-1, 1)


def from_phases(apart: Tensor, dilation: int = 2) -> Tensor:
    """The inverse of `to_phases` for multiples of d: `(d^2 N, C, H / d, W / d)` to `(N, C, H, W)`."""
    count, channels, *size = apart.shape
    dims = len(size)
    split = apart.movedim(1, -1).reshape(*(dilation,) * dims, count // dilation**dims, *size, channels)
    order = [dims, *(axis for dim in range(dims) for axis in (dims + 1 + dim, dim)), 2 * dims + 1]
    whole = split.permute(order).reshape(count // dilation**dims, *(dilation * length for length in size), channels)
    return whole.movedim(-1, 1)
