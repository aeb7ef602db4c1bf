"""Depthwise convolution with a backward pass that avoids the slow kernels of CPUs.

Measured with torch 2.13 (oneDNN): the weight gradient of a depthwise convolution has a fast kernel for up to three
columns without dilation and falls back to matrix products for everything else, at ten times the cost of the forward
pass; the input gradient is slow with dilation; and the second derivative of every grouped convolution is a loop over
its groups. The rewritten formulas below are exact; `F.conv2d` is their reference. They may be differentiated any number
of times: the convolution, its input gradient and its weight gradient are bilinear, and each one's gradients are the
other two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.fast.layout import as_image, channels_last, on_plain_cpu, pick_even
from archscout.nn.fast.phases import from_phases, to_phases

__all__ = ["DepthwiseConv1d", "DepthwiseConv2d", "depthwise_conv"]

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
        return depthwise_conv(input, self.weight, self.stride[0], self.dilation[0])


class DepthwiseConv1d(nn.Conv1d):
    """The same for sequences: parameters, state dict and evaluation are those of `nn.Conv1d`."""

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, L)` to `(N, C, ceil(L / stride))`."""
        return depthwise_conv(input, self.weight, self.stride[0], self.dilation[0])


def depthwise_conv(inputs: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Equals `F.conv2d(inputs, weight, None, stride, dilation * (k - 1) // 2, dilation, groups=C)`, or `F.conv1d`.

    Args:
        inputs: `(N, C, H, W)`, or `(N, C, L)`.
        weight: `(C, 1, k, k)`, or `(C, 1, k)`, with odd k.
        stride: 1 or 2.
        dilation: any.
    """
    if not on_plain_cpu(inputs):
        return _convolve(inputs, weight, stride, dilation)
    if stride == 2 and dilation % 2 == 0:
        # The padding is even, so only even pixels are read: a convolution of these with half the dilation.
        return depthwise_conv(pick_even(inputs), weight, 1, dilation // 2)
    wants_gradient = torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad)
    if inputs.dim() == 4 and dilation > 2 and (wants_gradient or weight.shape[-1] > FAST_COLUMNS):
        outputs = _by_phases(inputs, weight, dilation)
        return outputs if stride == 1 else pick_even(outputs)
    if wants_gradient and (dilation <= 2 or stride == 1):
        result: Tensor = _Depthwise.apply(inputs, weight, stride, dilation)  # type: ignore[no-untyped-call]
        return result
    return _convolve(inputs, weight, stride, dilation)


def _by_phases(inputs: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Of images and stride 1, as an undilated convolution within each phase.

    For kernels of more than three columns torch's dilated kernels take ten times as long, and their gradients more.
    """
    height, width = inputs.shape[2:]
    outputs = depthwise_conv(to_phases(inputs, dilation), weight)
    return channels_last(from_phases(outputs, dilation)[..., :height, :width])


def _convolve(inputs: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    channels, padding = weight.shape[0], dilation * (weight.shape[-1] - 1) // 2
    if inputs.dim() == 4:
        return F.conv2d(inputs, weight, None, stride, padding, dilation, channels)
    if not on_plain_cpu(inputs):
        return F.conv1d(inputs, weight, None, stride, padding, dilation, channels)
    if dilation > 2 and not torch.is_grad_enabled():  # faster as a column; its own gradients are not
        column = channels_last(inputs).transpose(1, 2).unsqueeze(2).permute(0, 3, 1, 2)
        kernel = weight.unsqueeze(3)
        return F.conv2d(column, kernel, None, (stride, 1), (padding, 0), (dilation, 1), channels).squeeze(3)
    row, kernel = as_image(inputs), weight.unsqueeze(2)
    return F.conv2d(row, kernel, None, (1, stride), (0, padding), (1, dilation), channels).squeeze(2)


class _Depthwise(torch.autograd.Function):
    """Dilation 1 or 2, of sequences with stride 1 any; stride 2 without dilation."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(inputs, weight)  # as given: a copy would not be connected for second derivatives
        ctx.stride, ctx.dilation = stride, dilation
        return _convolve(channels_last(inputs), weight, stride, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, weight = ctx.saved_tensors
        stride, dilation = ctx.stride, ctx.dilation
        found = _gradients(gradients[0], inputs, weight, _wanted_gradients(ctx), stride, dilation)
        return *found, None, None


class _StridedInputGradient(torch.autograd.Function):
    """The input gradient of a convolution with stride 2; with stride 1 it is a convolution itself."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        count, channels, *pixels = size
        like = gradient.new_empty((count, *pixels, channels)).movedim(-1, 1)  # only its shape is read
        return cast(Tensor, _fused_gradients(channels_last(gradient), like, weight, 2, (True, False))[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gradient, weight = ctx.saved_tensors
        wanted = _wanted_gradients(ctx)
        into_gradient = depthwise_conv(gradients[0], weight, 2) if wanted[0] else None
        into_weight = _weight_gradient(gradient, gradients[0], weight.shape[-1], 2, 1) if wanted[1] else None
        return into_gradient, into_weight, None


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, inputs: Tensor, size: int, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(gradient, inputs)
        ctx.stride, ctx.dilation = stride, dilation
        if stride == 2:
            weight = gradient.new_empty((gradient.shape[1], 1, *(size,) * (gradient.dim() - 2)))
            return cast(Tensor, _fused_gradients(channels_last(gradient), inputs, weight, 2, (False, True))[1])
        if dilation > 2:
            row = gradient.unsqueeze(2)
            padding = (0, dilation * (size - 1) // 2)
            return _columns_gradient(row, as_image(inputs), (1, size), padding, (1, dilation)).squeeze(2)
        if dilation == 2:
            gradient, inputs = to_phases(gradient), to_phases(inputs)
        if gradient.dim() == 3:  # an image of one row
            return _rows_gradient(gradient.unsqueeze(2), inputs.unsqueeze(2), (1, size)).squeeze(2)
        return _rows_gradient(gradient, inputs, (size, size))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        gradient, inputs = ctx.saved_tensors
        stride, dilation, wanted = ctx.stride, ctx.dilation, _wanted_gradients(ctx)
        into_gradient = depthwise_conv(inputs, gradients[0], stride, dilation) if wanted[0] else None
        into_inputs = _input_gradient(gradient, gradients[0], inputs.shape, stride, dilation) if wanted[1] else None
        return into_gradient, into_inputs, None, None, None


def _gradients(
    gradient: Tensor, inputs: Tensor, weight: Tensor, wanted: Sequence[bool], stride: int = 1, dilation: int = 1
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `depthwise_conv` for inputs and weight on a CPU; None: not wanted.

    Args:
        gradient: of the outputs.
        inputs, weight, stride, dilation: see `depthwise_conv`; 2-D with a dilation of 1 or 2.
        wanted: which of the two.
    """
    gradient = channels_last(gradient)
    if dilation == 1 and weight.shape[-1] <= FAST_COLUMNS and not torch.is_grad_enabled():
        return _fused_gradients(gradient, inputs, weight, stride, wanted)
    into_inputs = _input_gradient(gradient, weight, inputs.shape, stride, dilation) if wanted[0] else None
    into_weight = _weight_gradient(gradient, inputs, weight.shape[-1], stride, dilation) if wanted[1] else None
    return into_inputs, into_weight


def _input_gradient(gradient: Tensor, weight: Tensor, size: torch.Size, stride: int, dilation: int) -> Tensor:
    if stride == 1:
        return depthwise_conv(gradient, weight.flip(*range(2, weight.dim())), 1, dilation)
    return cast(Tensor, _StridedInputGradient.apply(gradient, weight, size))  # type: ignore[no-untyped-call]


def _weight_gradient(gradient: Tensor, inputs: Tensor, size: int, stride: int, dilation: int) -> Tensor:
    result: Tensor = _WeightGradient.apply(gradient, inputs, size, stride, dilation)  # type: ignore[no-untyped-call]
    return result


def _fused_gradients(
    gradient: Tensor, inputs: Tensor, weight: Tensor, stride: int, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Both gradients of an undilated convolution by torch's own kernels, as far as they are wanted."""
    sequence = gradient.dim() == 3
    if sequence:  # an image of one row
        gradient, inputs, weight = gradient.unsqueeze(2), inputs.unsqueeze(2), weight.unsqueeze(2)
    steps = (1, stride) if sequence else (stride, stride)
    padding = [length // 2 for length in weight.shape[2:]]
    into_inputs, into_weight = _torch_gradients(gradient, inputs, weight, wanted, stride=steps, padding=padding)
    if sequence:
        into_inputs = None if into_inputs is None else into_inputs.squeeze(2)
        into_weight = None if into_weight is None else into_weight.squeeze(2)
    return into_inputs, into_weight


def _rows_gradient(gradient: Tensor, inputs: Tensor, size: tuple[int, int]) -> Tensor:
    """The weight gradient for a kernel of `(rows, columns)`, stride 1, a few columns at a time."""
    high, wide = size[0] // 2, size[1] // 2
    if size[1] <= FAST_COLUMNS:
        return _columns_gradient(gradient, inputs, size, (high, wide))
    width = inputs.shape[-1]
    padded = F.pad(inputs, (wide, wide, high, high))
    parts = []
    for start in range(0, size[1], FAST_COLUMNS):
        columns = min(FAST_COLUMNS, size[1] - start)
        window = padded[..., start : start + width + columns - 1]
        parts.append(_columns_gradient(gradient, window, (size[0], columns), (0, 0)))
    return torch.cat(parts, 3)


def _columns_gradient(
    gradient: Tensor,
    inputs: Tensor,
    size: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Tensor:
    weight = gradient.new_empty((gradient.shape[1], 1, *size))  # only its shape is read
    found = _torch_gradients(gradient, inputs, weight, (False, True), padding=padding, dilation=dilation)[1]
    return cast(Tensor, found)


def _torch_gradients(
    gradient: Tensor,
    inputs: Tensor,
    weight: Tensor,
    wanted: Sequence[bool],
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients for inputs and weight of a convolution of images by torch's own kernels; None: not wanted."""
    into_inputs, into_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        inputs.contiguous(memory_format=torch.channels_last),
        weight,
        None,
        list(stride),
        list(padding),
        list(dilation),
        False,
        [0, 0],
        gradient.shape[1],
        [*wanted, False],
    )
    return (into_inputs if wanted[0] else None), (into_weight if wanted[1] else None)


def _wanted_gradients(ctx: Any) -> list[bool]:
    """Which gradients of a function's tensors, its first arguments, the backward pass at hand goes on with.

    `needs_input_grad` alone says what could be asked for: the second derivative for the architecture would compute all
    weight gradients only to drop them. (torch itself prunes its own operations so.)
    """
    nodes = [node for node, _ in ctx.next_functions]  # of the tensors only
    return [
        needed and (_is_leaf(node) or torch._C._will_engine_execute_node(node))
        for needed, node in zip(ctx.needs_input_grad, nodes, strict=False)
    ]


def _is_leaf(node: Any) -> bool:
    return hasattr(node, "variable")  # the engine answers for inner nodes only
