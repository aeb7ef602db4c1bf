"""The mixture kernel against its plain twin: outputs and all gradients, running statistics, second derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from archscout.nn.mixture import MixedSource, NodeSum
from archscout.spaces.genotype import OPERATIONS
from tests.reference.mixture import PlainSource, copy_weights

Ties = list[tuple[nn.Parameter, int | None, nn.Parameter]]

SUBSETS: list[Sequence[str]] = [
    OPERATIONS,
    ("none", *OPERATIONS),
    ("skip_connect",),
    ("max_pool_3x3", "dil_conv_5x5"),
    ("dil_conv_3x3", "none"),
    ("sep_conv_5x5", "skip_connect", "avg_pool_3x3"),
    ("conv_7x1_1x7", "sep_conv_7x7", "skip_connect"),
]


def twins(operations: Sequence[str], channels: int, stride: int, targets: int) -> tuple[MixedSource, PlainSource, Ties]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fast = MixedSource(channels, stride, targets, operations).double()
    plain = PlainSource(channels, stride, targets, operations).double()
    return fast, plain, copy_weights(fast, plain)


def run_fast(fast: MixedSource, inputs: Tensor, mixing: Tensor) -> list[Tensor]:
    sums = [NodeSum() for _ in mixing]
    fast(inputs, mixing, sums)
    size = [(length + fast.stride - 1) // fast.stride for length in inputs.shape[2:]]
    return [each.finish(len(inputs), size) for each in sums]


def case(size: tuple[int, int], channels: int, targets: int, operations: Sequence[str]) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, channels, *size, dtype=torch.float64, generator=draw)
    inputs = inputs.contiguous(memory_format=torch.channels_last).requires_grad_()
    return inputs, torch.rand(targets, len(operations), dtype=torch.float64, generator=draw).requires_grad_()


def close(ours: Tensor, reference: Tensor) -> bool:
    ours, reference = ours.detach(), reference.detach()
    return bool((ours - reference).abs().max() <= 1e-10 * max(1.0, float(reference.abs().max())))


@pytest.mark.parametrize("operations", SUBSETS, ids=lambda names: f"{len(names)}-{names[0]}")
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (4, 6)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("targets", [1, 3])
def test_outputs_and_all_gradients_equal_the_plain_twin(
    operations: Sequence[str], size: tuple[int, int], stride: int, targets: int
) -> None:
    channels = 5 if size == (7, 5) else 4
    fast, plain, ties = twins(operations, channels, stride, targets)
    inputs, mixing = case(size, channels, targets, operations)
    ours, theirs = run_fast(fast, inputs, mixing), plain(inputs, mixing)
    draw = torch.Generator().manual_seed(2)
    directions = [torch.randn(output.shape, dtype=output.dtype, generator=draw) for output in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert close(mine, other)
    expected = torch.autograd.grad(theirs, [inputs, mixing, *(part for _, _, part in ties)], directions)
    weights = list(fast.parameters())
    found = torch.autograd.grad(ours, [inputs, mixing, *weights], directions)
    assert close(found[0], expected[0])
    used = [column for column, name in enumerate(operations) if name != "none"]
    assert close(found[1][:, used], expected[1][:, used])
    gradients = {id(weight): gradient for weight, gradient in zip(weights, found[2:], strict=True)}
    for (stacked, row, _), reference in zip(ties, expected[2:], strict=True):
        gradient = gradients[id(stacked)]
        assert close((gradient if row is None else gradient[row]).reshape(reference.shape), reference)


@pytest.mark.parametrize("stride", [1, 2])
def test_evaluation_uses_the_running_statistics_of_training(stride: int) -> None:
    fast, plain, _ = twins(OPERATIONS, 4, stride, 2)
    inputs, mixing = case((6, 8), 4, 2, OPERATIONS)
    for _ in range(3):
        run_fast(fast, inputs, mixing)
        plain(inputs, mixing)
    fast.eval(), plain.eval()
    for mine, other in zip(run_fast(fast, inputs, mixing), plain(inputs, mixing), strict=True):
        assert close(mine, other)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_mixed_second_derivative_equals_the_plain_twins(stride: int) -> None:
    fast, plain, ties = twins(OPERATIONS, 4, stride, 2)
    inputs, mixing = case((6, 6), 4, 2, OPERATIONS)

    def mixed(outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        cubes = torch.stack([output.pow(3).mean() for output in outputs]).sum()
        first = torch.autograd.grad(cubes, weights, create_graph=True)
        return torch.autograd.grad(torch.stack([part.square().sum() for part in first]).sum(), mixing)[0]

    reference = mixed(plain(inputs, mixing), [part for _, _, part in ties])
    assert close(mixed(run_fast(fast, inputs, mixing), list(fast.parameters())), reference)
