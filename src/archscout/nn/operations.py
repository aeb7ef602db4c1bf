"""The operations of cells and of handcrafted networks.

Sources: DARTS, arXiv 1806.09055, docs/methods/darts.md#operations-of-cells; DARTOpti,
docs/methods/ddarts.md#operations-of-handcrafted-networks.

All take `(N, C, H, W)` and keep the number of channels; with stride 2 they halve height and width, rounding up. No
convolution has a bias. In search networks batch norms have no affine parameters and pools are followed by one; in
evaluation networks batch norms are affine and pools stand alone.

Those that D2NAS searches (pools, skip connections, separable and dilated convolutions) also take sequences
`(N, C, L)`: docs/methods/pdarts.md#operations-and-networks-of-d2nas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.errors import ArchitectureError
from archscout.nn.dimensions import LAYERS
from archscout.nn.fast.layout import as_image, concatenate, on_plain_cpu, relu_halves

__all__ = ["DILATED", "SEPARABLE", "FactorizedReduce", "ReluConvNorm", "make_operation", "pad_to_even"]


class ReluConvNorm(nn.Sequential):
    """ReLU, 1 x 1 convolution, batch norm: fits the number of channels."""

    def __init__(self, inputs: int, outputs: int, affine: bool, *, dims: int = 2) -> None:
        layers = LAYERS[dims]
        super().__init__(nn.ReLU(), layers.conv(inputs, outputs, 1, bias=False), layers.norm(outputs, affine=affine))


class FactorizedReduce(nn.Module):
    """Halves height and width with two 1 x 1 convolutions of stride 2, the second shifted by one pixel.

    Odd sizes are padded with a zero row and column at the end, so that both halves have the same size; even sizes,
    the published case, are not padded. (D2NAS's code leaves the second convolution of an odd size out and doubles the
    outputs of the first.)
    """

    def __init__(self, inputs: int, outputs: int, affine: bool, *, dims: int = 2) -> None:
        super().__init__()
        layers = LAYERS[dims]
        self.even = layers.conv(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = layers.conv(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = layers.norm(outputs, affine=affine)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, ceil(H / 2), ceil(W / 2))`, `(N, C, L)` to `(N, C_out, ceil(L / 2))`."""
        # A 1 x 1 convolution of stride 2 reads every other pixel: picking them first, before the ReLU, is the same at
        # half the cost.
        even, odd = relu_halves(pad_to_even(inputs))
        parts = [_pointwise(even, self.even.weight), _pointwise(odd, self.odd.weight)]
        joined: Tensor = self.norm(concatenate(parts))
        return joined


def _pointwise(inputs: Tensor, weight: Tensor) -> Tensor:
    """A 1 x 1 convolution of stride 1, of images or sequences."""
    if inputs.dim() == 4:
        return F.conv2d(inputs, weight)
    if not on_plain_cpu(inputs):
        return F.conv1d(inputs, weight)
    return F.conv2d(as_image(inputs), weight.unsqueeze(2)).squeeze(2)


def pad_to_even(inputs: Tensor) -> Tensor:
    """Zeros at the end of every axis behind the channels whose size is odd."""
    size = inputs.shape[2:]
    if not any(length % 2 for length in size):
        return inputs
    return F.pad(inputs, [part for length in reversed(size) for part in (0, length % 2)])


def _depthwise_separable(
    channels: int, stride: int, affine: bool, dims: int, kernel: int, dilation: int = 1, *, inplace: bool = False
) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1 x 1 convolution, batch norm."""
    layers = LAYERS[dims]
    return [
        nn.ReLU(inplace=inplace),
        layers.depthwise(channels, kernel, stride=stride, dilation=dilation),
        layers.conv(channels, channels, 1, bias=False),
        layers.norm(channels, affine=affine),
    ]


def _separable(channels: int, stride: int, affine: bool, dims: int, kernel: int) -> nn.Module:
    first = _depthwise_separable(channels, stride, affine, dims, kernel)
    return nn.Sequential(*first, *_depthwise_separable(channels, 1, affine, dims, kernel, inplace=True))


def _dilated(channels: int, stride: int, affine: bool, dims: int, kernel: int) -> nn.Module:
    return nn.Sequential(*_depthwise_separable(channels, stride, affine, dims, kernel, 2))


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


def _skip(channels: int, stride: int, affine: bool, dims: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine, dims=dims)


class Zero(nn.Module):
    """No connection: zeros of the output's shape (the operation `none` of DARTS)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to zeros `(N, C, ceil(H / stride), ceil(W / stride))`; likewise `(N, C, L)`."""
        every: tuple[Any, ...] = (slice(None, None, self.stride),) * (inputs.dim() - 2)
        return torch.zeros_like(inputs[(..., *every)])


_IMAGE_MAKERS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "simple_conv_1x1": lambda channels, stride, affine: _simple(channels, stride, affine, 1),
    "simple_conv_3x3": lambda channels, stride, affine: _simple(channels, stride, affine, 3),
    "conv_3x1_1x3": lambda channels, stride, affine: _factorized(channels, stride, affine, 3),
    "conv_7x1_1x7": lambda channels, stride, affine: _factorized(channels, stride, affine, 7),
    "bottleneck_1x3x1": _bottleneck,
}
SEPARABLE = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7}
DILATED = {"dil_conv_3x3": 3, "dil_conv_5x5": 5}
_NAMES = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *SEPARABLE,
    *DILATED,
    *_IMAGE_MAKERS,
)


def make_operation(name: str, channels: int, stride: int, *, search: bool, dims: int = 2) -> nn.Module:
    """The operation of that name, in its search or its evaluation form.

    Args:
        name: as in a genotype.
        channels: of inputs and outputs.
        stride: 1 or 2.
        search: see the module's docstring.
        dims: 2 for images, 1 for sequences.

    Raises:
        ArchitectureError: the name is not known, or the operation is one of images only.
    """
    if name not in _NAMES:
        raise ArchitectureError(f"unknown operation '{name}'; known: {', '.join(_NAMES)}.")
    affine, layers = not search, LAYERS[dims]
    if name in SEPARABLE:
        return _separable(channels, stride, affine, dims, SEPARABLE[name])
    if name in DILATED:
        return _dilated(channels, stride, affine, dims, DILATED[name])
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return _skip(channels, stride, affine, dims)
    if name.endswith("pool_3x3"):
        max_pool = name == "max_pool_3x3"
        pool = layers.max_pool(3, stride, 1) if max_pool else layers.average_pool(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, layers.norm(channels, affine=False)) if search else pool
    if dims != 2:
        raise ArchitectureError(f"the operation '{name}' is one of images; it cannot be used on sequences.")
    return _IMAGE_MAKERS[name](channels, stride, affine)
