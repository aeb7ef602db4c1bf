"""Every metric by name equals scikit-learn's, pooled over batches, with classes that are missing in a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn import metrics as oracle
from torch import Tensor
from torchmetrics.classification import MulticlassF1Score

from archscout.errors import ArchscoutError, SettingsError
from archscout.tasks.metrics.catalogue import METRICS, allowed_metrics, find_metric, register_metric, share
from archscout.tasks.metrics.classification import IGNORED, Metric
from archscout.tasks.metrics.own import own_metric
from archscout.tasks.metrics.problem import FORMS, Problem
from archscout.tasks.scale import TargetScale

DRAW = torch.Generator().manual_seed(0)
CLASSES = 5
# Class 3 never occurs and is predicted at times; class 4 neither occurs nor is predicted.
TRUTH = torch.randint(3, (57,), generator=DRAW)
LOGITS = torch.randn(57, CLASSES, generator=DRAW) + 2 * torch.nn.functional.one_hot(TRUTH, CLASSES)
LOGITS[:, 4] = -50.0
Y, P = TRUTH.numpy(), LOGITS.argmax(1).numpy()
PROBABILITIES = LOGITS.double().softmax(1).numpy()


def in_batches(metric: Metric, outputs: Tensor, targets: Tensor, size: int = 10) -> float:
    accumulator = metric.create()
    for start in range(0, len(targets), size):
        accumulator.update(outputs[start : start + size], targets[start : start + size])
    return float(accumulator.compute())


def each_class(curve: Callable[[Any, Any], float]) -> float:
    return float(np.mean([curve(label == Y, PROBABILITIES[:, label]) for label in range(3)]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acc", oracle.accuracy_score(Y, P)),
        ("balanced_accuracy", oracle.recall_score(Y, P, average="macro", labels=[0, 1, 2])),
        ("f1", oracle.f1_score(Y, P, average="macro")),
        ("weighted_f1", oracle.f1_score(Y, P, average="weighted")),
        ("precision", oracle.precision_score(Y, P, average="macro", zero_division=0)),
        ("recall", oracle.recall_score(Y, P, average="macro", zero_division=0)),
        ("kappa", oracle.cohen_kappa_score(Y, P)),
        ("qwk", oracle.cohen_kappa_score(Y, P, weights="quadratic")),
        ("mcc", oracle.matthews_corrcoef(Y, P)),
        ("auroc", each_class(oracle.roc_auc_score)),
        ("average-precision", each_class(oracle.average_precision_score)),
        ("top2", oracle.top_k_accuracy_score(Y, PROBABILITIES, k=2, labels=range(CLASSES))),
    ],
)
def test_classes(name: str, expected: float) -> None:
    assert 3 in P
    metric = find_metric(name, Problem("classes", CLASSES))
    assert in_batches(metric, LOGITS, TRUTH) == pytest.approx(expected, abs=1e-6)


def test_two_classes_have_the_curves_of_the_second() -> None:
    truth = torch.tensor([0, 0, 1, 0, 1, 0])
    logits = torch.randn(6, 2, generator=DRAW)
    scores = logits.double().softmax(1)[:, 1].numpy()
    problem = Problem("classes", 2)
    assert in_batches(find_metric("auroc", problem), logits, truth, 4) == pytest.approx(
        oracle.roc_auc_score(truth, scores)
    )
    assert in_batches(find_metric("ap", problem), logits, truth, 4) == pytest.approx(
        oracle.average_precision_score(truth, scores)
    )


LABELS = torch.rand(40, 4, generator=DRAW) < torch.tensor([0.5, 0.2, 0.3, 0.0])
SCORES = torch.randn(40, 4, generator=DRAW) + LABELS
SCORES[:, 3] = -9.0  # neither there nor found
Z, Q = LABELS.numpy(), (SCORES > 0).numpy()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f1", oracle.f1_score(Z[:, :3], Q[:, :3], average="macro")),
        ("micro_f1", oracle.f1_score(Z, Q, average="micro")),
        ("hamming", oracle.hamming_loss(Z, Q)),
        ("exact_match", oracle.accuracy_score(Z, Q)),
        ("map", oracle.average_precision_score(Z[:, :3], SCORES[:, :3].numpy(), average="macro")),
        ("auroc", oracle.roc_auc_score(Z[:, :3], SCORES[:, :3].numpy(), average="macro")),
    ],
)
def test_labels(name: str, expected: float) -> None:
    found = in_batches(find_metric(name, Problem("labels", 4)), SCORES, LABELS.to(torch.uint8))
    assert found == pytest.approx(expected, abs=1e-6)


MASKS = torch.randint(3, (6, 4, 5), generator=DRAW)
MASKS[torch.rand(6, 4, 5, generator=DRAW) < 0.2] = IGNORED
PIXELS = torch.randn(6, 4, 4, 5, generator=DRAW)
PIXELS[:, 3] = -50.0  # a class that nowhere occurs
KNOWN = (MASKS != IGNORED).numpy()
M, N = MASKS.numpy()[KNOWN], PIXELS.argmax(1).numpy()[KNOWN]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", oracle.accuracy_score(M, N)),
        ("balanced_accuracy", oracle.balanced_accuracy_score(M, N)),
        ("miou", oracle.jaccard_score(M, N, average="macro")),
        ("dice", oracle.f1_score(M, N, average="macro")),
        ("foreground_iou", oracle.jaccard_score(M, N, average="macro", labels=[1, 2])),
        ("foreground_dice", oracle.f1_score(M, N, average="macro", labels=[1, 2])),
    ],
)
def test_masks_without_what_is_ignored(name: str, expected: float) -> None:
    found = in_batches(find_metric(name, Problem("masks", 4)), PIXELS, MASKS, 4)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "iou", "dice", "foreground_dice", "foreground_iou"])
def test_one_logit_says_what_two_say(name: str) -> None:
    logit = torch.randn(4, 1, 6, 6, generator=DRAW)
    masks = (torch.rand(4, 6, 6, generator=DRAW) < 0.4).long()
    two = torch.cat([torch.zeros_like(logit), logit], 1)
    one = in_batches(find_metric(name, Problem("masks", 1)), logit, masks, 3)
    assert one == pytest.approx(in_batches(find_metric(name, Problem("masks", 2)), two, masks, 3))
    assert one == pytest.approx(in_batches(find_metric(name, Problem("masks", 1)), logit, masks.unsqueeze(1), 3))


NUMBERS = torch.randn(33, 2, generator=DRAW) * torch.tensor([1e4, 0.1]) + torch.tensor([1e6, -3.0])
SCALE = TargetScale.of(NUMBERS)
OUTPUTS = (NUMBERS - torch.tensor(SCALE.mean)) / torch.tensor(SCALE.std) + 0.3 * torch.randn(33, 2, generator=DRAW)
DECODED = SCALE.decode(OUTPUTS).double().numpy()
KNOWN_NUMBERS = NUMBERS.double().numpy()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", oracle.mean_absolute_error(KNOWN_NUMBERS, DECODED)),
        ("mse", oracle.mean_squared_error(KNOWN_NUMBERS, DECODED)),
        ("rmse", oracle.mean_squared_error(KNOWN_NUMBERS, DECODED) ** 0.5),
        ("r2", oracle.r2_score(KNOWN_NUMBERS, DECODED)),
    ],
)
def test_numbers_and_fields_in_the_units_of_the_targets(name: str, expected: float) -> None:
    numbers = find_metric(name, Problem("numbers", 2, SCALE))
    assert in_batches(numbers, OUTPUTS, NUMBERS) == pytest.approx(expected, rel=1e-5)
    # The same numbers as 11 samples of 3 positions.
    outputs, targets = (part.view(11, 3, 2).transpose(1, 2) for part in (OUTPUTS, NUMBERS))
    fields = find_metric(name, Problem("fields", 2, SCALE))
    assert in_batches(fields, outputs, targets, 4) == pytest.approx(expected, rel=1e-5)


def test_determination_of_few_or_equal_targets_is_finite() -> None:
    metric = find_metric("r2", Problem("numbers", 1))
    assert metric.measure(torch.tensor([[1.0]]), torch.tensor([[1.0]])) == 1
    assert metric.measure(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.1], [0.1]])) == 0


@pytest.mark.parametrize(
    "entry", [entry for _, entry in METRICS.items()], ids=lambda entry: f"{entry.form}-{entry.name}"
)
def test_every_metric_is_finite_on_one_sample_and_lazy(entry: Any) -> None:
    outputs = {"masks": (1, 3, 2, 2), "fields": (1, 3, 2, 2), "words": (1, 1, 3)}.get(entry.form, (1, 3))
    targets = {
        "classes": torch.tensor([1]),
        "labels": torch.zeros(1, 3, dtype=torch.uint8),
        "masks": torch.ones(1, 2, 2, dtype=torch.int64),
        "words": torch.tensor([[1]]),
    }
    metric = entry.make(Problem(entry.form, 3))
    value = metric.measure(torch.ones(outputs), targets.get(entry.form, torch.ones(outputs)))
    assert np.isfinite(value)
    assert np.isfinite(metric.reward(value))
    assert entry.description


def never(*arguments: Any, **named: Any) -> None:
    raise AssertionError("the other processes are asked, which may be elsewhere")


def test_one_process_computes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchmetrics.metric, "jit_distributed_available", lambda: True)
    monkeypatch.setattr(torchmetrics.metric, "gather_all_tensors", never)
    with pytest.raises(AssertionError, match="other processes"):
        plain = MulticlassF1Score(CLASSES)
        plain.update(LOGITS, TRUTH)
        plain.compute()
    made = [entry.make(Problem("classes", CLASSES)) for _, entry in METRICS.items() if entry.form == "classes"]
    made.append(own_metric(MulticlassF1Score(CLASSES), Problem("classes", CLASSES)))
    for metric in made:
        assert np.isfinite(metric.measure(LOGITS, TRUTH)), metric.name
    labels = [entry.make(Problem("labels", 4)) for _, entry in METRICS.items() if entry.form == "labels"]
    assert all(np.isfinite(metric.measure(SCORES, LABELS)) for metric in labels)
    masks = [entry.make(Problem("masks", 4)) for _, entry in METRICS.items() if entry.form == "masks"]
    assert all(np.isfinite(metric.measure(PIXELS, MASKS)) for metric in masks)
    numbers = [entry.make(Problem("numbers", 2)) for _, entry in METRICS.items() if entry.form == "numbers"]
    assert all(np.isfinite(metric.measure(OUTPUTS, NUMBERS)) for metric in numbers)


def test_rewards_and_scores_are_free_of_units() -> None:
    for factor in (1e-3, 1e6):
        problem = Problem("numbers", 1, TargetScale([0.0], [factor]))
        for name in ("mae", "rmse"):
            metric = find_metric(name, problem)
            assert metric.reward(factor) == pytest.approx(0.5)
            assert metric.hundredths * metric.score(0.25 * factor) == pytest.approx(-25)
        assert find_metric("mse", problem).reward(factor**2) == pytest.approx(0.5)


def test_messages_list_what_there_is() -> None:
    classes, numbers = Problem("classes", 4), Problem("numbers", 1)
    with pytest.raises(SettingsError, match=r"'mae' is for numbers at .* and regression, .* classification"):
        find_metric("mae", classes)
    with pytest.raises(SettingsError, match=r"unknown metric 'acuracy'. Did you mean accuracy.*balanced_accuracy"):
        find_metric("acuracy", classes)
    with pytest.raises(SettingsError, match=r"Allowed: mean_absolute_error \(mae, l1\)"):
        find_metric("accuracy", numbers)
    with pytest.raises(SettingsError, match="top5_accuracy of 4 classes says nothing"):
        find_metric("top5", classes)
    assert all(allowed_metrics(form) for form in FORMS)


def test_names_are_unique_for_a_form() -> None:
    for form in FORMS:
        names = [name for _, entry in METRICS.items() if entry.form == form for name in entry.names]
        assert len(names) == len(set(names)), form


def test_a_metric_is_added_by_name() -> None:
    @register_metric("always_one", ("classes",), aliases=("one",))
    def always_one(problem: Problem) -> Metric:
        """One."""
        return share("always_one", lambda: torchmetrics.MeanMetric())

    try:
        assert find_metric("one", Problem("classes", 3)).name == "always_one"
        with pytest.raises(ArchscoutError, match="registered already"):
            register_metric("always_one", ("classes",))(always_one)
    finally:
        METRICS.unregister("classes:always_one")
    with pytest.raises(ArchscoutError, match="allowed: classes, labels"):
        register_metric("odd", ("images",))(always_one)  # type: ignore[arg-type]


def largest_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().max()


def test_a_function_sees_the_whole_split_in_the_units_of_the_targets() -> None:
    metric = own_metric(largest_error, Problem("numbers", 2, SCALE), direction="min")
    assert (metric.name, metric.direction) == ("largest_error", "min")
    assert in_batches(metric, OUTPUTS, NUMBERS) == pytest.approx(np.abs(DECODED - KNOWN_NUMBERS).max(), rel=1e-5)


@pytest.mark.parametrize("given", [lambda: MulticlassF1Score(CLASSES), MulticlassF1Score(CLASSES)])
def test_metrics_of_torchmetrics_are_taken(given: Any) -> None:
    metric = own_metric(given, Problem("classes", CLASSES))
    assert metric.direction == "max"
    for _ in range(2):  # each time afresh
        assert in_batches(metric, LOGITS, TRUTH) == pytest.approx(oracle.f1_score(Y, P, average="macro"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "3 is no metric"),
        (lambda one, two, three: 0, "is no metric"),
        (lambda: 1.0, "it makes float"),
        (lambda outputs, targets: float("nan"), "must give a finite number"),
        (lambda outputs, targets: "good", "must give one number"),
        (torchmetrics.MeanMetric, "does not tell whether higher is better"),
    ],
)
def test_what_is_no_metric_is_refused(given: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        own_metric(given, Problem("classes", CLASSES)).measure(LOGITS, TRUTH)
