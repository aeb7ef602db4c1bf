from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from archscout.tasks.metrics.classification import Metric, macro_f1
from archscout.tasks.metrics.ranking import auroc, mean_average_precision, weighted_binary_cross_entropy


def scores(rounded: bool, labels: int = 5, count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(count, labels, generator=draw)
    if rounded:
        outputs = (2 * outputs).round() / 2  # many ties
    return outputs, (torch.rand(count, labels, generator=draw) < 0.2).to(torch.uint8)


def pooled(metric: Metric, outputs: torch.Tensor, targets: torch.Tensor, sizes: list[int]) -> float:
    accumulator = metric.create()
    for x, y in zip(torch.split(outputs, sizes), torch.split(targets, sizes), strict=True):
        accumulator.update(x, y)
    return float(accumulator.compute())


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("sizes", [[200], [7, 93, 100]])
def test_ranking_metrics_equal_scikit_learn_however_the_split_is_cut(rounded: bool, sizes: list[int]) -> None:
    outputs, targets = scores(rounded)
    columns = list(zip(targets.numpy().T, outputs.numpy().T, strict=True))
    assert pooled(auroc(5), outputs, targets, sizes) == pytest.approx(
        np.mean([roc_auc_score(y, x) for y, x in columns]), abs=1e-6
    )
    assert pooled(mean_average_precision(5), outputs, targets, sizes) == pytest.approx(
        np.mean([average_precision_score(y, x) for y, x in columns]), abs=1e-6
    )


def test_large_logits_that_a_sigmoid_would_tie_keep_their_order() -> None:
    outputs = torch.tensor([[40.0], [50.0], [60.0], [-1.0]])
    targets = torch.tensor([[0], [0], [1], [0]])
    assert pooled(auroc(1), outputs, targets, [4]) == pooled(mean_average_precision(1), outputs, targets, [4]) == 1.0


def test_labels_without_positives_are_left_out_and_nothing_is_nan() -> None:
    outputs, targets = scores(False)
    whole = pooled(auroc(5), outputs, targets, [200])
    wider = torch.cat([outputs, outputs[:, :1]], 1), torch.cat([targets, torch.zeros(200, 1, dtype=torch.uint8)], 1)
    assert pooled(auroc(6), *wider, [200]) == pytest.approx(whole)
    assert pooled(mean_average_precision(6), *wider, [200]) == pytest.approx(
        pooled(mean_average_precision(5), outputs, targets, [200])
    )
    assert auroc(5).measure(outputs[:3], torch.zeros(3, 5)) == 0.5
    assert mean_average_precision(5).measure(outputs[:3], torch.zeros(3, 5)) == 0.0


def test_chunks_of_a_clip_count_once_by_their_mean_logits() -> None:
    outputs, targets = scores(False, count=30)
    clips = torch.arange(30) // 3
    targets = targets[clips]
    numbered = torch.cat([targets.int(), clips.int().unsqueeze(1) + 1000], dim=1)
    merged = outputs.view(10, 3, 5).mean(1)
    wanted = mean_average_precision(5).measure(merged, targets[::3])
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    found = pooled(mean_average_precision(5, merge=True), outputs[order], numbered[order], [4, 26])
    assert found == pytest.approx(wanted, abs=1e-9)


def test_macro_f1_is_pooled() -> None:
    draw = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(101, 4, generator=draw), torch.randint(0, 4, (101,), generator=draw)
    wanted = f1_score(targets, outputs.argmax(1), average="macro")
    for sizes in ([101], [50, 51], [100, 1]):
        assert pooled(macro_f1(4), outputs, targets, sizes) == pytest.approx(wanted, abs=1e-6)


def test_positives_are_weighted() -> None:
    outputs, targets = scores(False)
    probability = outputs.double().sigmoid()
    wanted = -(4 * targets * probability.log() + (1 - targets.double()) * (1 - probability).log()).mean()
    loss = weighted_binary_cross_entropy(5, 4.0)
    assert float(loss(outputs, torch.cat([targets, targets[:, :1] * 9], 1))) == pytest.approx(float(wanted), rel=1e-5)
