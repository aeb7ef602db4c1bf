"""Metrics, losses, class weights and sampling of the user's choice, for any task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from archscout.errors import SettingsError
from archscout.tasks.metrics.catalogue import find_metric
from archscout.tasks.metrics.classification import IGNORED, Loss, Metric, PooledLoss, pooled_mean
from archscout.tasks.metrics.losses import MadeLoss, find_loss
from archscout.tasks.metrics.own import own_metric
from archscout.tasks.metrics.problem import FORMS, Problem, TargetForm
from archscout.tasks.options import TaskOptions
from archscout.tasks.sources import known_targets
from archscout.tasks.task import Split, Task

__all__ = ["class_weights", "problem_of", "split_targets", "with_choices", "with_loss", "with_metric"]


def problem_of(task: Task) -> Problem:
    """What metrics and losses of choice need to know of a task."""
    form = _form(task)
    if form == "fields":
        _check_channels(task)
    merge = False
    if form == "labels":
        first = _first_targets(task.train)
        merge = first is not None and first.shape[1] > task.spec.outputs
    return Problem(form, task.spec.outputs, task.scale, merge)


def _check_channels(task: Task) -> None:
    """Raise SettingsError where targets say more than one value for each output."""
    first = _first_targets(task.train)
    if first is not None and first.dim() > 1 and first.shape[1] != task.spec.outputs:
        names = ", ".join(metric.name for metric in task.metrics)
        raise SettingsError(
            f"the targets of {task.name} have {first.shape[1]} channels for {task.spec.outputs} outputs, which only "
            f"its own loss and metrics understand: {names}."
        )


def _form(task: Task) -> TargetForm:
    simple: dict[str, TargetForm] = {
        "classification": "classes",
        "multilabel": "labels",
        "regression": "numbers",
        "language": "words",
    }
    if task.spec.kind in simple:
        return simple[task.spec.kind]
    first = None if task.scale is not None else _first_targets(task.train)
    return "fields" if first is None or first.is_floating_point() else "masks"


def _first_targets(split: Split) -> Tensor | None:
    """The targets of the first sample; None of an empty split."""
    if len(split) == 0:
        return None
    known = known_targets(split.source)
    if known is not None:
        return known[split.indices[:1]]
    return next(iter(split.source.batches([split.indices[:1]], torch.device("cpu"))))[1]


def split_targets(split: Split, batch: int = 256) -> Tensor:
    """All targets of a split; where the source does not know them, its inputs are read, too."""
    known = known_targets(split.source)
    if known is not None:
        return known[split.indices]
    batches = split.source.batches(torch.split(split.indices, batch), torch.device("cpu"))
    return torch.cat([targets for _, targets in batches])


# -- options -----------------------------------------------------------------------------------------------------------


def with_choices(task: Task, options: TaskOptions) -> Task:
    """The task with the metric, loss, weights and sampling that the options name; without any, as it is.

    Raises:
        SettingsError: a name that is not for this kind of task.
    """
    if options.metric is not None or options.metrics:
        task = with_metric(task, options.metric or task.metric, *options.metrics)
    if options.loss is not None or options.class_weights is not None:
        task = with_loss(task, options.loss, class_weights=options.class_weights)
    if options.sampling == "balanced":
        _check_sampling(task)
        task = replace(task, sampling="balanced")
    return task


def _check_sampling(task: Task) -> None:
    kind = task.spec.kind
    if kind == "classification":
        if any(known_targets(split.source) is None for split in (task.train, task.validation)):
            raise SettingsError(
                f"sampling = balanced: the classes of {task.name} are not known before its samples are read. Use "
                "class_weights=balanced instead."
            )
        return
    reasons = {
        "multilabel": "a sample can have several labels, so that drawing one label oftener draws others, too. Use "
        "class_weights=balanced, which weights the positives of each label",
        "regression": "numbers are no classes that could be drawn as often as each other. Leave it out",
        "dense": "a sample has a target at every position. Use class_weights=balanced for classes at positions, or "
        "leave it out",
        "language": "the words of a text are read in their order. Leave it out",
    }
    raise SettingsError(f"sampling = balanced is for classification, and {task.name} is {kind}: {reasons[kind]}.")


# -- metrics -----------------------------------------------------------------------------------------------------------


def with_metric(
    task: Task,
    metric: str | Metric | Any,
    *further: str | Metric | Any,
    direction: Literal["max", "min"] | None = None,
    name: str | None = None,
    percent: bool = False,
) -> Task:
    """The task with another deciding metric; the former ones are reported beside it.

    Args:
        metric: a name, a `Metric`, a function `(outputs, targets) -> number` of a whole split, or a metric of
            torchmetrics; see `archscout.tasks.metrics.own.own_metric` for what they get.
        further: more of these, to report.
        direction, name, percent: of a deciding metric of your own.

    Raises:
        SettingsError: a name that is not for these targets, or what is no metric.
    """

    def resolved(each: Any, **told: Any) -> Metric:
        if isinstance(each, Metric):
            return each
        if isinstance(each, str):
            own = next((known for known in task.metrics if known.name == each), None)
            return own or find_metric(each, problem_of(task))
        return own_metric(each, problem_of(task), **told)

    chosen = resolved(metric, direction=direction, name=name, percent=percent)
    beside: dict[str, Metric] = {}
    for each in (*(resolved(one) for one in further), *task.metrics):
        if each.name != chosen.name:
            beside.setdefault(each.name, each)
    return replace(task, metric=chosen, extra_metrics=tuple(beside.values()))


# -- losses ------------------------------------------------------------------------------------------------------------


def with_loss(
    task: Task,
    loss: str | Callable[..., Tensor] | None = None,
    *,
    class_weights: Literal["balanced"] | Tensor | None = None,
    pool: PooledLoss = pooled_mean,
) -> Task:
    """The task with another loss.

    Args:
        loss: a name, or a function `(outputs, targets) -> scalar`, the mean over the batch; it gets what the network
            gives, unscaled. If it takes `label_smoothing` it gets that, too. None: the usual loss of these targets.
        class_weights: "balanced", by the frequencies in the train split, or a weight for each class (for labels: of
            the positives of each).
        pool: how losses of batches of a function are added up; by default they are means over all targets.

    Raises:
        SettingsError: a name that is not for these targets, or weights that these targets or this loss cannot have.
    """
    if callable(loss):
        if class_weights is not None:
            raise SettingsError("class_weights go with a loss of archscout; a loss of your own weights by itself.")
        own, smooths = _own_loss(loss)
        return replace(task, loss=own, pool_loss=pool, heeds_smoothing=smooths)
    problem = problem_of(task)
    if class_weights is not None:
        weights = _weights_of(task, problem, class_weights)
        problem = replace(problem, weights=weights)
    if loss is None and not _is_usual(task, problem):
        raise SettingsError(
            f"{task.name} has a loss of its own, which takes no class weights. Name a loss beside them, for example "
            "--set loss=cross_entropy"
        )
    made: MadeLoss = find_loss(loss, problem)
    return replace(task, loss=made.loss, pool_loss=made.pool, heeds_smoothing=made.smooths)


def _is_usual(task: Task, problem: Problem) -> bool:
    """Whether a task has the loss that weights are meant for: that of its targets."""
    return problem.form in ("classes", "labels", "masks") and task.pool_loss is pooled_mean


def _own_loss(function: Callable[..., Tensor]) -> tuple[Loss, bool]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    any_name = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    if "label_smoothing" in parameters or any_name:
        return cast(Loss, function), True

    def loss(outputs: Any, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return function(outputs, targets)

    return loss, False


def _weights_of(task: Task, problem: Problem, given: Literal["balanced"] | Tensor) -> Tensor:
    if problem.form not in ("classes", "labels", "masks"):
        raise SettingsError(
            f"class_weights are for classes and labels; {task.name} is {FORMS[problem.form]}. Leave them out."
        )
    wanted = problem.classes
    if not isinstance(given, str):
        weights = torch.as_tensor(given, dtype=torch.float32)
        if weights.shape != (wanted,) or not bool((weights >= 0).all()) or not bool(torch.isfinite(weights).all()):
            raise SettingsError(
                f"class_weights are {tuple(weights.shape)} numbers, {weights.flatten()[:4].tolist()} ...; give one "
                f"from 0 up for each of {wanted} classes."
            )
        return weights
    if given != "balanced":
        raise SettingsError(f"class_weights = '{given}'; allowed: balanced, or in Python a weight for each class.")
    return class_weights(split_targets(task.train), problem)


def class_weights(targets: Tensor, problem: Problem) -> Tensor:
    """Weights by which all classes count the same in a loss over these targets, float32.

    Of a class: samples / (classes that occur * samples of it), so that their mean over the samples is 1; 0 where it
    does not occur. Of a label: negatives / positives, the weight of its positives; 1 where either is missing.
    """
    if problem.form == "labels":
        positive = (targets[:, : problem.outputs] > 0).sum(0).double()
        negative = len(targets) - positive
        usable = (positive > 0) & (negative > 0)
        return torch.where(usable, negative / positive.clamp(min=1), 1.0).float()
    flat = targets.flatten().long()
    counts = torch.bincount(flat[flat != IGNORED], minlength=problem.classes).double()
    there = counts > 0
    return torch.where(there, counts.sum() / (there.sum() * counts.clamp(min=1)), 0.0).float()


# `Task` must not need this module, but shows its functions as methods.
Task.with_metric = with_metric
Task.with_loss = with_loss
