"""The layout-keeping functions against their plain formulas: outputs, gradients, and the layout of the gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from archscout.nn.fast.layout import channels_last, concatenate, pick_even, relu_halves


def leaf(channels: int, size: tuple[int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(channels)
    inputs = torch.randn(2, channels, *size, dtype=torch.float64, generator=draw)
    return inputs.contiguous(memory_format=torch.channels_last).requires_grad_()


def gradients(outputs: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    direction = torch.randn(outputs.shape, dtype=outputs.dtype, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad(outputs, leaves, direction)


def check(ours: Tensor, plain: Tensor, *leaves: Tensor) -> None:
    assert torch.equal(ours, plain)
    for fast, reference in zip(gradients(ours, *leaves), gradients(plain, *leaves), strict=True):
        assert (fast - reference).abs().max() < 1e-12
        assert fast.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 3)])
def test_every_other_pixel(size: tuple[int, int]) -> None:
    inputs = leaf(4, size)
    check(pick_even(inputs), inputs[:, :, ::2, ::2], inputs)


@pytest.mark.parametrize("size", [(6, 8), (2, 4)])
def test_both_halves_after_a_relu(size: tuple[int, int]) -> None:
    inputs = leaf(4, size)
    plain = torch.cat([inputs[:, :, ::2, ::2].relu(), inputs[:, :, 1::2, 1::2].relu()], dim=1)
    check(torch.cat(relu_halves(inputs), dim=1), plain, inputs)


def test_sequences_are_treated_as_images() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = channels_last(torch.randn(2, 4, 6, dtype=torch.float64, generator=draw)).requires_grad_()
    for ours, plain in (
        (pick_even(inputs), inputs[:, :, ::2]),
        (torch.cat(relu_halves(inputs), 1), torch.cat([inputs[:, :, ::2].relu(), inputs[:, :, 1::2].relu()], 1)),
        (concatenate([inputs, inputs]), torch.cat([inputs, inputs], 1)),
    ):
        assert torch.equal(ours, plain)
        (fast,), (reference,) = gradients(ours, inputs), gradients(plain, inputs)
        assert torch.equal(fast, reference)
        assert fast.transpose(1, 2).is_contiguous()


def test_concatenation() -> None:
    parts = [leaf(channels, (5, 6)) for channels in (3, 4, 8)]
    check(concatenate(parts), torch.cat(parts, dim=1), *parts)


def test_inference_takes_the_plain_formulas() -> None:
    inputs = leaf(4, (6, 6))
    with torch.no_grad():
        assert pick_even(inputs).data_ptr() == inputs.data_ptr()


def test_second_derivatives_of_a_concatenation() -> None:
    parts = [leaf(channels, (4, 6)) for channels in (3, 4)]

    def second(joined: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(joined[:, 3:].pow(3).sum() * joined.square().mean(), parts, create_graph=True)
        return torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), parts)

    for ours, reference in zip(second(concatenate(parts)), second(torch.cat(parts, dim=1)), strict=True):
        assert (ours - reference).abs().max() < 1e-12 * reference.abs().max()
