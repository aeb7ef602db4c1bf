"""Batch norm folded into the small matrix of the product before it, with hand-written derivatives.

For inputs `u` with second moments `M = mean(u u^T)` and means `m`, the outputs `z = W u` have the means `c = W m` and
the variances `v = diag(W M W^T) - c^2`. With `r = (v + epsilon)^(-1/2)` and `f = s r`,

    s (z - c) r = (f W) u - f c.

Everything here is small, so what counts is the number of calls: autograd takes three times as many for the first
derivative and twice as many for the second.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archscout.nn.fast.differentiation import wanted_gradients

__all__ = ["EPSILON", "fold"]

EPSILON = 1e-5  # of torch's batch norms


def fold(weights: Tensor, second: Tensor, mean: Tensor, scales: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernels and shifts of K products with norms; see the module's docstring. May be differentiated twice.

    Args:
        weights: W, `(K, D, C)`.
        second, mean: M and m, `(K, C, C)` and `(K, C)`; M symmetric.
        scales: s, `(K, D)` or `(K, 1)`.

    Returns:
        `f W` and `-f c`, `(K, D, C)` and `(K, D)`; c and v, `(K, D)`, without derivatives.
    """
    return cast(tuple[Tensor, Tensor, Tensor, Tensor], _Fold.apply(weights, second, mean, scales))  # type: ignore[no-untyped-call]


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, second: Tensor, mean: Tensor, scales: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centre, through = _times(weights, mean), torch.bmm(weights, second)
        variance = ((through * weights).sum(2) - centre.square()).clamp_min_(0)
        slope = (variance + EPSILON).rsqrt_()
        factor = scales * slope
        ctx.save_for_backward(weights, second, mean, scales, centre, through, slope, variance)
        ctx.mark_non_differentiable(centre, variance)
        return weights * factor.unsqueeze(2), (centre * factor).neg_(), centre, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights, second, mean, scales, centre, through, slope, variance = ctx.saved_tensors
        curve = slope.pow(3).mul_(variance > 0)  # no derivative where the variance was cut
        return cast(
            tuple[Tensor | None, ...],
            _FoldGradient.apply(  # type: ignore[no-untyped-call]
                weights, second, mean, scales, *gradients[:2], centre, through, slope, curve
            ),
        )


class _FoldGradient(torch.autograd.Function):
    """The gradients of weights, second moments, means and scales. The last four arguments follow from the first."""

    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,
        second: Tensor,
        mean: Tensor,
        scales: Tensor,
        into_kernels: Tensor,
        into_shifts: Tensor,
        centre: Tensor,
        through: Tensor,
        slope: Tensor,
        curve: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        factor = scales * slope
        into_factor = (into_kernels * weights).sum(2).sub_(into_shifts * centre)
        into_variance = (scales * curve).mul_(into_factor).mul_(-0.5)
        into_centre = (into_shifts * factor).addcmul_(centre, into_variance, value=2).neg_()
        ctx.save_for_backward(
            *(weights, second, mean, scales, into_kernels, into_shifts, centre, through, slope, curve),
            *(into_factor, into_variance, into_centre),
        )
        into_weights = into_kernels * factor.unsqueeze(2)
        into_weights.addcmul_(through, into_variance.unsqueeze(2), value=2)
        into_weights.addcmul_(into_centre.unsqueeze(2), mean.unsqueeze(1))
        into_second = torch.bmm(weights.transpose(1, 2), weights * into_variance.unsqueeze(2))
        return into_weights, into_second, _times_turned(into_centre, weights), _like(into_factor * slope, scales)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *ways: Tensor) -> tuple[Tensor | None, ...]:
        # The second derivatives are symmetric: these gradients are the derivatives, along the ways, of all outputs of
        # `_Fold` and of its gradients.
        weights, second, mean, scales, into_kernels, into_shifts, centre, through, slope, curve = ctx.saved_tensors[:10]
        into_factor, into_variance, into_centre = ctx.saved_tensors[10:]
        weight_way, second_way, mean_way, scale_way = ways
        beside = torch.bmm(weights, second_way)
        centre_way = _times(weight_way, mean).add_(_times(weights, mean_way))
        variance_way = (weight_way * through).mul_(2).addcmul_(beside, weights).sum(2)
        variance_way.addcmul_(centre, centre_way, value=-2)
        slope_way = (curve * variance_way).mul_(-0.5)
        factor = scales * slope
        factor_way = (scale_way * slope).addcmul_(scales, slope_way)
        kernel_way = torch.addcmul(weights * factor_way.unsqueeze(2), weight_way, factor.unsqueeze(2))
        shift_way = (factor_way * centre).addcmul_(factor, centre_way).neg_()

        again_factor = (into_kernels * weight_way).sum(2).addcmul_(into_shifts, centre_way, value=-1)
        again_variance = (scale_way * curve).mul_(into_factor).addcmul_(scales * curve, again_factor)
        again_variance.addcmul_(scales * into_factor * slope.square(), slope_way * (curve > 0), value=3).mul_(-0.5)
        again_centre = (into_shifts * factor_way).addcmul_(centre_way, into_variance, value=2)
        again_centre.addcmul_(centre, again_variance, value=2).neg_()
        bent = torch.addcmul(weights * again_variance.unsqueeze(2), weight_way, into_variance.unsqueeze(2))
        again_second = torch.bmm(weight_way.transpose(1, 2), weights * into_variance.unsqueeze(2))
        again_second.baddbmm_(weights.transpose(1, 2), bent)
        again_mean = _times_turned(into_centre, weight_way).add_(_times_turned(again_centre, weights))
        again_scales = _like((again_factor * slope).addcmul_(into_factor, slope_way), scales)
        again_weights = None
        if wanted_gradients(ctx)[0]:
            beside.add_(torch.bmm(weights, second_way.transpose(1, 2))).add_(torch.bmm(weight_way, second), alpha=2)
            again_weights = (into_kernels * factor_way.unsqueeze(2)).addcmul_(beside, into_variance.unsqueeze(2))
            again_weights.addcmul_(through, again_variance.unsqueeze(2), value=2)
            again_weights.addcmul_(again_centre.unsqueeze(2), mean.unsqueeze(1))
            again_weights.addcmul_(into_centre.unsqueeze(2), mean_way.unsqueeze(1))
        return again_weights, again_second, again_mean, again_scales, kernel_way, shift_way, *[None] * 4


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """`(K, D, C)` times `(K, C)`."""
    return torch.bmm(matrices, vectors.unsqueeze(2)).squeeze(2)


def _times_turned(vectors: Tensor, matrices: Tensor) -> Tensor:
    """`(K, D)` times `(K, D, C)`."""
    return torch.bmm(vectors.unsqueeze(1), matrices).squeeze(1)


def _like(gradient: Tensor, scales: Tensor) -> Tensor:
    """The gradient of scales that may have been broadcast."""
    return gradient if gradient.shape == scales.shape else gradient.sum(1, keepdim=True)
