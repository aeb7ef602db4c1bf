"""The fast depthwise convolution against torch's own: outputs and all gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.nn.fast.depthwise import DepthwiseConv1d, DepthwiseConv2d, depthwise_conv
from archscout.nn.fast.phases import from_phases, to_phases


def gradients(outputs: Tensor, *leaves: Tensor) -> list[Tensor]:
    direction = torch.randn(outputs.shape, dtype=outputs.dtype, generator=torch.Generator().manual_seed(1))
    return [outputs, *torch.autograd.grad(outputs, leaves, direction)]


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 2), (3, 9)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_and_gradients_equal_the_plain_convolution(
    kernel: int, stride: int, dilation: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 4, *size, dtype=dtype, generator=draw).requires_grad_()
    weight = torch.randn(4, 1, kernel, kernel, dtype=dtype, generator=draw).requires_grad_()
    padding = dilation * (kernel - 1) // 2
    plain = gradients(F.conv2d(inputs, weight, None, stride, padding, dilation, 4), inputs, weight)
    fast = gradients(depthwise_conv(inputs, weight, stride, dilation), inputs, weight)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for ours, reference in zip(fast, plain, strict=True):
        assert (ours - reference).abs().max() < tolerance


@pytest.mark.parametrize("length", [1, 8, 9])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 11])
def test_sequences_equal_the_plain_convolution(kernel: int, stride: int, dilation: int, length: int) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 4, length, dtype=torch.float64, generator=draw).requires_grad_()
    weight = torch.randn(4, 1, kernel, dtype=torch.float64, generator=draw).requires_grad_()
    padding = dilation * (kernel - 1) // 2
    plain = gradients(F.conv1d(inputs, weight, None, stride, padding, dilation, 4), inputs, weight)
    fast = gradients(depthwise_conv(inputs, weight, stride, dilation), inputs, weight)
    for ours, reference in zip(fast, plain, strict=True):
        assert (ours - reference).abs().max() < 1e-10


@pytest.mark.parametrize("size", [(9, 8), (16, 5), (2, 3)])
@pytest.mark.parametrize("dilation", [3, 4, 7, 15])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_large_dilations_equal_the_plain_convolution(
    kernel: int, stride: int, dilation: int, size: tuple[int, int]
) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, *size, dtype=torch.float64, generator=draw).requires_grad_()
    weight = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, generator=draw).requires_grad_()
    plain = gradients(F.conv2d(inputs, weight, None, stride, dilation * (kernel - 1) // 2, dilation, 3), inputs, weight)
    fast = gradients(depthwise_conv(inputs, weight, stride, dilation), inputs, weight)
    with torch.no_grad():
        fast.append(depthwise_conv(inputs, weight, stride, dilation))
    for ours, reference in zip(fast, [*plain, plain[0]], strict=True):
        assert (ours - reference).abs().max() < 1e-10


def test_channels_last_inputs_stay_channels_last() -> None:
    module = DepthwiseConv2d(8, 5, dilation=2)
    inputs = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert module(inputs).is_contiguous(memory_format=torch.channels_last)


def test_only_wanted_gradients_are_computed() -> None:
    module = DepthwiseConv2d(4, 5)
    module.weight.requires_grad_(False)
    inputs = torch.randn(2, 4, 6, 6, requires_grad=True)
    module(inputs).sum().backward()
    assert inputs.grad is not None
    assert module.weight.grad is None


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(5, 1, 1), (3, 1, 2), (5, 1, 2), (3, 2, 2), (3, 1, 1), (3, 2, 1), (5, 2, 1), (3, 1, 3)],
)
def test_second_derivatives_equal_the_plain_convolutions(kernel: int, stride: int, dilation: int) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=draw).requires_grad_()
    weight = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, generator=draw).requires_grad_()

    def second(outputs: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(outputs.pow(3).sum(), (inputs, weight), create_graph=True)
        return list(torch.autograd.grad(sum(part.square().sum() for part in first), (inputs, weight)))  # type: ignore[arg-type]

    plain = second(F.conv2d(inputs, weight, None, stride, dilation * (kernel - 1) // 2, dilation, 3))
    for ours, reference in zip(second(depthwise_conv(inputs, weight, stride, dilation)), plain, strict=True):
        assert (ours - reference).abs().max() < 1e-9 * reference.abs().max()


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(5, 1, 1), (3, 1, 2), (5, 1, 3), (3, 1, 1), (3, 2, 1), (5, 2, 1)]
)
def test_second_derivatives_of_sequences_equal_the_plain_convolutions(kernel: int, stride: int, dilation: int) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 11, dtype=torch.float64, generator=draw).requires_grad_()
    weight = torch.randn(3, 1, kernel, dtype=torch.float64, generator=draw).requires_grad_()

    def second(outputs: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(outputs.pow(3).sum(), (inputs, weight), create_graph=True)
        return torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (inputs, weight))

    plain = second(F.conv1d(inputs, weight, None, stride, dilation * (kernel - 1) // 2, dilation, 3))
    for ours, reference in zip(second(depthwise_conv(inputs, weight, stride, dilation)), plain, strict=True):
        assert (ours - reference).abs().max() < 1e-9 * reference.abs().max()


@pytest.mark.parametrize(("size", "dilation"), [((4, 6), 2), ((2, 2), 2), ((8,), 2), ((6, 9), 3), ((10,), 5)])
def test_phases_and_back_give_the_pixels(size: tuple[int, ...], dilation: int) -> None:
    pixels = torch.arange(2 * 3 * math.prod(size), dtype=torch.float32).reshape(2, 3, *size)
    assert torch.equal(from_phases(to_phases(pixels, dilation), dilation), pixels)


@pytest.mark.parametrize("dims", [1, 2])
def test_it_is_an_ordinary_convolution_to_state_dict_and_export(dims: int) -> None:
    module = (DepthwiseConv2d if dims == 2 else DepthwiseConv1d)(4, 3, stride=2)
    assert list(module.state_dict()) == ["weight"]
    inputs = torch.randn(1, 4, *(8,) * dims)
    program = torch.export.export(module.eval(), (torch.randn(inputs.shape),))
    assert torch.allclose(program.module()(inputs), module(inputs))
