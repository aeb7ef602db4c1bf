"""All losses by name: which are for which targets, and how each is made, with weights of the classes.

A loss is the mean over what is counted in a batch, and `PooledLoss` says what that is, so that losses of batches add
up to that of a split. Weights are such that their mean over the training samples is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.errors import ArchscoutError, SettingsError, closest
from archscout.registry import Registry
from archscout.tasks.metrics.classification import (
    IGNORED,
    Loss,
    PooledLoss,
    cross_entropy,
    language_loss,
    pooled_mean,
    pooled_sum,
)
from archscout.tasks.metrics.dense import mean_squared_error, position_cross_entropy, relative_l2_loss
from archscout.tasks.metrics.numbers import absolute_loss, huber_loss
from archscout.tasks.metrics.problem import FORMS, Problem, TargetForm
from archscout.tasks.scale import TargetScale

__all__ = ["LOSSES", "LossEntry", "MadeLoss", "allowed_losses", "find_loss", "pooled_samples", "register_loss"]

FOCUS = 2.0  # the exponent of the focal loss, as published (arXiv 1708.02002)


@dataclass(frozen=True)
class MadeLoss:
    """A loss, and how its batches are added up.

    Attributes:
        smooths: whether it heeds `label_smoothing`.
    """

    loss: Loss
    pool: PooledLoss = pooled_mean
    smooths: bool = False


LossMaker = Callable[[Problem], MadeLoss]


@dataclass(frozen=True)
class LossEntry:
    """A loss of choice for one form of targets.

    Attributes:
        name: in full.
        form: of the targets.
        make: the loss for a problem.
        aliases: other names.
        weighted: whether it takes weights of classes.
    """

    name: str
    form: TargetForm
    make: LossMaker
    aliases: tuple[str, ...] = ()
    weighted: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return (self.name, *self.aliases)


def _check_entry(key: str, entry: LossEntry) -> None:
    if entry.form not in FORMS:
        raise ArchscoutError(f"the loss '{entry.name}' is for '{entry.form}'; allowed: {', '.join(FORMS)}.")
    if not callable(entry.make):
        raise ArchscoutError(f"the loss '{entry.name}' has no maker: a function (problem) -> MadeLoss.")


LOSSES: Registry[LossEntry] = Registry("loss", "archscout.tasks")
"""By form and name, as `classes:focal`."""
LOSSES.check_with(_check_entry)


def register_loss(
    name: str, forms: Iterable[TargetForm], *, aliases: Collection[str] = (), weighted: bool = False
) -> Callable[[LossMaker], LossMaker]:
    """Decorator: make a loss known by name, for `--set loss=...` and `task.with_loss`.

    It decorates a maker `(problem) -> MadeLoss`.

    Args:
        forms: of the targets: classes, labels, numbers, masks, fields, words.
        aliases: other names.
        weighted: whether it heeds `problem.weights`.
    """

    def add(make: LossMaker) -> LossMaker:
        for form in forms:
            LOSSES.register(f"{form}:{name}")(LossEntry(name, form, make, tuple(aliases), weighted))
        return make

    return add


def allowed_losses(form: TargetForm) -> list[str]:
    """The names of the losses for targets of a form, with their short names; the default comes first."""
    return [f"{each.name} ({', '.join(each.aliases)})" if each.aliases else each.name for each in _of(form)]


def _of(form: TargetForm) -> list[LossEntry]:
    found = [entry for _, entry in LOSSES.items() if entry.form == form]
    return sorted(found, key=lambda entry: (entry.name != DEFAULTS[form], entry.name))


DEFAULTS: dict[TargetForm, str] = {
    "classes": "cross_entropy",
    "labels": "binary_cross_entropy",
    "numbers": "mean_squared_error",
    "masks": "cross_entropy",
    "fields": "mean_squared_error",
    "words": "cross_entropy",
}


def find_loss(name: str | None, problem: Problem) -> MadeLoss:
    """The loss of a name or a short name; None: the usual one.

    Raises:
        SettingsError: there is none for such targets, or it takes no weights where the problem has some.
    """
    mine = _of(problem.form)
    wanted = (name or DEFAULTS[problem.form]).lower().replace("-", "_").strip()
    what, allowed = FORMS[problem.form], ", ".join(allowed_losses(problem.form))
    for entry in mine:
        if wanted in entry.names:
            if problem.weights is not None and not entry.weighted:
                able = ", ".join(each.name for each in mine if each.weighted)
                raise SettingsError(
                    f"the loss {entry.name} takes no class weights"
                    + (f"; leave class_weights out, or choose one of: {able}." if able else "; leave them out.")
                )
            return entry.make(problem)
    others = sorted({FORMS[entry.form] for _, entry in LOSSES.items() if wanted in entry.names})
    if others:
        raise SettingsError(
            f"the loss '{name}' is for {' and '.join(others)}, and this task is {what}. Allowed: {allowed}."
        )
    near = closest(wanted, [one for entry in mine for one in entry.names])
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise SettingsError(f"unknown loss '{name}'.{meant} For {what} there are: {allowed}.")


def pooled_samples(loss: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For a loss that is the mean over the samples of a batch."""
    count = torch.tensor(len(targets), device=loss.device)
    return loss.double() * count, count


# -- classes and masks -------------------------------------------------------------------------------------------------


@register_loss("cross_entropy", ("classes", "masks"), aliases=("ce",), weighted=True)
def _cross_entropy(problem: Problem) -> MadeLoss:
    if problem.weights is None and problem.outputs > 1:
        return MadeLoss(cross_entropy if problem.form == "classes" else position_cross_entropy, smooths=True)
    return MadeLoss(_weighted(problem, focus=0.0), smooths=True)


@register_loss("focal", ("classes", "masks"), weighted=True)
def _focal(problem: Problem) -> MadeLoss:
    return MadeLoss(_weighted(problem, focus=FOCUS), smooths=True)


def _weighted(problem: Problem, focus: float) -> Loss:
    """Cross-entropy whose samples or positions are weighted by their class, and by `(1 - p) ** focus`."""
    weights = problem.weights

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        logits, classes = _two(outputs.float(), targets)
        known = classes != IGNORED
        terms = F.cross_entropy(
            logits, classes, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="none"
        )
        if focus:
            chosen = logits.log_softmax(1).gather(1, classes.clamp(min=0).unsqueeze(1)).squeeze(1)
            terms = terms * (1 - chosen.exp()).clamp(min=0) ** focus
        if weights is not None:
            terms = terms * weights.to(terms.device, terms.dtype)[classes.clamp(min=0)]
        return (terms * known).sum() / known.sum().clamp(min=1)

    return loss


def _two(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of two classes where there is one, that of class 1; targets without an axis of channels."""
    if outputs.shape[1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], 1)
        targets = targets.squeeze(1) if targets.dim() == outputs.dim() else targets
    return outputs, targets.long()


@register_loss("dice", ("masks",))
def _dice(problem: Problem) -> MadeLoss:
    return MadeLoss(_soft_dice, pooled_samples)


@register_loss("dice_cross_entropy", ("masks",), aliases=("dice_ce",))
def _dice_cross_entropy(problem: Problem) -> MadeLoss:
    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        logits, classes = _two(outputs.float(), targets)
        known = (classes != IGNORED).flatten(1)
        terms = F.cross_entropy(
            logits, classes, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="none"
        ).flatten(1)
        return (terms.sum(1) / known.sum(1).clamp(min=1)).mean() + _soft_dice(outputs, targets)

    return MadeLoss(loss, pooled_samples, smooths=True)


def _soft_dice(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """1 - Dice of the probabilities, of each class in each sample, then the mean (arXiv 1606.04797, smoothed by 1)."""
    logits, classes = _two(outputs.float(), targets)
    known = (classes != IGNORED).unsqueeze(1)
    truth = F.one_hot(classes.clamp(min=0), logits.shape[1]).movedim(-1, 1) * known
    found = logits.softmax(1) * known
    both = (found * truth).flatten(2).sum(2)
    size = (found + truth).flatten(2).sum(2)
    return (1 - (2 * both + 1) / (size + 1)).mean()


# -- labels ------------------------------------------------------------------------------------------------------------


@register_loss("binary_cross_entropy", ("labels",), aliases=("bce",), weighted=True)
def _binary_cross_entropy(problem: Problem) -> MadeLoss:
    return MadeLoss(_of_labels(problem, focus=0.0))


@register_loss("focal", ("labels",), weighted=True)
def _focal_labels(problem: Problem) -> MadeLoss:
    return MadeLoss(_of_labels(problem, focus=FOCUS))


def _of_labels(problem: Problem, focus: float) -> Loss:
    labels, weights = problem.outputs, problem.weights

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        logits, truth = outputs.float(), targets[:, :labels].float()
        positive = None if weights is None else weights.to(logits.device, logits.dtype)
        terms = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=positive, reduction="none")
        if focus:
            probability = logits.sigmoid()
            terms = terms * (truth - probability).abs() ** focus
        return terms.mean()

    return loss


# -- numbers and fields ------------------------------------------------------------------------------------------------

_PLAIN = TargetScale([0.0], [1.0])


@register_loss("mean_squared_error", ("numbers", "fields"), aliases=("mse", "l2"))
def _mse(problem: Problem) -> MadeLoss:
    return MadeLoss(mean_squared_error(problem.scale))


@register_loss("mean_absolute_error", ("numbers", "fields"), aliases=("mae", "l1"))
def _mae(problem: Problem) -> MadeLoss:
    return MadeLoss(absolute_loss(problem.scale or _PLAIN))


@register_loss("huber", ("numbers", "fields"), aliases=("smooth_l1",))
def _huber(problem: Problem) -> MadeLoss:
    return MadeLoss(huber_loss(problem.scale or _PLAIN))


@register_loss("relative_l2", ("fields",), aliases=("rel_l2",))
def _relative(problem: Problem) -> MadeLoss:
    return MadeLoss(relative_l2_loss(problem.decode), pooled_sum)


# -- words -------------------------------------------------------------------------------------------------------------


@register_loss("cross_entropy", ("words",), aliases=("ce",))
def _language(problem: Problem) -> MadeLoss:
    return MadeLoss(language_loss)
