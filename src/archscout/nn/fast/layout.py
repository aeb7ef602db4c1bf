"""Gradients that stay in channels_last on a CPU.

Slices hand back gradients in NCHW and concatenations strided views of theirs; the backward passes of batch norm and
ReLU then take paths that are three to five times slower, and so does everything that these gradients are added to.
The functions here compute what their plain formulas compute, in the good layout. On other devices, in inference and
under tracing they are the plain formulas. Sequences `(N, C, L)` are treated as images are: channels last in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "as_image",
    "channels_last",
    "concatenate",
    "on_plain_cpu",
    "pick_even",
    "relu_halves",
    "without_autocast",
]


def on_plain_cpu(inputs: Tensor) -> bool:
    """Whether what is fast on a CPU may take the place of a plain formula: not where torch traces, nor in autocast."""
    return inputs.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """For what chooses its precision itself."""
    kind = device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if enabled else nullcontext()


def channels_last(inputs: Tensor) -> Tensor:
    """The same `(N, C, H, W)` or `(N, C, L)` with the channels next to each other in memory."""
    if inputs.dim() == 3:
        return inputs.transpose(1, 2).contiguous().transpose(1, 2)
    return inputs.contiguous(memory_format=torch.channels_last)


def as_image(sequences: Tensor) -> Tensor:
    """`(N, C, L)` as images of one row, `(N, C, 1, L)` with the channels last.

    torch's convolutions and norms of sequences have no fast path for this memory format, and what they have for
    images is five times as fast and more (torch 2.13, measured).
    """
    return channels_last(sequences).unsqueeze(2)


def _every_other(inputs: Tensor, start: int = 0) -> tuple[Any, ...]:
    """The index of the pixels at even (0) or odd (1) places along all axes behind the channels."""
    return (..., *(slice(start, None, 2),) * (inputs.dim() - 2))


def pick_even(inputs: Tensor) -> Tensor:
    """`inputs[:, :, ::2, ::2]` of `(N, C, H, W)`, `inputs[:, :, ::2]` of `(N, C, L)`."""
    if not _needed(inputs):
        return inputs[_every_other(inputs)]
    picked: Tensor = _PickEven.apply(inputs)  # type: ignore[no-untyped-call]
    return picked


def relu_halves(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """`relu(inputs[:, :, ::2, ::2])` and `relu(inputs[:, :, 1::2, 1::2])` of images; likewise of sequences."""
    if not _needed(inputs):
        return F.relu(inputs[_every_other(inputs)]), F.relu(inputs[_every_other(inputs, 1)])
    halves: tuple[Tensor, Tensor] = _ReluHalves.apply(inputs)  # type: ignore[no-untyped-call]
    return halves


def concatenate(parts: Sequence[Tensor]) -> Tensor:
    """`torch.cat(parts, dim=1)` of several `(N, C_i, H, W)` or `(N, C_i, L)`."""
    if not any(_needed(part) for part in parts):
        return torch.cat(list(parts), dim=1)
    joined: Tensor = _Concatenate.apply(*parts)  # type: ignore[no-untyped-call]
    return joined


def _needed(inputs: Tensor) -> bool:
    return (
        inputs.requires_grad
        and torch.is_grad_enabled()
        and inputs.device.type == "cpu"
        and not torch.compiler.is_compiling()
    )


def _zeros(size: torch.Size, like: Tensor) -> Tensor:
    count, channels, *pixels = size
    zeros = torch.zeros((count, *pixels, channels), dtype=like.dtype, device=like.device)
    return zeros.movedim(-1, 1)


class _PickEven(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.size = inputs.shape
        return channels_last(inputs[_every_other(inputs)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = _zeros(ctx.size, gradients[0])
        whole[_every_other(whole)] = gradients[0]
        return whole


class _ReluHalves(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.size = inputs.shape
        even, odd = F.relu(inputs[_every_other(inputs)]), F.relu(inputs[_every_other(inputs, 1)])
        ctx.save_for_backward(even, odd)
        return even, odd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        even, odd = ctx.saved_tensors
        whole = _zeros(ctx.size, gradients[0])
        whole[_every_other(whole)] = torch.ops.aten.threshold_backward(gradients[0], even, 0)
        whole[_every_other(whole, 1)] = torch.ops.aten.threshold_backward(gradients[1], odd, 0)
        return whole


class _Concatenate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.sizes = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = _Split.apply(gradients[0], ctx.sizes)  # type: ignore[no-untyped-call]
        return parts


class _Split(torch.autograd.Function):
    # The derivative of torch's own split adds up as many tensors of the whole size as there are parts.

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
        return tuple(channels_last(part) for part in torch.split(inputs, list(sizes), dim=1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return concatenate(gradients), None
