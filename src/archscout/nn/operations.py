"""The operations of cells (spec ednas 2.1, from DARTS, Liu et al. 2019) and of handcrafted networks (spec d_darts 5.1).

All take `(N, C, H, W)` and keep the number of channels; with stride 2 they halve height and width, rounding up. No
convolution has a bias. In search networks batch norms have no affine parameters and pools are followed by one; in
evaluation networks batch norms are affine and pools stand alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.errors import ArchitectureError
from archscout.nn.depthwise import DepthwiseConv2d
from archscout.nn.layout import concatenate, relu_halves

__all__ = ["FactorizedReduce", "ReluConvNorm", "make_operation"]


class ReluConvNorm(nn.Sequential):
    """ReLU, 1 x 1 convolution, batch norm: fits the number of channels."""

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__(nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=affine))


class FactorizedReduce(nn.Module):
    """Halves height and width with two 1 x 1 convolutions of stride 2, the second shifted by one pixel.

    Odd sizes are padded with a zero row and column at the end, so that both halves have the same size; even sizes,
    the published case, are not padded.
    """

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, ceil(H / 2), ceil(W / 2))`."""
        height, width = inputs.shape[-2:]
        if height % 2 or width % 2:
            inputs = F.pad(inputs, (0, width % 2, 0, height % 2))
        # A 1 x 1 convolution of stride 2 reads every other pixel: picking them first, before the ReLU, is the same at
        # half the cost.
        even, odd = relu_halves(inputs)
        parts = [F.conv2d(even, self.even.weight), F.conv2d(odd, self.odd.weight)]
        joined: Tensor = self.norm(concatenate(parts))
        return joined


def _separable(channels: int, stride: int, affine: bool, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        DepthwiseConv2d(channels, kernel, stride=stride),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
        nn.ReLU(inplace=True),
        DepthwiseConv2d(channels, kernel),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def _dilated(channels: int, stride: int, affine: bool, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        DepthwiseConv2d(channels, kernel, stride=stride, dilation=2),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def _simple(channels: int, stride: int, affine: bool, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def _factorized(channels: int, stride: int, affine: bool, kernel: int) -> nn.Module:
    """A row and a column of a kernel, without anything between them."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, kernel // 2), bias=False),
        nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (kernel // 2, 0), bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


BOTTLENECK_WIDTH = 4


def _bottleneck(channels: int, stride: int, affine: bool) -> nn.Module:
    """The block of a deep residual network; where it widens, between its last two convolutions, is the ReLU."""
    wide = BOTTLENECK_WIDTH * channels
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
        nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide, affine=affine),
        nn.ReLU(inplace=True),
        nn.Conv2d(wide, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def _skip(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


class Zero(nn.Module):
    """No connection: zeros of the output's shape (the operation `none` of DARTS)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to zeros `(N, C, ceil(H / stride), ceil(W / stride))`."""
        return torch.zeros_like(inputs[:, :, :: self.stride, :: self.stride])


_MAKERS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": lambda channels, stride, affine: Zero(stride),
    "max_pool_3x3": lambda channels, stride, affine: nn.MaxPool2d(3, stride, 1),
    "avg_pool_3x3": lambda channels, stride, affine: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "skip_connect": _skip,
    "sep_conv_3x3": lambda channels, stride, affine: _separable(channels, stride, affine, 3),
    "sep_conv_5x5": lambda channels, stride, affine: _separable(channels, stride, affine, 5),
    "sep_conv_7x7": lambda channels, stride, affine: _separable(channels, stride, affine, 7),
    "dil_conv_3x3": lambda channels, stride, affine: _dilated(channels, stride, affine, 3),
    "dil_conv_5x5": lambda channels, stride, affine: _dilated(channels, stride, affine, 5),
    "simple_conv_1x1": lambda channels, stride, affine: _simple(channels, stride, affine, 1),
    "simple_conv_3x3": lambda channels, stride, affine: _simple(channels, stride, affine, 3),
    "conv_3x1_1x3": lambda channels, stride, affine: _factorized(channels, stride, affine, 3),
    "conv_7x1_1x7": lambda channels, stride, affine: _factorized(channels, stride, affine, 7),
    "bottleneck_1x3x1": _bottleneck,
}


def make_operation(name: str, channels: int, stride: int, *, search: bool) -> nn.Module:
    """The operation of that name, in its search or its evaluation form.

    Raises:
        ArchitectureError: the name is not known.
    """
    if name not in _MAKERS:
        raise ArchitectureError(f"unknown operation '{name}'; known: {', '.join(_MAKERS)}.")
    operation = _MAKERS[name](channels, stride, not search)
    if search and name.endswith("pool_3x3"):
        return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))
    return operation
