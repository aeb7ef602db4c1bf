"""Metric, loss, class weights and sampling of choice, on tasks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from archscout.errors import SettingsError
from archscout.tasks import Task, TaskOptions, load_task
from archscout.tasks.batch import BatchStream
from archscout.tasks.choices import problem_of, split_targets, with_choices
from archscout.tasks.metrics import LOSSES, METRICS
from archscout.testing.cases import small_number_of_series, small_text
from archscout.training.augmentation import check_label_smoothing
from archscout.training.job import TrainSettings

DRAW = np.random.default_rng(0)
CPU = torch.device("cpu")


def unbalanced(classes: int = 3) -> Task:
    labels = np.array([0] * 40 + [1] * 15 + [2] * 5)
    images = DRAW.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    return Task.from_arrays(images, labels, images[:12], np.arange(12) % 3, name="unbalanced")


def masks(dtype: type = int) -> Task:
    images = DRAW.integers(0, 255, (20, 8, 8), dtype=np.uint8)
    values: np.ndarray[Any, Any] = DRAW.integers(0, 3, (20, 8, 8)).astype(dtype)
    return Task.from_arrays(images, values, images[:4], values[:4], name="masks", kind="dense")


def labels() -> Task:
    images = DRAW.integers(0, 255, (40, 8, 8), dtype=np.uint8)
    many = (DRAW.random((40, 4)) < 0.4).astype(np.uint8)
    return Task.from_arrays(images, many, images[:9], many[:9], name="labels", kind="multilabel")


@pytest.mark.parametrize(
    ("task", "form", "metric", "loss"),
    [
        (unbalanced, "classes", "macro_f1", "focal"),
        (labels, "labels", "auroc", "focal"),
        (small_number_of_series, "numbers", "rmse", "huber"),
        (masks, "masks", "dice", "dice"),
        (lambda: masks(float), "fields", "r2", "mae"),
        (small_text, "words", "accuracy", "cross_entropy"),
    ],
)
def test_every_kind_takes_metric_and_loss(task, form: str, metric: str, loss: str) -> None:  # type: ignore[no-untyped-def]
    plain = task()
    assert problem_of(plain).form == form
    assert with_choices(plain, TaskOptions()) is plain
    chosen = with_choices(plain, TaskOptions(metric=metric, loss=loss))
    names = [each.name for each in chosen.metrics]
    assert plain.metric.name in names  # still reported
    assert len(names) == len(set(names))
    assert chosen.metric.name != plain.metric.name
    assert chosen.loss is not plain.loss or form == "words"
    with pytest.raises(SettingsError, match="unknown metric 'wishful'"):
        with_choices(plain, TaskOptions(metric="wishful"))


def test_registered_tasks_keep_their_own_and_take_others() -> None:
    digits = load_task("digits", metric="kappa", metrics=["top3", "f1"])
    assert [each.name for each in digits.metrics][:3] == ["kappa", "top3_accuracy", "macro_f1"]
    darcy = load_task("darcy-generated:resolution=8,samples=40", Path())
    assert problem_of(darcy).form == "fields"
    assert darcy.with_metric("relative_l2").metric is darcy.metric
    assert darcy.scale is not None
    outputs = torch.zeros(2, 1, 8, 8)  # the mean of every point
    mean = darcy.scale.decode(outputs)
    assert darcy.with_metric("mae").metric.measure(outputs, mean + 1) == pytest.approx(1, rel=1e-5)


def test_metric_and_loss_of_ones_own() -> None:
    task = small_number_of_series()

    def within(outputs: Tensor, targets: Tensor) -> float:
        return float(((outputs - targets).abs() < 50).float().mean())

    def quartic(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).pow(4).mean()

    own = task.with_metric(within, percent=True).with_loss(quartic)
    assert (own.metric.name, own.metric.format(0.5)) == ("within", "50.00 %")
    assert own.extra_metrics[0] is task.metric
    outputs, targets = torch.zeros(4, 1), torch.ones(4, 1)
    assert float(own.loss(outputs, targets, label_smoothing=0.1)) == 1
    with pytest.raises(SettingsError, match="weights by itself"):
        task.with_loss(quartic, class_weights="balanced")


def test_weights_of_classes() -> None:
    task = unbalanced()
    frequencies = torch.bincount(split_targets(task.train))
    weighted = with_choices(task, TaskOptions(class_weights="balanced"))
    outputs = torch.zeros(3, 3)
    one = float(weighted.loss(outputs[:1], torch.tensor([2])) / weighted.loss(outputs[:1], torch.tensor([0])))
    assert one == pytest.approx(float(frequencies[0] / frequencies[2]))
    given = task.with_loss(class_weights=torch.tensor([1.0, 2.0, 4.0]))
    assert float(given.loss(outputs, torch.tensor([2, 2, 2]))) == pytest.approx(4 * np.log(3), rel=1e-5)
    with pytest.raises(SettingsError, match="one from 0 up for each of 3 classes"):
        task.with_loss(class_weights=torch.ones(2))
    with pytest.raises(SettingsError, match=r"regression\. Leave them out"):
        with_choices(small_number_of_series(), TaskOptions(class_weights="balanced"))


@pytest.mark.parametrize(("make", "word"), [(labels, "several labels"), (small_number_of_series, "no classes")])
def test_balanced_sampling_is_refused_where_there_are_no_classes(make, word: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingsError, match=rf"sampling = balanced is for classification.*{word}"):
        with_choices(make(), TaskOptions(sampling="balanced"))


def drawn(stream: BatchStream, epochs: int) -> list[Tensor]:
    return [stream.next_batch().targets for _ in range(epochs * stream.batches_per_epoch)]


def test_balanced_sampling_draws_every_class_as_often() -> None:
    task = with_choices(unbalanced(), TaskOptions(sampling="balanced"))
    size = len(task.train)
    stream = BatchStream(task, task.train, 7, CPU, seed=3)
    first, second = (torch.cat(drawn(stream, 1)) for _ in range(2))
    for epoch in (first, second):
        counts = Counter(epoch.tolist())
        assert len(epoch) == size
        assert max(counts.values()) - min(counts.values()) <= 1
    assert not torch.equal(first, second)


def test_balanced_samples_of_a_class_come_equally_often() -> None:
    task = with_choices(unbalanced(), TaskOptions(sampling="balanced"))
    stream = BatchStream(task, task.train, 7, CPU, seed=3)
    order = torch.cat(list(stream._epoch_indices(0)))
    classes = task.train.source.targets  # type: ignore[attr-defined]
    for label in (1, 2):
        times = Counter(order[classes[order] == label].tolist())
        assert max(times.values()) - min(times.values()) <= 1
    most = Counter(order[classes[order] == 0].tolist())
    assert set(most.values()) == {1}


def test_balanced_sampling_resumes_and_is_shared_by_processes() -> None:
    task = with_choices(unbalanced(), TaskOptions(sampling="balanced"))
    stream = BatchStream(task, task.train, 7, CPU, seed=3)
    whole = drawn(stream, 2)
    again = BatchStream(task, task.train, 7, CPU, seed=3)
    for _ in range(4):
        again.next_batch()
    resumed = BatchStream(task, task.train, 7, CPU, seed=3)
    resumed.load_state_dict(again.state_dict())
    rest = [resumed.next_batch().targets for _ in range(len(whole) - 4)]
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[4:], strict=True))
    shares = [
        torch.cat(drawn(BatchStream(task, task.train, 7, CPU, seed=3, rank=rank, world_size=2), 1)) for rank in (0, 1)
    ]
    counts = Counter(torch.cat(shares).tolist())
    assert max(counts.values()) - min(counts.values()) <= 2
    natural = BatchStream(task, task.train, 7, CPU, seed=3, sampling="natural")
    assert sorted(torch.cat(drawn(natural, 1)).tolist()) == sorted(split_targets(task.train).tolist())


def test_label_smoothing_is_for_classes() -> None:
    asked = TrainSettings(label_smoothing=0.1)
    check_label_smoothing(unbalanced(), asked, "train")
    check_label_smoothing(small_number_of_series(), TrainSettings(), "train")
    with pytest.raises(SettingsError, match=r"regression .* Switch it off: --set train.label_smoothing=0"):
        check_label_smoothing(small_number_of_series(), asked, "train")
    with pytest.raises(SettingsError, match="its loss takes none"):
        check_label_smoothing(unbalanced().with_loss(lambda outputs, targets: outputs.sum()), asked, "train")


def test_the_examples_in_the_docs_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    start = page.index("### A metric and a loss of your own")
    blocks = re.findall(r"```python\n(.*?)```", page[start : page.index("## Numbers (regression)")], re.DOTALL)
    names: dict[str, Any] = {}
    try:
        for block in blocks:
            exec(block, names)
        outputs, targets = torch.eye(10), torch.arange(10)
        task = names["task"]
        assert task.metric.name == "specificity"
        assert task.metric.measure(outputs, targets) == pytest.approx(1)
        assert task.extra_metrics[0].name == "macro_f1"
        assert load_task("digits").with_metric(names["worst_class"]).metric.measure(outputs, targets) == 1
        assert float(names["weighted"].loss(outputs, targets)) > 0
        numbers = small_number_of_series()
        assert numbers.scale is not None
        own = numbers.with_metric("w5").with_loss("log_cosh")
        assert own.metric.measure(torch.zeros(1, 1), torch.tensor([[float(numbers.scale.mean[0]) + 4]])) == 1
        assert float(own.loss(torch.zeros(2, 1), numbers.scale.decode(torch.zeros(2, 1)))) == pytest.approx(0, abs=1e-5)
    finally:
        METRICS.unregister("numbers:within_5")
        LOSSES.unregister("numbers:log_cosh")
