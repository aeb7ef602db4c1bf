"""The plain twin has the published structure, and the library's supernet computes what it computes."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.spaces import CellGenotype
from archscout.spaces.cells.space import CellSize, CellSpace
from archscout.tasks.spec import TaskSpec
from benchmarks.plain_twin import (
    ChildStep,
    PlainNetwork,
    PlainPolicy,
    PolicyStep,
    copy_weights,
    genotype_of,
    masks_of,
)

CHANNELS, LAYERS, CLASSES = 8, 4, 5  # cells: normal, reduction, reduction, normal


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _small_twin(seed: int = 0) -> PlainNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PlainNetwork(CHANNELS, LAYERS, CLASSES)


def _pair(size: tuple[int, int], seed: int) -> tuple[PlainNetwork, nn.Module]:
    """Twin and supernet with equal weights and running statistics, in float64."""
    twin = _small_twin(seed).double()
    for name, buffer in twin.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(generator=_generator(seed))
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0, generator=_generator(seed))
    spec = TaskSpec("random", "classification", (3, *size), CLASSES)
    supernet = CellSpace().supernet(spec, CellSize(init_channels=CHANNELS, layers=LAYERS)).double()
    copy_weights(twin, supernet)
    return twin, supernet


def _channels_last(network: nn.Module) -> None:
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def _genotype(seed: int) -> CellGenotype:
    return CellSpace().random(Random(seed))


def test_the_twin_has_the_published_number_of_weights() -> None:
    weights = list(PlainNetwork().parameters())
    assert sum(weight.numel() for weight in weights) == 1_930_618
    assert len(weights) == 1_399


def test_the_policy_has_117_parameters_a_cell_and_draws_22_times() -> None:
    policy = PlainPolicy(_generator(0))
    assert sum(row.numel() for row in policy.parameters()) == 2 * 117
    draw = policy.draw(_generator(1))
    assert len(draw.log_probabilities) == 22
    assert [int(mask.sum()) for mask in draw.masks] == [8, 8]
    # At 1e-3 N(0, 1) the policy is uniform up to some thousandths.
    expected = 2 * (math.log(3) + math.log(6) + math.log(10) + 8 * math.log(7))
    assert -sum(term.item() for term in draw.log_probabilities) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_masks_and_genotypes_convert_into_each_other(seed: int) -> None:
    genotype = _genotype(seed)
    again = genotype_of(masks_of(genotype))
    assert again == genotype
    assert CellSpace().factorization.disassemble(again)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("size", "seed"), [((8, 8), 0), ((12, 12), 1), ((12, 20), 2), ((4, 8), 3), ((16, 16), 4)])
def test_the_supernet_equals_the_twin_in_training(size: tuple[int, int], seed: int, channels_last: bool) -> None:
    twin, supernet = _pair(size, seed)
    genotype = _genotype(seed)
    images = torch.randn(6, 3, *size, generator=_generator(seed), dtype=torch.float64)
    labels = torch.randint(CLASSES, (6,), generator=_generator(seed))
    ours = images.clone()
    if channels_last:
        _channels_last(supernet)
        ours = ours.contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    ours.requires_grad_()

    expected, outputs = twin(images, masks_of(genotype, torch.float64)), supernet(ours, genotype)
    _close(outputs, expected)
    F.cross_entropy(expected, labels).backward()  # type: ignore[no-untyped-call]
    F.cross_entropy(outputs, labels).backward()  # type: ignore[no-untyped-call]

    assert images.grad is not None and ours.grad is not None
    _close(ours.grad, images.grad)
    used = 0
    for (name, weight), plain in zip(supernet.named_parameters(), twin.parameters(), strict=True):
        assert (weight.grad is None) == (plain.grad is None), name
        if weight.grad is not None and plain.grad is not None:
            _close(weight.grad, plain.grad)
            used += 1
    assert used == len(supernet.path_parameters(genotype))  # type: ignore[operator]
    for statistics, expected_statistics in zip(supernet.buffers(), twin.buffers(), strict=True):
        _close(statistics, expected_statistics)


@pytest.mark.parametrize(("size", "seed"), [((8, 8), 5), ((12, 20), 6), ((4, 4), 7)])
def test_the_supernet_equals_the_twin_in_inference(size: tuple[int, int], seed: int) -> None:
    twin, supernet = _pair(size, seed)
    twin.eval()
    supernet.eval()
    genotypes = [_genotype(seed + step) for step in range(3)]
    images = torch.randn(5, 3, *size, generator=_generator(seed), dtype=torch.float64)
    with torch.inference_mode():
        expected = torch.stack([twin(images, masks_of(genotype, torch.float64)) for genotype in genotypes])
        _close(torch.stack([supernet(images, genotype) for genotype in genotypes]), expected)
        _close(supernet.grouped(images, genotypes), expected)  # type: ignore[operator]


def test_a_child_step_moves_weights_off_the_path_only_by_decay_and_momentum() -> None:
    twin, policy = _small_twin(), PlainPolicy(_generator(0))
    step = ChildStep(twin, policy, lr=0.1)
    genotype = _genotype(0)
    before = {name: weight.detach().clone() for name, weight in twin.named_parameters()}
    logits = [row.detach().clone() for row in policy.parameters()]
    images, labels = torch.randn(6, 3, 8, 8, generator=_generator(0)), torch.arange(6) % CLASSES
    assert math.isfinite(step(images, labels, masks_of(genotype)))

    for name, weight in twin.named_parameters():
        assert weight.grad is not None
        if not weight.grad.any():  # first step, Nesterov: (1 + momentum) * decay * weight
            expected = before[name] * (1 - 0.1 * 1.9 * 3e-4)
            torch.testing.assert_close(weight.detach(), expected, rtol=1e-6, atol=1e-8)
    assert all(torch.equal(row, old) for row, old in zip(policy.parameters(), logits, strict=True))


def test_a_policy_step_raises_the_probability_of_a_rewarded_architecture() -> None:
    twin, policy = _small_twin(), PlainPolicy(_generator(0))
    step = PolicyStep(twin, policy, lr=0.01)
    weights = [weight.detach().clone() for weight in twin.parameters()]
    images = torch.randn(6, 3, 8, 8, generator=_generator(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        draw = policy.draw()
        with torch.no_grad():
            labels = twin.eval()(images, draw.masks).argmax(1)  # every answer is right: the reward is 1
        before = torch.stack(draw.log_probabilities).sum().item()
        torch.manual_seed(3)
        assert step(images, labels) == 1.0
        torch.manual_seed(3)
        again = policy.draw()
    assert genotype_of(again.masks) == genotype_of(draw.masks)
    assert torch.stack(again.log_probabilities).sum().item() > before
    assert all(torch.equal(weight, old) for weight, old in zip(twin.parameters(), weights, strict=True))
    assert step.baseline == pytest.approx(0.01)


def test_copying_between_different_networks_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        copy_weights(_small_twin(), PlainNetwork(CHANNELS * 2, LAYERS, CLASSES))
