"""Gradients that stay in channels_last on a CPU.

Slices hand back gradients in NCHW and concatenations strided views of theirs; the backward passes of batch norm and
ReLU then take paths that are three to five times slower, and so does everything that these gradients are added to.
The functions here compute what their plain formulas compute, in the good layout. On other devices, in inference and
under tracing they are the plain formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["concatenate", "pick_even", "relu_halves"]


def pick_even(inputs: Tensor) -> Tensor:
    """`inputs[:, :, ::2, ::2]` of `(N, C, H, W)`."""
    if not _needed(inputs):
        return inputs[:, :, ::2, ::2]
    picked: Tensor = _PickEven.apply(inputs)  # type: ignore[no-untyped-call]
    return picked


def relu_halves(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """`relu(inputs[:, :, ::2, ::2])` and `relu(inputs[:, :, 1::2, 1::2])` of `(N, C, H, W)`."""
    if not _needed(inputs):
        return F.relu(inputs[:, :, ::2, ::2]), F.relu(inputs[:, :, 1::2, 1::2])
    halves: tuple[Tensor, Tensor] = _ReluHalves.apply(inputs)  # type: ignore[no-untyped-call]
    return halves


def concatenate(parts: Sequence[Tensor]) -> Tensor:
    """`torch.cat(parts, dim=1)` of several `(N, C_i, H, W)`."""
    return torch.cat([_DenseGradient.apply(part) if _needed(part) else part for part in parts], dim=1)  # type: ignore[no-untyped-call]


def _needed(inputs: Tensor) -> bool:
    return (
        inputs.requires_grad
        and torch.is_grad_enabled()
        and inputs.device.type == "cpu"
        and not torch.compiler.is_compiling()
    )


def _zeros(size: torch.Size, like: Tensor) -> Tensor:
    empty = torch.empty(size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    return empty.zero_()


class _PickEven(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.size = inputs.shape
        return inputs[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = _zeros(ctx.size, gradients[0])
        whole[:, :, ::2, ::2] = gradients[0]
        return whole


class _ReluHalves(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.size = inputs.shape
        even, odd = F.relu(inputs[:, :, ::2, ::2]), F.relu(inputs[:, :, 1::2, 1::2])
        ctx.save_for_backward(even, odd)
        return even, odd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        even, odd = ctx.saved_tensors
        whole = _zeros(ctx.size, gradients[0])
        whole[:, :, ::2, ::2] = torch.ops.aten.threshold_backward(gradients[0], even, 0)
        whole[:, :, 1::2, 1::2] = torch.ops.aten.threshold_backward(gradients[1], odd, 0)
        return whole


class _DenseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous(memory_format=torch.channels_last)
