"""Moments of the rows of tall matrices, which may be differentiated twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archscout.nn.fast.differentiation import wanted_gradients
from archscout.nn.fast.matrices import add_product, column_sums, product
from archscout.nn.fast.stacked import all_sums, apart, both_apart, grams, group_counts

__all__ = ["channel_moments", "moments"]


def moments(inputs: Sequence[Tensor], channels: int) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """The moments of the rows of K matrices `(P, C)`, given in stacked matrices.

    Returns:
        The means of the outer products `(K, C, C)`, the means `(K, C)`, and the matrices again: what goes on with these
        leaves its gradients where those of the moments are added in place.
    """
    second, mean, *passed = _Moments.apply(channels, *inputs)  # type: ignore[no-untyped-call]
    return second, mean, passed


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, channels: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*inputs)
        pixels, groups = len(inputs[0]), group_counts(inputs, channels)
        second, mean = grams(inputs, inputs, groups), all_sums(inputs, groups)
        return second.div_(pixels), mean.div_(pixels), *inputs

    @staticmethod
    def backward(ctx: Any, into_second: Tensor, into_mean: Tensor, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = _MomentsGradient.apply(into_second, into_mean, *gradients, *inputs)  # type: ignore[no-untyped-call]
            return None, *found
        kernels, shifts = _moment_kernels(into_second, into_mean, len(inputs[0]))
        parts = zip(inputs, *both_apart(kernels, shifts, inputs), strict=True)
        for gradient, part in zip(gradients, parts, strict=True):
            add_product(gradient, *part)  # nothing else holds it
        return None, *gradients


class _MomentsGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, into_second: Tensor, into_mean: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(tensors) // 2
        gradients, inputs = tensors[:count], tensors[count:]
        kernels, shifts = _moment_kernels(into_second, into_mean, len(inputs[0]))
        ctx.save_for_backward(kernels, *inputs)
        parts = zip(inputs, *both_apart(kernels, shifts, inputs), strict=True)
        return tuple(product(*part).add_(gradient) for gradient, part in zip(gradients, parts, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *ways: Tensor) -> tuple[Tensor | None, ...]:
        kernels, *inputs = ctx.saved_tensors
        pixels, groups = len(inputs[0]), group_counts(inputs, kernels.shape[2])
        second, mean = grams(inputs, ways, groups), all_sums(ways, groups)
        into_inputs: list[Tensor | None] = [None] * len(inputs)
        if any(wanted_gradients(ctx)[2 + len(inputs) :]):
            into_inputs = [product(way, kernel) for way, kernel in zip(ways, apart(kernels, inputs), strict=True)]
        return (second + second.transpose(1, 2)) / pixels, mean / pixels, *ways, *into_inputs


def _moment_kernels(into_second: Tensor, into_mean: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """What the gradients of the moments do to a row of the inputs: a symmetric product and a shift."""
    return (into_second + into_second.transpose(1, 2)) / pixels, into_mean / pixels


def channel_moments(matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean squares and the means of the rows of K matrices `(P, C)`, both `(K, C)`."""
    return cast(tuple[Tensor, Tensor], _ChannelMoments.apply(*matrices))  # type: ignore[no-untyped-call]


class _ChannelMoments(torch.autograd.Function):
    # One pass over each matrix in the backward pass.

    @staticmethod
    def forward(ctx: Any, *matrices: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*matrices)
        squares = torch.cat([column_sums(wide.square(), 1) for wide in map(_at_least_single, matrices)])
        sums = torch.cat([column_sums(matrix, 1) for matrix in matrices])
        return squares.div_(len(matrices[0])), sums.div_(len(matrices[0]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        matrices = ctx.saved_tensors
        squares, means = (gradient / len(matrices[0]) for gradient in gradients)
        parts = zip(matrices, (2 * squares).unbind(), means.unbind(), strict=True)
        return tuple(torch.addcmul(mean, matrix, square).to(matrix.dtype) for matrix, square, mean in parts)


def _at_least_single(matrix: Tensor) -> Tensor:
    return matrix.float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix
