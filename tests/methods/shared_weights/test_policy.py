"""The decoupled policy: draws, probabilities and the closed-form gradient against autograd."""

from __future__ import annotations

import math
import random

import pytest
import torch

from archscout.methods.shared_weights.policy import DecoupledPolicy, Sample
from archscout.spaces import CellGenotype, CellSpace

SPACE = CellSpace()
CHOICES = SPACE.factorization
SIZES = [*CHOICES.structure, *(len(names) for names in CHOICES.operations)]
STARTS = [sum(SIZES[:row]) for row in range(len(SIZES))]


def policy(spread: float = 1.0) -> DecoupledPolicy:
    made = DecoupledPolicy(CHOICES, seed=0)
    made.logits.mul_(spread / 1e-3)
    return made


def log_probability(logits: torch.Tensor, sample: Sample, double_softmax: bool = False) -> torch.Tensor:
    """The plain formula, with autograd."""
    terms = []
    for row, option in sample.draws:
        part = logits[STARTS[row] : STARTS[row] + SIZES[row]]
        terms.append(torch.log_softmax(part.softmax(0) if double_softmax else part, 0)[option])
    return torch.stack(terms).sum()


def test_sizes_of_the_published_policy() -> None:
    made = DecoupledPolicy(CHOICES, seed=0)
    assert made.logits.shape == (234,)
    assert made.logits.std().item() == pytest.approx(1e-3, rel=0.2)
    assert len(made.sample(random.Random(0)).draws) == 22


def test_only_rows_on_selected_edges_are_drawn() -> None:
    sample = policy().sample(random.Random(3))
    assert isinstance(sample.architecture, CellGenotype)
    structure, operations = CHOICES.disassemble(sample.architecture)
    assert [option for _, option in sample.draws[:6]] == list(structure)
    assert [option for _, option in sample.draws[6:]] == list(operations)
    assert [row - 6 for row, _ in sample.draws[6:]] == list(CHOICES.active(structure))


@pytest.mark.parametrize("double_softmax", [False, True])
def test_closed_form_gradient_equals_autograd(double_softmax: bool) -> None:
    made = policy()
    draw = random.Random(0)
    samples = [made.sample(draw) for _ in range(5)]
    advantages = [0.3, -1.2, 0.0, 2.0, -0.5]
    logits = made.logits.clone().requires_grad_()
    pairs = zip(samples, advantages, strict=True)
    loss = -sum(a * log_probability(logits, s, double_softmax) for s, a in pairs) / len(samples)
    assert isinstance(loss, torch.Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    gradient = made.gradient(samples, advantages, double_softmax=double_softmax)
    assert (gradient - logits.grad).abs().max() < 1e-14


def test_log_probability_equals_the_plain_formula() -> None:
    made = policy()
    sample = made.sample(random.Random(1))
    assert made.log_probability(sample) == pytest.approx(log_probability(made.logits, sample).item(), abs=1e-12)


def expected_gradient(made: DecoupledPolicy, row: int, double_softmax: bool) -> torch.Tensor:
    """Exact expectation over one row's options of the gradient under the constant reward 1."""
    total = torch.zeros_like(made.logits)
    for option, probability in enumerate(made.probabilities(row)):
        sample = Sample(SPACE.random(random.Random(0)), ((row, option),))
        total += probability * made.gradient([sample], [1.0], double_softmax=double_softmax)
    return total


@pytest.mark.parametrize("row", [0, 2, 10])
def test_a_constant_reward_moves_nothing_on_average(row: int) -> None:
    assert expected_gradient(policy(), row, double_softmax=False).abs().max() < 1e-15


def test_the_published_surrogate_is_biased() -> None:
    assert expected_gradient(policy(), 10, double_softmax=True).abs().max() > 1e-3


def test_gradient_norms_of_the_published_program() -> None:
    """p_max = 0.95, K = 7, not the mode: 0.0195 published, 1.37 correct (docs/methods/ednas.md#policy-gradient)."""
    made = DecoupledPolicy(CHOICES, seed=0)
    row = 6  # the first operation row: seven options
    rest = 0.05 / 6
    made.logits.zero_()
    made.logits[STARTS[row]] = math.log(0.95 / rest)
    sample = Sample(SPACE.random(random.Random(0)), ((row, 3),))
    published = made.gradient([sample], [1.0], double_softmax=True)
    correct = made.gradient([sample], [1.0])
    assert published.norm().item() == pytest.approx(0.0195, abs=5e-4)
    assert correct.norm().item() == pytest.approx(1.37, abs=0.01)


def test_at_uniform_the_published_gradient_is_a_seventh() -> None:
    made = policy(0.0)
    sample = Sample(SPACE.random(random.Random(0)), ((6, 3),))
    ratio = made.gradient([sample], [1.0], double_softmax=True).norm() / made.gradient([sample], [1.0]).norm()
    assert ratio.item() == pytest.approx(1 / 7, rel=1e-6)


def test_entropy_runs_from_one_to_zero() -> None:
    assert policy(0.0).entropy() == pytest.approx(1.0)
    assert policy(1e4).entropy() == pytest.approx(0.0, abs=1e-6)


def test_the_mode_takes_the_likeliest_options() -> None:
    made = policy(1e4)
    assert made.mode() == made.sample(random.Random(0)).architecture


def test_sampling_follows_the_probabilities() -> None:
    made, draw = policy(), random.Random(0)
    counts = [0] * SIZES[2]
    for _ in range(3000):
        counts[made.sample(draw).draws[2][1]] += 1
    for count, probability in zip(counts, made.probabilities(2), strict=True):
        assert count / 3000 == pytest.approx(probability, abs=0.035)


def test_state_comes_back() -> None:
    made, other = policy(), DecoupledPolicy(CHOICES, seed=1)
    assert other.probabilities(0) != made.probabilities(0)
    other.load_state_dict(made.state_dict())
    assert other.probabilities(0) == made.probabilities(0)
