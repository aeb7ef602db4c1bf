from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from archscout.tasks.metrics.classification import IGNORED, Metric
from archscout.tasks.metrics.dense import (
    false_negative_rate,
    masked_binary_cross_entropy,
    relative_l2,
    relative_l2_loss,
)
from archscout.tasks.published.nasbench360.proteins import clipped_distance_loss, mae8


def pooled(metric: Metric, outputs: Tensor, targets: Tensor, sizes: list[int]) -> float:
    accumulator = metric.create()
    for x, y in zip(torch.split(outputs, sizes), torch.split(targets, sizes), strict=True):
        accumulator.update(x, y)
    return float(accumulator.compute())


@pytest.mark.parametrize("sizes", [[6], [1, 5]])
def test_relative_l2_is_a_mean_over_samples_and_its_loss_a_sum(sizes: list[int]) -> None:
    draw = torch.Generator().manual_seed(0)
    outputs, targets = (torch.randn(6, 1, 5, 7, generator=draw) for _ in range(2))
    wanted = [float((3 * x - y).norm() / y.norm()) for x, y in zip(outputs, targets, strict=True)]

    def decode(values: Tensor) -> Tensor:
        return 3 * values

    assert pooled(relative_l2(decode), outputs, targets, sizes) == pytest.approx(sum(wanted) / 6, rel=1e-6)
    assert float(relative_l2_loss(decode)(outputs, targets)) == pytest.approx(sum(wanted), rel=1e-6)


def rays(count: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(count, 1, 8, 8, generator=draw) < 0.1).to(torch.int8)
    targets[torch.rand(count, 1, 8, 8, generator=draw) < 0.2] = IGNORED
    return torch.randn(count, 1, 8, 8, generator=draw), targets


@pytest.mark.parametrize("sizes", [[5], [1, 4]])
def test_false_negatives_are_pooled_over_positions(sizes: list[int]) -> None:
    outputs, targets = rays(5)
    missed = hit = 0
    for x, y in zip(outputs.flatten().tolist(), targets.flatten().tolist(), strict=True):
        missed += y == 1 and x < 0
        hit += y == 1 and x >= 0
    assert pooled(false_negative_rate(), outputs, targets, sizes) == pytest.approx(missed / (missed + hit))


def test_batches_without_positives_do_no_harm() -> None:
    outputs, targets = rays(5)
    none = torch.zeros_like(targets)
    metric = false_negative_rate()
    assert metric.measure(outputs, none) == 0.0
    both = pooled(metric, torch.cat([outputs, outputs]), torch.cat([targets, none]), [5, 5])
    assert both == metric.measure(outputs, targets)


def test_masked_cross_entropy_leaves_ignored_positions_out() -> None:
    outputs, targets = rays(2)
    terms = [
        -math.log(1 / (1 + math.exp(-x if y == 1 else x)))
        for x, y in zip(outputs.flatten().tolist(), targets.flatten().tolist(), strict=True)
        if y != IGNORED
    ]
    assert float(masked_binary_cross_entropy(outputs, targets)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert float(masked_binary_cross_entropy(outputs, torch.full_like(targets, IGNORED))) == 0.0
    outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(masked_binary_cross_entropy(outputs, targets), [outputs])
    assert bool((gradient[targets == IGNORED] == 0).all())


def proteins() -> tuple[Tensor, Tensor]:
    """Three maps of 40 x 40, the proteins 40, 33 and 20 long, the last without any pair that counts."""
    draw = torch.Generator().manual_seed(0)
    outputs = 20 * torch.rand(3, 1, 40, 40, generator=draw) - 2
    targets = torch.full((3, 2, 40, 40), float(IGNORED))
    targets[:, 1] = -1
    places = torch.arange(40)
    for row, length in enumerate((35, 28, 20)):
        inside = slice(5, 5 + length)
        distances = 1 + 15 * torch.rand(length, length, generator=draw)
        targets[row, 0, inside, inside] = (distances + distances.T) / 2
        targets[row, 1, inside, inside] = (places[:length, None] - places[:length]).abs().float()
    return outputs, targets


@pytest.mark.parametrize("sizes", [[3], [1, 2]])
def test_mae8_equals_a_plain_loop(sizes: list[int]) -> None:
    outputs, targets = proteins()
    means = []
    for predicted, (distance, separation) in zip(outputs[:, 0], targets, strict=True):
        errors = []
        for i in range(40):
            for j in range(40):
                true = float(distance[i, j])
                if separation[i, j] >= 24 and 0 <= true <= 8:
                    value = max(0.01, (float(predicted[i, j]) + float(predicted[j, i])) / 2)
                    errors.append(abs(value - true))
        if errors:
            means.append(sum(errors) / len(errors))
    assert len(means) == 2
    assert pooled(mae8(), outputs, targets, sizes) == pytest.approx(sum(means) / 2, rel=1e-6)
    assert mae8().measure(outputs[2:], targets[2:]) == 0.0


def test_distances_are_clipped_and_padding_counts_nothing() -> None:
    outputs, targets = proteins()
    targets[0, 0, 5:10] *= 9
    known = targets[:, 0] != IGNORED
    wanted = (outputs[:, 0][known] - targets[:, 0][known].clamp(max=16)).square().mean()
    assert float(clipped_distance_loss(outputs, targets)) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("metric", [relative_l2(), false_negative_rate(), mae8()])
def test_errors_rank_and_reward_by_their_direction(metric: Metric) -> None:
    assert metric.direction == "min"
    assert metric.better(0.1, 0.2)
    assert metric.score(0.1) > metric.score(0.2)
    assert metric.reward(0.1) > metric.reward(0.2)
    assert metric.tendency == "lower is better"
