"""Depthwise convolution with a backward pass that avoids the slow kernels of CPUs.

Measured with torch 2.13 (oneDNN): the weight gradient of a depthwise convolution has a fast kernel for up to three
columns without dilation and falls back to matrix products for everything else, at ten times the cost of the forward
pass; the input gradient is slow with dilation. The rewritten formulas below are exact; `F.conv2d` is their reference.
They may be differentiated any number of times: both gradients are again convolutions or weight gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.layout import pick_even

__all__ = ["DepthwiseConv2d", "depthwise_conv2d", "from_phases", "to_phases"]

FAST_COLUMNS = 3  # the widest kernel for which oneDNN has a fast weight gradient


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that keeps the size (or halves it, rounding up), without bias.

    Parameters, state dict and evaluation are those of `nn.Conv2d`; only training on a CPU takes the fast backward.
    """

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, ceil(H / stride), ceil(W / stride))`."""
        return depthwise_conv2d(input, self.weight, self.stride[0], self.dilation[0])


def depthwise_conv2d(inputs: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Equals `F.conv2d(inputs, weight, None, stride, dilation * (k - 1) // 2, dilation, groups=C)`.

    Args:
        inputs: `(N, C, H, W)`.
        weight: `(C, 1, k, k)` with odd k.
        stride: 1 or 2.
        dilation: 1 or 2.
    """
    fast = inputs.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    if fast and stride == 2 and dilation == 2:
        # The padding is even, so only even pixels are read: an undilated convolution of these.
        inputs, stride, dilation = pick_even(inputs), 1, 1
    slow_gradient = stride == 1 and (dilation == 2 or weight.shape[-1] > FAST_COLUMNS)
    if fast and slow_gradient and torch.is_grad_enabled():
        result: Tensor = _Depthwise.apply(inputs, weight, dilation)  # type: ignore[no-untyped-call]
        return result
    return _convolve(inputs, weight, stride, dilation)


def _convolve(inputs: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    return F.conv2d(inputs, weight, None, stride, dilation * (weight.shape[-1] - 1) // 2, dilation, weight.shape[0])


class _Depthwise(torch.autograd.Function):
    """Stride 1, dilation 1 or 2."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(inputs, weight)  # as given: a copy would not be connected for second derivatives
        ctx.dilation = dilation
        return _convolve(inputs.contiguous(memory_format=torch.channels_last), weight, 1, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        inputs, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        into_inputs = into_weight = None
        if ctx.needs_input_grad[0]:
            into_inputs = depthwise_conv2d(gradient, weight.flip(2, 3), 1, ctx.dilation)
        if ctx.needs_input_grad[1]:
            size = weight.shape[-1]
            into_weight = _WeightGradient.apply(gradient, inputs, size, ctx.dilation)  # type: ignore[no-untyped-call]
        return into_inputs, into_weight, None


class _WeightGradient(torch.autograd.Function):
    """The weight gradient `(C, 1, k, k)` of `_Depthwise`: bilinear in the gradient of the output and the inputs."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, inputs: Tensor, size: int, dilation: int) -> Tensor:
        ctx.save_for_backward(gradient, inputs)
        ctx.dilation = dilation
        if dilation == 2:
            gradient, inputs = to_phases(gradient), to_phases(inputs)
        return _weight_gradient(gradient, inputs, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradient, inputs = ctx.saved_tensors
        into_gradient = into_inputs = None
        if ctx.needs_input_grad[0]:
            into_gradient = depthwise_conv2d(inputs, gradients[0], 1, ctx.dilation)
        if ctx.needs_input_grad[1]:
            into_inputs = depthwise_conv2d(gradient, gradients[0].flip(2, 3), 1, ctx.dilation)
        return into_gradient, into_inputs, None, None


def to_phases(pixels: Tensor) -> Tensor:
    """`(N, C, H, W)` to `(4 N, C, ceil(H / 2), ceil(W / 2))`: even and odd rows and columns apart, zeros where needed.

    Within a phase, dilation 2 is dilation 1.
    """
    count, channels, height, width = pixels.shape
    if height % 2 or width % 2:
        pixels = F.pad(pixels, (0, width % 2, 0, height % 2))
        height, width = height + height % 2, width + width % 2
    split = pixels.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width // 2, 2, channels)
    apart = split.permute(2, 4, 0, 1, 3, 5).reshape(4 * count, height // 2, width // 2, channels)
    return apart.permute(0, 3, 1, 2)


def from_phases(apart: Tensor) -> Tensor:
    """The inverse of `to_phases` for even sizes: `(4 N, C, H / 2, W / 2)` to `(N, C, H, W)`."""
    count, channels, height, width = apart.shape
    split = apart.permute(0, 2, 3, 1).reshape(2, 2, count // 4, height, width, channels)
    joined = split.permute(2, 3, 0, 4, 1, 5).reshape(count // 4, 2 * height, 2 * width, channels)
    return joined.permute(0, 3, 1, 2)


def _weight_gradient(gradient: Tensor, inputs: Tensor, size: int) -> Tensor:
    """Of an undilated convolution of stride 1, a few kernel columns at a time."""
    if size <= FAST_COLUMNS:
        return _columns_gradient(gradient, inputs, (size, size), (size - 1) // 2)
    half, width = size // 2, inputs.shape[-1]
    padded = F.pad(inputs, (half, half, half, half))
    parts = []
    for start in range(0, size, FAST_COLUMNS):
        columns = min(FAST_COLUMNS, size - start)
        window = padded[..., start : start + width + columns - 1]
        parts.append(_columns_gradient(gradient, window, (size, columns), 0))
    return torch.cat(parts, 3)


def _columns_gradient(gradient: Tensor, inputs: Tensor, size: tuple[int, int], padding: int) -> Tensor:
    channels = gradient.shape[1]
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient,
        inputs.contiguous(memory_format=torch.channels_last),
        gradient.new_empty((channels, 1, *size)),
        None,
        [1, 1],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        channels,
        [False, True, False],
    )
    return result[1]
