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
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from archscout.nn.differentiation import wanted_gradients
from archscout.nn.layout import without_autocast
from archscout.nn.matrices import add_product, column_sums, gram, product

__all__ = ["RunningNorms", "all_sums", "apart", "both_apart", "channel_moments", "grams", "group_counts", "moments"]

EPSILON = 1e-5
MOMENTUM = 0.1


def channel_moments(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squares and the means of the rows of a matrix `(P, C)`, both `(C,)`."""
    return cast(tuple[Tensor, Tensor], _ChannelMoments.apply(matrix))  # type: ignore[no-untyped-call]


class _ChannelMoments(torch.autograd.Function):
    # One pass over the matrix in the backward pass.

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(matrix)
        return matrix.square().mean(0), matrix.mean(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (matrix,) = ctx.saved_tensors
        square, mean = gradients
        return torch.addcmul(mean / len(matrix), matrix, square * (2 / len(matrix)))


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

    def products(
        self, weights: Tensor, inputs: Sequence[Tensor], scales: Tensor, targets: Sequence[int], first: int = 0
    ) -> list[Tensor]:
        """`scales[k] * norm_k(input_k @ weights[k]^T)`, added up over the stacked inputs with the same target.

        Args:
            weights: `(K', D, C)`, of the norms from `first` on.
            inputs: stacked matrices, of K' norms together.
            scales: `(K',)` or `(K', D)`.
            targets: of each stacked matrix: 0, 1, ..., none left out.
            first: number of the first product's norm.

        Returns:
            A stacked matrix `(P, G D)` for each target.
        """
        with without_autocast(inputs[0].device):
            kernels, shifts, inputs = self.fold(weights, inputs, scales, first)
            return list(_Products.apply(tuple(targets), kernels, shifts, *inputs))  # type: ignore[no-untyped-call]

    def fold(
        self, weights: Tensor, inputs: Sequence[Tensor], scales: Tensor | None, first: int = 0
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Kernels and shifts with `input_k @ kernels[k]^T + shifts[k] = scales[k] * norm_k(input_k @ weights[k]^T)`.

        Args:
            weights, inputs, first: see `products`.
            scales: `(K',)` or `(K', D)`; None for ones.

        Returns:
            `(K', D, C)`, `(K', D)`, and the inputs again: use these, for the gradients' sake.
        """
        count = weights.shape[:2].numel() // self.running_mean.shape[1]  # one weight may hold those of several norms
        running = [
            each[first : first + count].view(weights.shape[:2]) for each in (self.running_mean, self.running_var)
        ]
        if self.training:
            second, mean, inputs = moments(inputs, weights.shape[2])
            covariance = second - mean.unsqueeze(2) * mean.unsqueeze(1)
            centre = torch.bmm(weights, mean.unsqueeze(2)).squeeze(2)
            variance = (torch.bmm(weights, covariance) * weights).sum(2).clamp_min(0)
            _move_on(running, centre, variance, len(inputs[0]))
        else:
            centre, variance = running
        factor = torch.rsqrt(variance + EPSILON)
        if scales is not None:
            factor = factor * scales.view(len(weights), -1)
        return weights * factor.unsqueeze(2), -centre * factor, inputs

    def scale(self, inputs: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Factors and shifts with `inputs * factors[j] + shifts[j] = scales[j] * norm(inputs)`, for K = 1.

        Args:
            inputs: `(P, C)`.
            scales: `(J,)`.

        Returns:
            Both `(J, C)`.
        """
        centre, variance = self.running_mean[0], self.running_var[0]
        if self.training:
            square, mean = channel_moments(inputs)
            spread = (square - mean.square()).clamp_min(0)
            _move_on((centre, variance), mean, spread, len(inputs))
            centre, variance = mean, spread
        factors = torch.outer(scales, torch.rsqrt(variance + EPSILON))
        return factors, -centre * factors


def _move_on(running: Sequence[Tensor], centre: Tensor, variance: Tensor, pixels: int) -> None:
    with torch.no_grad():
        running[0].lerp_(centre, MOMENTUM)
        running[1].lerp_(variance * (pixels / max(1, pixels - 1)), MOMENTUM)


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


def apart(parts: Tensor, inputs: Sequence[Tensor], channels: int | None = None) -> Sequence[Tensor]:
    """The first axis of what belongs to the norms, by the stacked inputs with so many channels a norm.

    Args:
        parts: `(K, ...)`.
        inputs: stacked matrices.
        channels: of an input; None where that is the last axis of the parts.
    """
    if len(inputs) == 1:
        return (parts,)
    return torch.split(parts, group_counts(inputs, channels or parts.shape[-1]))


def both_apart(
    kernels: Tensor, shifts: Tensor | None, inputs: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    """Kernels `(K, D, C)` and shifts `(K, D)`, None for zeros, by the stacked inputs; see `apart`."""
    return apart(kernels, inputs), [None] * len(inputs) if shifts is None else apart(shifts, inputs, kernels.shape[2])


def group_counts(inputs: Sequence[Tensor], channels: int) -> list[int]:
    """How many norms each of the stacked inputs belongs to, with so many channels a norm."""
    return [matrix.shape[1] // channels for matrix in inputs]


def grams(left: Sequence[Tensor], right: Sequence[Tensor], groups: Sequence[int]) -> Tensor:
    """`gram` of all pairs, `(K, D, C)`."""
    found = list(map(gram, left, right, groups))
    return found[0] if len(found) == 1 else torch.cat(found)


def all_sums(matrices: Sequence[Tensor], groups: Sequence[int]) -> Tensor:
    """`column_sums` of all, `(K, C)`."""
    found = list(map(column_sums, matrices, groups))
    return found[0] if len(found) == 1 else torch.cat(found)


def _sums(
    targets: Sequence[int], inputs: Sequence[Tensor], kernels: Tensor, shifts: Tensor | None, totals: dict[int, Tensor]
) -> dict[int, Tensor]:
    """Add the products of the stacked inputs to the totals of their targets."""
    for target, matrix, kernel, shift in zip(targets, inputs, *both_apart(kernels, shifts, inputs), strict=True):
        if target in totals:
            add_product(totals[target], matrix, kernel, shift)
        else:
            totals[target] = product(matrix, kernel, shift)
    return totals


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, targets: tuple[int, ...], kernels: Tensor, shifts: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.targets = targets
        ctx.save_for_backward(kernels, *inputs)
        totals = _sums(targets, inputs, kernels, shifts, {})
        return tuple(totals[target] for target in range(len(totals)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        kernels, *inputs = ctx.saved_tensors
        wanted = any(wanted_gradients(ctx, 1)[2:])
        into_kernels, into_shifts, *into_inputs = _ProductsGradient.apply(  # type: ignore[no-untyped-call]
            ctx.targets, wanted, kernels, *gradients, *inputs
        )
        return None, into_kernels, into_shifts, *(into_inputs or [None] * len(inputs))


class _ProductsGradient(torch.autograd.Function):
    """Gradients of kernels, shifts and, if wanted, inputs."""

    @staticmethod
    def forward(
        ctx: Any, targets: tuple[int, ...], wanted: bool, kernels: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.targets = targets
        ctx.save_for_backward(kernels, *tensors)
        count = max(targets) + 1
        own, inputs = [tensors[target].contiguous() for target in targets], tensors[count:]
        groups = group_counts(inputs, kernels.shape[2])
        into_kernels, into_shifts = grams(own, inputs, groups), all_sums(own, groups)
        turned = apart(kernels.transpose(1, 2), inputs, kernels.shape[2]) if wanted else ()
        return into_kernels, into_shifts, *map(product, own, turned)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, kernel_ways: Tensor, shift_ways: Tensor, *ways: Tensor) -> tuple[Any, ...]:
        kernels, *tensors = ctx.saved_tensors
        targets, count = ctx.targets, max(ctx.targets) + 1
        own, inputs = [tensors[target].contiguous() for target in targets], tensors[count:]
        totals = _sums(targets, inputs, kernel_ways, shift_ways, {})
        into_kernels = None
        if ways:
            _sums(targets, ways, kernels, None, totals)
            into_kernels = grams(own, ways, group_counts(inputs, kernels.shape[2]))
        into_inputs: list[Tensor | None] = [None] * len(inputs)
        if any(wanted_gradients(ctx, 2)[1 + count :]):
            turned = apart(kernel_ways.transpose(1, 2), inputs, kernels.shape[2])
            into_inputs = list(map(product, own, turned))
        return None, None, into_kernels, *(totals[target] for target in range(count)), *into_inputs
