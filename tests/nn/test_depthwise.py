"""The fast depthwise convolution against torch's own: outputs and all gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.nn.depthwise import DepthwiseConv2d, depthwise_conv2d


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
    fast = gradients(depthwise_conv2d(inputs, weight, stride, dilation), inputs, weight)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for ours, reference in zip(fast, plain, strict=True):
        assert (ours - reference).abs().max() < tolerance


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


def test_a_second_derivative_raises_instead_of_being_wrong() -> None:
    weight = torch.randn(4, 1, 5, 5, requires_grad=True)
    outputs = depthwise_conv2d(torch.randn(1, 4, 6, 6), weight)
    (first,) = torch.autograd.grad(outputs.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()  # type: ignore[no-untyped-call]


def test_it_is_an_ordinary_convolution_to_state_dict_and_export() -> None:
    module = DepthwiseConv2d(4, 3, stride=2)
    assert list(module.state_dict()) == ["weight"]
    program = torch.export.export(module.eval(), (torch.randn(1, 4, 8, 8),))
    inputs = torch.randn(1, 4, 8, 8)
    assert torch.allclose(program.module()(inputs), module(inputs))
