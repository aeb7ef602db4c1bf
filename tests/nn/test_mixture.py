"""The mixture kernel against its plain twin: outputs and all gradients, running statistics, second derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.nn import mixture
from archscout.nn.fast.depthwise import depthwise_conv
from archscout.nn.fast.layout import channels_last
from archscout.nn.mixture import MixedSource
from archscout.spaces.cells.genotype import OPERATIONS
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


# Parameters as earlier versions drew them, for `torch.manual_seed(0)`; optimisers' states go by their order.
EARLIER = [
    ("reduce_even", (2, 2, 4), 0.249782),
    ("reduce_odd", (2, 2, 4), -0.917490),
    ("first.pointwise", (4, 4, 4), -0.676598),
    ("first.depthwise.dil_conv_5x5", (2, 4, 1, 5, 5), -1.811455),
    ("first.depthwise.sep_conv_3x3", (2, 4, 1, 3, 3), -0.890139),
    ("second.pointwise", (2, 4, 4), -1.482736),
    ("second.depthwise.sep_conv_3x3", (2, 4, 1, 3, 3), 3.969451),
    ("others.simple_conv_1x1.0.1.weight", (4, 4, 1, 1), -0.152005),
    ("others.simple_conv_1x1.1.1.weight", (4, 4, 1, 1), 0.728276),
]

PROGRESSIVE = ("skip_connect", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5")
# What a progressive search may leave on three edges.
LIVE: list[Sequence[Sequence[str]]] = [
    [("skip_connect", "sep_conv_3x3"), PROGRESSIVE, ("avg_pool_3x3", "dil_conv_5x5")],
    [("skip_connect",), ("skip_connect", "avg_pool_3x3"), ("skip_connect",)],
    [("dil_conv_5x5",), ("sep_conv_3x3", "dil_conv_5x5"), ("sep_conv_3x3",)],
]


def twins(
    operations: Sequence[str],
    channels: int,
    stride: int,
    targets: int,
    dims: int = 2,
    live: Sequence[Sequence[str]] | None = None,
) -> tuple[MixedSource, PlainSource, Ties]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fast = MixedSource(channels, stride, targets, operations, dims=dims, live=live).double()
    plain = PlainSource(channels, stride, targets, operations, dims=dims, live=live).double()
    return fast, plain, copy_weights(fast, plain)


def case(size: tuple[int, ...], channels: int, targets: int, operations: Sequence[str]) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, channels, *size, dtype=torch.float64, generator=draw)
    inputs = channels_last(inputs).requires_grad_()
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
    compare(operations, size, stride, targets)


@pytest.mark.parametrize("operations", [OPERATIONS, ("none", *PROGRESSIVE), ("dil_conv_3x3", "skip_connect")])
@pytest.mark.parametrize("size", [(8,), (7,), (46,)])
@pytest.mark.parametrize("stride", [1, 2])
def test_sequences_equal_the_plain_twin(operations: Sequence[str], size: tuple[int], stride: int) -> None:
    compare(operations, size, stride, 3)


@pytest.mark.parametrize("live", LIVE, ids=["mixed", "no-convolutions", "only-convolutions"])
@pytest.mark.parametrize("size", [(8, 6), (7, 5), (8,), (9,)])
@pytest.mark.parametrize("stride", [1, 2])
def test_edges_with_subsets_of_their_own_equal_the_plain_twin(
    live: Sequence[Sequence[str]], size: tuple[int, ...], stride: int
) -> None:
    compare(PROGRESSIVE, size, stride, 3, live)


def compare(
    operations: Sequence[str],
    size: tuple[int, ...],
    stride: int,
    targets: int,
    live: Sequence[Sequence[str]] | None = None,
) -> None:
    channels = 5 if size == (7, 5) else 4
    fast, plain, ties = twins(operations, channels, stride, targets, len(size), live)
    inputs, mixing = case(size, channels, targets, operations)
    ours, theirs = fast(inputs, mixing), plain(inputs, mixing)
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


def test_dropout_is_on_skip_connections_of_stride_one_in_training_only() -> None:
    inputs, mixing = torch.randn(1, 4, 6, 6), torch.ones(2, 1)
    for stride in (1, 2):
        source = MixedSource(4, stride, 2, ("skip_connect",))
        plain = source(inputs, mixing)
        source.skip_dropout = 0.5
        torch.manual_seed(0)
        dropped = source(inputs, mixing)
        if stride == 2:
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(dropped, plain, strict=True))
            continue
        assert not torch.equal(dropped[0], dropped[1])  # each edge has a mask of its own
        for output in dropped:
            assert torch.equal(output, torch.where(output == 0, 0, 2 * inputs))
        source.eval()
        assert torch.equal(source(inputs, mixing)[0], inputs)


@pytest.mark.parametrize("stride", [1, 2])
def test_evaluation_uses_the_running_statistics_of_training(stride: int) -> None:
    fast, plain, _ = twins(OPERATIONS, 4, stride, 2)
    inputs, mixing = case((6, 8), 4, 2, OPERATIONS)
    for _ in range(3):
        fast(inputs, mixing)
        plain(inputs, mixing)
    fast.eval(), plain.eval()
    for mine, other in zip(fast(inputs, mixing), plain(inputs, mixing), strict=True):
        assert close(mine, other)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_mixed_second_derivative_equals_the_plain_twins(stride: int, recompute: bool) -> None:
    fast, plain, ties = twins(OPERATIONS, 4, stride, 2)
    fast.recompute = recompute
    inputs, mixing = case((6, 6), 4, 2, OPERATIONS)

    def mixed(outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        cubes = torch.stack([output.pow(3).mean() for output in outputs]).sum()
        first = torch.autograd.grad(cubes, weights, create_graph=True)
        return torch.autograd.grad(torch.stack([part.square().sum() for part in first]).sum(), mixing)[0]

    reference = mixed(plain(inputs, mixing), [part for _, _, part in ties])
    assert close(mixed(fast(inputs, mixing), list(fast.parameters())), reference)


@pytest.mark.parametrize("size", [(6, 8), (9,)])
@pytest.mark.parametrize("stride", [1, 2])
def test_recomputing_changes_no_gradient_and_moves_the_running_statistics_once(
    size: tuple[int, ...], stride: int
) -> None:
    found = []
    for recompute in (False, True):
        source, _, _ = twins(OPERATIONS, 4, stride, 2, len(size))
        source.recompute = recompute
        inputs, mixing = case(size, 4, 2, OPERATIONS)
        outputs = source(inputs, mixing)
        loss = torch.stack([output.pow(3).sum() for output in outputs]).sum()
        gradients = torch.autograd.grad(loss, [inputs, mixing, *source.parameters()])
        found.append([*outputs, *gradients, *source.buffers()])
    assert all(torch.equal(kept, again) for kept, again in zip(*found, strict=True))


def test_weights_have_the_names_shapes_and_initial_values_of_earlier_versions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        source = MixedSource(
            4, 2, 2, ("skip_connect", "max_pool_3x3", "sep_conv_3x3", "dil_conv_5x5", "simple_conv_1x1")
        )
    norms = [name.removesuffix(".running_var") for name, _ in source.named_buffers() if name.endswith("running_var")]
    assert norms[:3] == ["first.norms", "second.norms", "pools.max_pool_3x3"] and norms[-1] == "reduce_norms"
    for (name, weight), earlier in zip(source.named_parameters(), EARLIER, strict=True):
        assert (name, tuple(weight.shape)) == earlier[:2]
        assert float(weight.detach().sum()) == pytest.approx(earlier[2], abs=1e-5)


def test_large_float32_supernets_have_the_gradients_of_float64() -> None:
    """First and mixed second derivatives."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(8, 16, 32, 32, dtype=torch.float64, generator=draw)
    mixing = torch.rand(2, len(OPERATIONS), dtype=torch.float64, generator=draw)
    exact, _, _ = twins(OPERATIONS, 16, 1, 2)
    found = []
    for dtype in (torch.float64, torch.float32):
        source, leaf = exact.to(dtype), mixing.to(dtype).requires_grad_()
        pixels = channels_last(inputs.to(dtype)).requires_grad_()
        loss = torch.stack([output.pow(3).mean() for output in source(pixels, leaf)]).sum()
        first = torch.autograd.grad(loss, [pixels, leaf, *source.parameters()], create_graph=True)
        size = torch.stack([part.square().sum() for part in first[2:]]).sum()
        found.append([*first, torch.autograd.grad(size, leaf)[0]])
    for reference, ours in zip(*found, strict=True):
        error = (ours.double() - reference).norm() / reference.norm()
        assert error < 1e-3, error


def test_autocast_keeps_the_statistics_in_float32() -> None:
    torch.manual_seed(0)
    source = MixedSource(8, 1, 2, OPERATIONS)
    inputs, mixing = channels_last(torch.randn(4, 8, 8, 8)), torch.rand(2, len(OPERATIONS)).requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            outputs = source(inputs, mixing)
        results.append([*outputs, *torch.autograd.grad(outputs[0].square().mean(), mixing)])
    assert source.first is not None
    assert source.first.norms.running_mean.dtype == torch.float32
    for exact, rounded in zip(*results, strict=True):
        assert (rounded - exact).norm() < 0.05 * exact.norm()


def test_autocast_lowers_the_precision_of_depthwise_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[torch.dtype] = []

    def spy(*arguments: Any) -> Tensor:
        outputs = depthwise_conv(*arguments)
        found.append(outputs.dtype)
        return outputs

    monkeypatch.setattr(mixture, "depthwise_conv", spy)
    inputs, mixing = channels_last(torch.randn(4, 8, 8, 8)), torch.rand(2, len(OPERATIONS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        MixedSource(8, 1, 2, OPERATIONS)(inputs, mixing)
    assert set(found) == {torch.bfloat16}
