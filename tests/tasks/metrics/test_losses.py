"""Losses by name: against plain formulas, pooled over batches, with weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.errors import SettingsError
from archscout.tasks.choices import class_weights
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.metrics.losses import LOSSES, MadeLoss, allowed_losses, find_loss
from archscout.tasks.metrics.problem import FORMS, Problem
from archscout.tasks.scale import TargetScale

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(20, 3, generator=DRAW)
CLASSES = torch.tensor([0] * 14 + [1] * 5 + [2])


def pooled(made: MadeLoss, outputs: Tensor, targets: Tensor, size: int) -> float:
    total, count = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for start in range(0, len(targets), size):
        part = targets[start : start + size]
        loss, terms = made.pool(made.loss(outputs[start : start + size], part), part)
        total, count = total + loss, count + terms
    return float(total / count)


def test_weighted_cross_entropy_is_torchs_over_the_whole_split() -> None:
    weights = class_weights(CLASSES, Problem("classes", 3))
    assert weights.tolist() == pytest.approx([20 / 42, 20 / 15, 20 / 3])
    assert float(weights[CLASSES].mean()) == pytest.approx(1)
    made = find_loss(None, Problem("classes", 3, weights=weights))
    expected = float(F.cross_entropy(LOGITS, CLASSES, weight=weights))  # torch divides by the weights' sum: 20
    for size in (20, 7, 1):
        assert pooled(made, LOGITS, CLASSES, size) == pytest.approx(expected, rel=1e-6)


def test_classes_that_do_not_occur_weigh_nothing() -> None:
    assert class_weights(torch.tensor([0, 0, 2, 2]), Problem("classes", 3)).tolist() == [1, 0, 1]
    masks = torch.tensor([[[0, 0, 0, IGNORED], [1, IGNORED, IGNORED, IGNORED]]])
    assert class_weights(masks, Problem("masks", 2)).tolist() == pytest.approx([4 / 6, 2])
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    assert class_weights(labels, Problem("labels", 3)).tolist() == [3, 1, 1]


def test_focal_loss() -> None:
    chosen = LOGITS.softmax(1)[torch.arange(20), CLASSES]
    expected = float((-((1 - chosen) ** 2) * chosen.log()).mean())
    assert pooled(find_loss("focal", Problem("classes", 3)), LOGITS, CLASSES, 7) == pytest.approx(expected, rel=1e-5)
    labels = (torch.rand(20, 3, generator=DRAW) < 0.4).to(torch.uint8)
    right = torch.where(labels > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    expected = float((-((1 - right) ** 2) * right.log()).mean())
    assert pooled(find_loss("focal", Problem("labels", 3)), LOGITS, labels, 7) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_ignored_positions_change_nothing(name: str) -> None:
    logits, masks = torch.randn(2, 3, 4, 5, generator=DRAW), torch.randint(3, (2, 4, 5), generator=DRAW)
    masks[0, :2] = IGNORED
    weights = torch.tensor([0.5, 1.0, 3.0])
    loss = find_loss(name, Problem("masks", 3, weights=weights)).loss
    first = loss(logits, masks)
    logits[0, :, :2] = 100.0
    assert torch.equal(loss(logits, masks), first)
    flat, known = logits.movedim(1, -1).reshape(-1, 3), masks.flatten()
    classes = find_loss(name, Problem("classes", 3, weights=weights)).loss
    assert float(first) == pytest.approx(float(classes(flat[known != IGNORED], known[known != IGNORED])), rel=1e-5)


@pytest.mark.parametrize("name", ["dice", "dice_cross_entropy"])
def test_dice(name: str) -> None:
    masks = torch.randint(2, (3, 6, 6), generator=DRAW)
    masks[1, 3:] = IGNORED
    sure = 60.0 * (F.one_hot(masks.clamp(min=0), 2).movedim(-1, 1) - 0.5)
    made = find_loss(name, Problem("masks", 2))
    assert float(made.loss(sure, masks)) == pytest.approx(0, abs=1e-5)
    assert float(made.loss(-sure, masks)) > 0.9
    logits = torch.randn(3, 2, 6, 6, generator=DRAW)
    whole = float(made.loss(logits, masks))
    assert pooled(made, logits, masks, 2) == pytest.approx(whole, rel=1e-6)
    one = find_loss(name, Problem("masks", 1))
    assert float(one.loss(logits[:, 1:] - logits[:, :1], masks.unsqueeze(1))) == pytest.approx(whole, rel=1e-5)


def test_losses_of_numbers_are_free_of_units() -> None:
    standard = torch.randn(9, 2, generator=DRAW)
    for name, expected in (("mse", 0.25), ("mae", 0.5), ("huber", 0.125)):
        for factor in (1e-3, 1e5):
            scale = TargetScale([7.0, 7.0], [factor, 2 * factor])
            targets = scale.decode(standard + 0.5)
            loss = find_loss(name, Problem("numbers", 2, scale)).loss
            assert float(loss(standard, targets)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("entry", [entry for _, entry in LOSSES.items()], ids=lambda entry: entry.form + entry.name)
def test_every_loss_has_a_finite_gradient(entry) -> None:  # type: ignore[no-untyped-def]
    shape = {"masks": (2, 3, 2, 2), "fields": (2, 3, 2, 2), "words": (2, 4, 3)}.get(entry.form, (2, 3))
    targets = {
        "classes": torch.tensor([1, 0]),
        "labels": torch.tensor([[0, 1, 1], [0, 0, 0]], dtype=torch.uint8),
        "masks": torch.full((2, 2, 2), IGNORED),
        "words": torch.ones(2, 4, dtype=torch.int64),
    }.get(entry.form, torch.ones(shape))
    for value in (0.0, 80.0, -80.0):
        outputs = torch.full(shape, value, requires_grad=True)
        made = entry.make(Problem(entry.form, 3, TargetScale([0.0] * 3, [1.0] * 3)))
        made.loss(outputs, targets).backward()
        assert outputs.grad is not None
        assert bool(torch.isfinite(outputs.grad).all())


def test_messages() -> None:
    assert allowed_losses("classes")[0] == "cross_entropy (ce)"
    assert all(allowed_losses(form) for form in FORMS)
    with pytest.raises(SettingsError, match=r"'mse' is for numbers at .* and regression, and this task is classif"):
        find_loss("mse", Problem("classes", 3))
    with pytest.raises(SettingsError, match=r"unknown loss 'focl'. Did you mean focal"):
        find_loss("focl", Problem("classes", 3))
    with pytest.raises(SettingsError, match=r"the loss dice takes no class weights; .*cross_entropy, focal"):
        find_loss("dice", Problem("masks", 3, weights=torch.ones(3)))
