"""Pointwise convolutions with batch norm, without the convolution's output, and weighted batch norms without theirs.

A 1 x 1 convolution is a matrix product, `z = u W^T` with a row for each pixel, and the mean and the variance of its
outputs follow from the moments of its inputs: `mean(z) = W mean(u)`, `var(z) = diag(W Cov(u) W^T)`. Batch norm then is
a scale and a shift of the small matrix W, and so is a mixing weight on top of it: the big tensors are read once for the
moments and once for a product that is added straight to the sum of which it is a part. Where there is no convolution,
the product is one with a row of factors.

All of it may be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from archscout.nn.fast.differentiation import wanted_gradients
from archscout.nn.fast.folding import EPSILON, fold
from archscout.nn.fast.layout import without_autocast
from archscout.nn.fast.matrices import add_product, product
from archscout.nn.fast.moments import channel_moments, moments
from archscout.nn.fast.stacked import apart, grams, group_counts

__all__ = ["RunningNorms", "channel_factors", "products"]

MOMENTUM = 0.1


class RunningNorms(nn.Module):
    """The running statistics of K batch norms without affine parameters, and the folding of these norms into products.

    In training mode the statistics are those of the inputs, and the running ones move on. Inputs of several norms lie
    side by side in stacked matrices: `(P, G C)` holds the C channels of the first of G norms, then those of the second.

    Args:
        count: K.
        channels: D, of each norm's outputs.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(count, channels))
        self.register_buffer("running_var", torch.ones(count, channels))

    def fold(
        self, weights: Tensor, inputs: Sequence[Tensor], scales: Tensor
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Kernels and shifts with `input_k @ kernels[k]^T + shifts[k] = scales[k] * norm_k(input_k @ weights[k]^T)`.

        Args:
            weights: `(K, D, C)`; or fewer of several norms each, side by side in D.
            inputs: stacked matrices.
            scales: `(K,)`, or `(K, D)`.

        Returns:
            `(K, D, C)`, `(K, D)`, and the inputs again: use these, for the gradients' sake.
        """
        scales = scales.view(len(weights), -1)
        if self.training:
            with without_autocast(inputs[0].device):
                second, mean, inputs = moments(inputs, weights.shape[2])
                kernels, shifts, centre, variance = fold(weights, second, mean, scales)
            self.move_on(centre, variance, len(inputs[0]))
            return kernels, shifts, inputs
        centre, variance = (each.view(weights.shape[:2]) for each in (self.running_mean, self.running_var))
        factors = scales * torch.rsqrt(variance + EPSILON)
        return weights * factors.unsqueeze(2), -centre * factors, inputs

    def move_on(self, centre: Tensor, variance: Tensor, pixels: int) -> None:
        """Move the running statistics on, towards those of so many pixels."""
        with torch.no_grad():
            self.running_mean.lerp_(centre.view_as(self.running_mean), MOMENTUM)
            unbiased = variance * (pixels / max(1, pixels - 1))
            self.running_var.lerp_(unbiased.view_as(self.running_var), MOMENTUM)


def channel_factors(
    norms: Sequence[RunningNorms], inputs: Sequence[Tensor], scales: Tensor
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Factors and shifts with `inputs[k] * factors[k][j] + shifts[k][j] = scales[k, j] * norm_k(inputs[k])`.

    Args:
        norms: one norm each.
        inputs: `(P, C)` each.
        scales: `(K, J)`.

    Returns:
        Both `(J, C)` each.
    """
    if not norms[0].training:
        settled = [
            torch.outer(scale, torch.rsqrt(norm.running_var[0] + EPSILON))
            for norm, scale in zip(norms, scales, strict=True)
        ]
        return settled, [-norm.running_mean * factor for norm, factor in zip(norms, settled, strict=True)]
    square, mean = channel_moments(inputs)
    # Every channel is a product of one input and J outputs, with ones for weights.
    count, edges, channels = *scales.shape, square.shape[1]
    ones, rows = square.new_ones(square.numel(), edges, 1), scales.repeat_interleave(channels, 0)
    with without_autocast(square.device):
        kernels, shifts, centre, variance = fold(ones, square.view(-1, 1, 1), mean.view(-1, 1), rows)
    for norm, *both in zip(norms, *(each[:, 0].view(count, -1) for each in (centre, variance)), strict=True):
        norm.move_on(*both, len(inputs[0]))
    factors, turned = (each.view(count, channels, edges).transpose(1, 2).contiguous() for each in (kernels, shifts))
    return factors.unbind(), turned.unbind()


def products(kernels: Tensor, inputs: Sequence[Tensor], targets: Sequence[int]) -> list[Tensor]:
    """`input_k @ kernels[k]^T`, added up over the stacked inputs with the same target.

    Args:
        kernels: `(K, D, C)`.
        inputs: stacked matrices.
        targets: of each stacked matrix: 0, 1, ..., none left out.

    Returns:
        A stacked matrix `(P, G D)` for each target.
    """
    with without_autocast(kernels.device):
        return list(_Products.apply(tuple(targets), kernels, *inputs))  # type: ignore[no-untyped-call]


def _add_up(
    targets: Sequence[int], inputs: Sequence[Tensor], kernels: Tensor, totals: dict[int, Tensor]
) -> dict[int, Tensor]:
    """Add the products of the stacked inputs to the totals of their targets."""
    for target, matrix, kernel in zip(targets, inputs, apart(kernels, inputs), strict=True):
        if target in totals:
            add_product(totals[target], matrix, kernel)
        else:
            totals[target] = product(matrix, kernel)
    return totals


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, targets: tuple[int, ...], kernels: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.targets = targets
        ctx.save_for_backward(kernels, *inputs)
        totals = _add_up(targets, inputs, kernels, {})
        return tuple(totals[target] for target in range(len(totals)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        kernels, *inputs = ctx.saved_tensors
        wanted = any(wanted_gradients(ctx, 1)[1:])
        into_kernels, *into_inputs = _ProductsGradient.apply(  # type: ignore[no-untyped-call]
            ctx.targets, wanted, kernels, *gradients, *inputs
        )
        return None, into_kernels, *(into_inputs or [None] * len(inputs))


class _ProductsGradient(torch.autograd.Function):
    """Gradients of kernels and, if wanted, inputs."""

    @staticmethod
    def forward(
        ctx: Any, targets: tuple[int, ...], wanted: bool, kernels: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.targets = targets
        ctx.save_for_backward(kernels, *tensors)
        own, inputs = _own_gradients(targets, tensors)
        turned = apart(kernels.transpose(1, 2), inputs, kernels.shape[2]) if wanted else ()
        return grams(own, inputs, group_counts(inputs, kernels.shape[2])), *map(product, own, turned)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, kernel_ways: Tensor, *ways: Tensor) -> tuple[Any, ...]:
        kernels, *tensors = ctx.saved_tensors
        targets = ctx.targets
        own, inputs = _own_gradients(targets, tensors)
        totals = _add_up(targets, inputs, kernel_ways, {})
        into_kernels = None
        if ways:
            _add_up(targets, ways, kernels, totals)
            into_kernels = grams(own, ways, group_counts(inputs, kernels.shape[2]))
        into_inputs: list[Tensor | None] = [None] * len(inputs)
        if any(wanted_gradients(ctx, 2)[1 + len(totals) :]):
            turned = apart(kernel_ways.transpose(1, 2), inputs, kernels.shape[2])
            into_inputs = list(map(product, own, turned))
        return None, None, into_kernels, *(totals[target] for target in range(len(totals))), *into_inputs


def _own_gradients(targets: Sequence[int], tensors: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[Tensor]]:
    """The gradient of each input's target, and the inputs, from the gradients of the targets and the inputs."""
    count = max(targets) + 1
    gradients = [gradient.contiguous() for gradient in tensors[:count]]
    return [gradients[target] for target in targets], tensors[count:]
