"""Norms folded into products, against the plain formulas: values, and first and second derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from archscout.nn.fast.folding import EPSILON, fold


def plain(weights: Tensor, second: Tensor, mean: Tensor, scales: Tensor) -> tuple[Tensor, ...]:
    centre = (weights @ mean.unsqueeze(2)).squeeze(2)
    variance = ((weights @ second) * weights).sum(2) - centre.square()
    factors = scales * torch.rsqrt(variance + EPSILON)
    return weights * factors.unsqueeze(2), -centre * factors, centre, variance


def draw(scale_columns: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights, inputs, scales = (
        torch.randn(3, *size, dtype=torch.float64, generator=generator) for size in ((5, 4), (40, 4), (scale_columns,))
    )
    second, mean = inputs.transpose(1, 2) @ inputs / 40, (inputs + 0.3).mean(1)
    second += 0.3 * (mean.unsqueeze(1) + mean.unsqueeze(2))
    return weights.requires_grad_(), second.requires_grad_(), mean.requires_grad_(), scales.requires_grad_()


def symmetric(second: Tensor) -> Tensor:
    return (second + second.transpose(1, 2)) / 2


@pytest.mark.parametrize("scale_columns", [1, 5])
def test_kernels_shifts_and_statistics_equal_the_plain_formulas(scale_columns: int) -> None:
    arguments = draw(scale_columns)
    for ours, expected in zip(fold(*arguments), plain(*arguments), strict=True):
        assert (ours - expected).abs().max() < 1e-12


@pytest.mark.parametrize("scale_columns", [1, 5])
def test_both_derivatives_equal_those_of_the_plain_formulas(scale_columns: int) -> None:
    weights, second, mean, scales = draw(scale_columns)

    def folded(weights: Tensor, second: Tensor, mean: Tensor, scales: Tensor) -> tuple[Tensor, ...]:
        return fold(weights, symmetric(second), mean, scales)[:2]

    arguments = (weights, second, mean, scales)
    assert torch.autograd.gradcheck(folded, arguments)
    assert torch.autograd.gradgradcheck(folded, arguments)


def test_channels_without_variance_have_finite_gradients() -> None:
    weights, mean = torch.ones(1, 2, 3, requires_grad=True), torch.full((1, 3), 2.0, requires_grad=True)
    second = torch.full((1, 3, 3), 4.0 - 1e-6, requires_grad=True)  # less than the square of the mean: rounded
    kernels, shifts, _, variance = fold(weights, second, mean, torch.ones(1, 1))
    assert float(variance.min()) == 0
    found = torch.autograd.grad(kernels.sum() + shifts.sum(), (weights, second, mean))
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    assert float(found[1].abs().max()) == 0
