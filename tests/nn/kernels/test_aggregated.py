"""The aggregated convolution against the plain sum of dilated convolutions."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.errors import SettingsError
from archscout.nn.kernels.aggregated import BACKENDS, AggregatedConv, Backend, aggregated_conv
from archscout.nn.kernels.candidates import Candidates, fast_length, grid_plan, live_size

LARGE = {2: Candidates.of((3, 5, 7, 9), (1, 3, 7, 15), 2), 1: Candidates.of((3, 7, 11, 15, 19), (1, 3, 7, 15), 1)}
MAPS: list[tuple[int, ...]] = [(8, 8), (7, 10), (16, 5), (23,), (40,), (2,)]
# input channels, output channels, groups
WIDTHS = [(3, 3, 3), (3, 4, 1), (4, 6, 2), (2, 4, 2)]


def plain_sum(
    inputs: Tensor, weight: Tensor, mixing: Tensor, candidates: Candidates, bias: Tensor, stride: int, groups: int
) -> Tensor:
    """As the definition is written, with full paddings."""
    convolve: Any = F.conv2d if candidates.dimensions == 2 else F.conv1d
    total, first = torch.zeros(()), 0
    for (size, dilation), share in zip(candidates.kernels, mixing, strict=True):
        taps = size**candidates.dimensions
        kernel = weight[:, :, first : first + taps].reshape(*weight.shape[:2], *(size,) * candidates.dimensions)
        total = total + share * convolve(
            inputs, kernel, None, stride, dilation * (size - 1) // 2, dilation=dilation, groups=groups
        )
        first += taps
    return total + bias.view(-1, *(1,) * candidates.dimensions)


def results(compute: Any, tensors: list[Tensor], seed: int = 0) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    outputs = compute(*leaves)
    direction = torch.randn(outputs.shape, dtype=outputs.dtype, generator=torch.Generator().manual_seed(seed))
    return [outputs.detach(), *torch.autograd.grad((outputs * direction).sum(), leaves)]


def tensors_for(lengths: tuple[int, ...], widths: tuple[int, int, int], candidates: Candidates) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    inputs, outputs, groups = widths
    shapes = [
        (2, inputs, *lengths),
        (outputs, inputs // groups, sum(candidates.taps)),
        (len(candidates.kernels),),
        (outputs,),
    ]
    return [torch.randn(shape, dtype=torch.float64, generator=draw) for shape in shapes]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("lengths", MAPS, ids=str)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_every_backend_is_the_plain_sum(
    backend: Backend, stride: int, lengths: tuple[int, ...], widths: tuple[int, int, int]
) -> None:
    candidates = LARGE[len(lengths)]
    tensors = tensors_for(lengths, widths, candidates)

    def fast(inputs: Tensor, weight: Tensor, mixing: Tensor, bias: Tensor) -> Tensor:
        return aggregated_conv(
            inputs, weight, mixing, candidates, bias=bias, stride=(stride, stride), groups=widths[2], backend=backend
        )

    def plain(inputs: Tensor, weight: Tensor, mixing: Tensor, bias: Tensor) -> Tensor:
        return plain_sum(inputs, weight, mixing, candidates, bias, stride, widths[2])

    expected = results(plain, tensors)
    for found, wanted in zip(results(fast, tensors), expected, strict=True):
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) <= 1e-12 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_may_differ_between_dimensions(backend: Backend) -> None:
    candidates = Candidates.of((3, 5), (1, 2), 2)
    inputs, weight, mixing, _ = tensors_for((9, 6), (2, 2, 2), candidates)
    found = aggregated_conv(inputs, weight, mixing, candidates, stride=(3, 2), groups=2, backend=backend)
    whole = aggregated_conv(inputs, weight, mixing, candidates, groups=2, backend="direct")
    assert torch.allclose(found, whole[:, :, ::3, ::2], atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_taps_that_never_touch_data_get_no_gradient(backend: Backend) -> None:
    candidates = Candidates.of((3, 9), (1, 15), 2)
    tensors = tensors_for((4, 4), (1, 1, 1), candidates)
    gradient = results(lambda x, w, c, b: aggregated_conv(x, w, c, candidates, bias=b, backend=backend), tensors)[
        2
    ].squeeze()
    by_kernel = dict(zip(candidates.kernels, torch.split(gradient, list(candidates.taps)), strict=True))
    alive = {kernel: int((part != 0).sum()) for kernel, part in by_kernel.items()}
    assert alive == {(3, 1): 9, (3, 15): 1, (9, 1): 49, (9, 15): 1}


def test_a_kernel_keeps_what_can_touch_data() -> None:
    # docs/methods/dash.md#exact-ways-to-compute-the-mixture
    assert live_size(9, 15, 16) == 3
    assert live_size(19, 15, 46) == 7
    assert live_size(9, 15, 15) == 1
    assert live_size(3, 1, 1) == 1


def test_transforms_are_as_small_as_they_may_be() -> None:
    # The table of docs/methods/dash.md#exact-ways-to-compute-the-mixture.
    wide, long = LARGE[2], Candidates.of((3, 7, 11, 15, 19), (1, 3, 7, 15), 1)
    maps = {(32, 32): (64, 64), (16, 16): (32, 32), (8, 8): (15, 16), (60, 60): (120, 120), (30, 30): (60, 60)}
    maps |= {(16, 52): (32, 108), (96, 102): (160, 162), (85, 85): (150, 150), (128, 128): (192, 192)}
    for lengths, grid in maps.items():
        found = grid_plan(wide, lengths, "cpu").lengths
        assert all(mine <= theirs for mine, theirs in zip(found, grid, strict=True)), (lengths, found)
    for length, limit in {1000: 1152, 500: 640, 46: 96, 23: 48}.items():
        assert grid_plan(long, (length,), "cpu").lengths[0] <= limit
    assert [fast_length(n) for n in (1, 7, 17, 121, 1127)] == [1, 8, 18, 125, 1152]
    assert [fast_length(n, even=True) for n in (1, 7, 15, 121, 131)] == [2, 8, 16, 128, 144]


def test_candidates_are_ordered_kernel_major() -> None:
    assert Candidates.of((3, 5), (1, 7), 1).kernels == ((3, 1), (3, 7), (5, 1), (5, 7))
    assert Candidates.of((3, 5), (1, 7), 2).taps == (9, 9, 25, 25)


@pytest.mark.parametrize("kernels", [((4, 1),), ((3, 0),), (), ((3, 1), (3, 1))])
def test_wrong_candidates_are_refused(kernels: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(SettingsError):
        Candidates(kernels, 2)


def test_the_module_starts_small_and_needs_mixing_weights() -> None:
    torch.manual_seed(0)
    module = AggregatedConv(16, 16, LARGE[2], groups=16, bias=True)
    assert module.weight.shape == (16, 1, 656)
    assert abs(float(module.weight.detach().std()) - 0.01) < 5e-4
    assert not module.bias.any() if module.bias is not None else False
    with pytest.raises(RuntimeError, match="mixing"):
        module(torch.randn(1, 16, 8, 8))
    module.mixing = torch.full((16,), 1 / 16)
    for backend, lengths in product(BACKENDS, [(8, 8), (5, 12)]):
        module.backend = backend
        assert module(torch.randn(2, 16, *lengths)).shape == (2, 16, *lengths)


def test_half_precision_is_transformed_in_single() -> None:
    candidates = Candidates.of((3, 5), (1, 3), 2)
    inputs, weight, mixing, _ = (tensor.float() for tensor in tensors_for((8, 8), (2, 2, 2), candidates))
    rounded = inputs.bfloat16()
    found = aggregated_conv(rounded, weight, mixing, candidates, groups=2)
    assert torch.equal(found, aggregated_conv(rounded.float(), weight, mixing, candidates, groups=2))
