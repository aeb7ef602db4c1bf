"""Pointwise convolutions with batch norm, without the convolution's output, and weighted batch norms without theirs.

A 1 x 1 convolution is a matrix product, `z = u W^T` with a row for each pixel, and the mean and the variance of its
outputs follow from the moments of its inputs: `mean(z) = W mean(u)`, `var(z) = diag(W Cov(u) W^T)`. Batch norm then is
a scale and a shift of the small matrix W, and so is a mixing weight on top of it: the big tensors are read once for the
moments and once for a product that is added straight to the sum of which it is a part. Where there is no convolution,
the product is one with a row of factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["RunningNorms", "as_matrix", "channel_moments", "from_matrix", "moments"]

EPSILON = 1e-5
MOMENTUM = 0.1


def as_matrix(pixels: Tensor) -> Tensor:
    """`(N, C, H, W)` to `(N H W, C)`, or `(N, C, L)` to `(N L, C)`; a view where the channels are last in memory."""
    return pixels.movedim(1, -1).reshape(-1, pixels.shape[1])


def from_matrix(matrix: Tensor, count: int, size: Sequence[int]) -> Tensor:
    """The inverse of `as_matrix`: `(N, C, *size)` with the channels last in memory."""
    return matrix.view(count, *size, -1).movedim(-1, 1)


def moments(matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The moments of the rows of K matrices `(P, C)`: means of the outer products `(K, C, C)`, and means `(K, C)`."""
    return cast(tuple[Tensor, Tensor], _Moments.apply(*matrices))  # type: ignore[no-untyped-call]


class _Moments(torch.autograd.Function):
    # One product a matrix in the backward pass, where autograd's own would take two and add them.

    @staticmethod
    def forward(ctx: Any, *matrices: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*matrices)
        pixels, channels = matrices[0].shape
        second, mean = (
            matrices[0].new_empty((len(matrices), channels, channels)),
            matrices[0].new_empty((len(matrices), channels)),
        )
        for matrix, product, row in zip(matrices, second, mean, strict=True):
            torch.mm(matrix.t(), matrix, out=product)
            torch.mean(matrix, 0, out=row)
        return second.div_(pixels), mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        second, mean = gradients
        pixels = len(ctx.saved_tensors[0])
        factors, shifts = (second + second.transpose(1, 2)) / pixels, mean / pixels
        return tuple(
            torch.addmm(shift, matrix, factor)
            for matrix, factor, shift in zip(ctx.saved_tensors, factors.unbind(), shifts.unbind(), strict=True)
        )


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

    Args:
        count: K.
        channels: C of each norm's outputs.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(count, channels))
        self.register_buffer("running_var", torch.ones(count, channels))

    def fold(
        self, weights: Tensor, inputs: Sequence[Tensor], scales: Tensor | None, owner: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Factors and shifts with `inputs[k] @ factors[k] + shifts[k] = scales[k] * norm_k(inputs[k] @ weights[k]^T)`.

        In training mode the statistics are those of the inputs, and the running ones move on.

        Args:
            weights: `(K, C, C_in)`.
            inputs: the distinct input matrices, each `(P, C_in)`.
            scales: `(K,)`; None for ones.
            owner: which input belongs to each of the K products; None where each has its own.

        Returns:
            `(K, C_in, C)` and `(K, C)`.
        """
        if self.training:
            second, mean = moments(inputs)
            covariance = second - mean.unsqueeze(2) * mean.unsqueeze(1)
            if owner is not None:
                covariance, mean = covariance[list(owner)], mean[list(owner)]
            centre = torch.bmm(weights, mean.unsqueeze(2)).squeeze(2)
            variance = (torch.bmm(weights, covariance) * weights).sum(2).clamp_min(0)
            self._move_on(centre, variance, len(inputs[0]))
        else:
            centre, variance = self.running_mean, self.running_var
        factor = torch.rsqrt(variance + EPSILON)
        if scales is not None:
            factor = factor * scales.unsqueeze(1)
        return (weights * factor.unsqueeze(2)).transpose(1, 2), -centre * factor

    def scale(self, inputs: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Factors and shifts with `inputs * factors[j] + shifts[j] = scales[j] * norm(inputs)`, for K = 1.

        Args:
            inputs: `(P, C)`.
            scales: `(J,)`.

        Returns:
            Both `(J, C)`.
        """
        if self.training:
            square, centre = channel_moments(inputs)
            variance = (square - centre.square()).clamp_min(0)
            self._move_on(centre, variance, len(inputs))
        else:
            centre, variance = self.running_mean[0], self.running_var[0]
        factors = torch.outer(scales, torch.rsqrt(variance + EPSILON))
        return factors, -centre * factors

    def _move_on(self, centre: Tensor, variance: Tensor, pixels: int) -> None:
        with torch.no_grad():
            self.running_mean.lerp_(centre, MOMENTUM)
            self.running_var.lerp_(variance * (pixels / max(1, pixels - 1)), MOMENTUM)
