"""Constant answers of every form of targets, against what they must reach."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from archscout.tasks import Task
from archscout.tasks.choices import split_targets
from archscout.tasks.constant import ConstantJudge
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.streams import evaluation_batches
from archscout.testing.cases import small_text

CPU = torch.device("cpu")
DRAW = np.random.default_rng(1)
IMAGES = DRAW.integers(0, 255, (30, 4, 5), dtype=np.uint8)


def judged(task: Task) -> dict[str, dict[str, Any]]:
    judge = ConstantJudge(task, CPU)
    shape = (task.spec.outputs, *task.spec.input_shape[1:]) if task.spec.kind == "dense" else (task.spec.outputs,)
    for batch in evaluation_batches(task, task.test, 7, CPU):
        judge.update(torch.zeros(len(batch.targets), *shape), batch.targets)
    return judge.compute()


def test_labels() -> None:
    truth = (DRAW.random((30, 3)) < [0.9, 0.3, 0.1]).astype(np.uint8)
    task = Task.from_arrays(IMAGES, truth, IMAGES[:10], truth[:10], kind="multilabel", metric="micro_f1")
    found = judged(task)
    often = split_targets(task.train).double().mean(0).numpy() > 0.5
    expected = oracle.f1_score(truth[:10], np.tile(often, (10, 1)), average="micro")
    assert found["micro_f1"]["value"] == pytest.approx(
        max(expected, oracle.f1_score(truth[:10], np.ones((10, 3)), average="micro"))
    )
    assert found["mean_average_precision"]["value"] == pytest.approx(truth[:10].mean(0)[truth[:10].any(0)].mean())


def test_masks() -> None:
    truth = (DRAW.random((30, 4, 5)) < 0.2).astype(np.int64)
    truth[:, 0, 0] = -100
    task = Task.from_arrays(IMAGES, truth, IMAGES[:10], truth[:10], kind="dense", metric="foreground_dice")
    found = judged(task)
    known = truth[:10][truth[:10] >= 0]
    assert found["pixel_accuracy"]["value"] == pytest.approx(1 - known.mean())
    assert found["foreground_dice"]["value"] == pytest.approx(oracle.f1_score(known, np.ones_like(known)))
    assert "always class 1" in found["foreground_dice"]["answer"]


def test_fields() -> None:
    truth = DRAW.normal(5, 2, (30, 2, 4, 5)).astype(np.float32)
    task = Task.from_arrays(IMAGES, truth, IMAGES[:10], truth[:10], kind="dense", metric="rmse")
    mean = split_targets(task.train).double().mean((0, 2, 3)).numpy()[None, :, None, None]
    expected = np.sqrt(np.square(truth[:10] - mean).mean())
    assert judged(task)["root_mean_squared_error"]["value"] == pytest.approx(expected, rel=1e-5)


def test_words() -> None:
    task = small_text().with_metric("accuracy")
    found = judged(task)
    words = split_targets(task.train).flatten().tolist()
    likeliest = Counter(words).most_common(1)[0][0]
    targets = torch.cat([batch.targets.flatten() for batch in evaluation_batches(task, task.test, 7, CPU)])
    targets = targets[targets != IGNORED]
    assert found["word_accuracy"]["value"] == pytest.approx(float((targets == likeliest).double().mean()))
    frequencies = torch.bincount(torch.tensor(words), minlength=task.spec.outputs).clamp(min=0.5).double()
    entropy = -(frequencies / frequencies.sum()).log()[targets].mean()
    assert found["perplexity"]["value"] == pytest.approx(float(entropy.exp()), rel=1e-2)


@pytest.mark.parametrize("scaled", [True, False])
def test_metrics_of_ones_own_are_judged_too(scaled: bool) -> None:
    numbers = DRAW.normal(size=30)
    task = Task.from_arrays(IMAGES, numbers, IMAGES[:10], numbers[:10], kind="regression")
    plain = task if scaled else replace(task, scale=None)
    own = plain.with_metric(lambda outputs, targets: (outputs - targets).abs().max(), name="worst", direction="min")
    train = split_targets(task.train).numpy()
    worst = [np.abs(numbers[:10] - middle(train)).max() for middle in (np.mean, np.median)]
    assert judged(own)["worst"]["value"] == pytest.approx(min(worst), rel=1e-5)
