"""Metrics of the user's own: a function of a whole split, or anything of torchmetrics."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from archscout.errors import SettingsError
from archscout.tasks.metrics.classification import Metric
from archscout.tasks.metrics.problem import Problem

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["own_metric"]


def own_metric(
    given: Any,
    problem: Problem,
    *,
    name: str | None = None,
    direction: Literal["max", "min"] | None = None,
    percent: bool = False,
) -> Metric:
    """A metric from a function or from torchmetrics.

    It sees all samples of a split at once: a function `(outputs, targets) -> number` gets all outputs and all targets,
    on the CPU; a metric of torchmetrics (an object, a class or a function without arguments that makes one) is updated
    with batches. Outputs of regressions and fields are in the units of the targets; those of classes, labels and masks
    are logits, `(N, K, ...)`; positions to leave out have the target -100.

    Args:
        given: the function, or the metric of torchmetrics.
        problem: of the task, see `problem_of`.
        name: default: that of the function or class.
        direction: whether higher ("max") or lower ("min") is better; torchmetrics tells it, for a function it is "max"
            unless named.
        percent: whether the value is a share that people read in percent.

    Raises:
        SettingsError: nothing that could be a metric, or torchmetrics does not tell the direction.
    """
    import torchmetrics

    make = _maker(given)
    if make is None and not _takes_two(given):
        raise SettingsError(
            f"{given!r} is no metric. Give a name, a function (outputs, targets) -> number, or a metric of "
            "torchmetrics: an object, a class or a function without arguments that makes one."
        )
    called = name or str(getattr(given, "__name__", type(given).__name__))
    if make is None:
        whole = cast(Callable[[Tensor, Tensor], Any], given)
        return Metric(called, direction or "max", _collecting(whole, called, problem), _reward(direction), percent)
    made = make()
    if not isinstance(made, torchmetrics.Metric):
        raise SettingsError(
            f"'{called}' takes no arguments, so it should make a metric of torchmetrics; it makes "
            f"{type(made).__name__}. A metric that is a function takes two: (outputs, targets)."
        )
    if direction is None and made.higher_is_better is None:
        raise SettingsError(f'{called} does not tell whether higher is better; add direction="max" or direction="min".')
    direction = direction or ("max" if made.higher_is_better else "min")

    def create() -> torchmetrics.Metric:
        from archscout.tasks.metrics.accumulators import Adapted

        return Adapted(make(), lambda outputs, targets: (_in_units(outputs, problem), targets))

    return Metric(called, direction, create, _reward(direction), percent)


def _maker(given: Any) -> Callable[[], Any] | None:
    """What makes a fresh metric of torchmetrics; None where something else was given."""
    import torchmetrics

    if isinstance(given, torchmetrics.Metric):

        def fresh() -> torchmetrics.Metric:
            metric = copy.deepcopy(given)
            metric.reset()
            return metric

        return fresh
    if callable(given) and not _needed(given):
        return cast(Callable[[], Any], given)
    return None


def _needed(given: Any) -> list[inspect.Parameter]:
    """The arguments by position that a callable cannot do without."""
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError):  # of some functions written in C: taken for functions of two arguments
        return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("outputs", "targets")]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in parameters if each.kind in positional and each.default is inspect.Parameter.empty]


def _takes_two(given: Any) -> bool:
    return callable(given) and len(_needed(given)) == 2


def _in_units(outputs: Any, problem: Problem) -> Tensor:
    whole = outputs if isinstance(outputs, Tensor) else outputs.logits()
    return problem.decode(whole.float())


def _reward(direction: str | None) -> Callable[[float], float]:
    """Higher is better: the value, or, of an error from 0 up, 1 / (1 + value); below 0 its negative."""

    def of_error(value: float) -> float:
        return 1 / (1 + value) if value >= 0 else 1 - value

    return of_error if direction == "min" else float


def _collecting(
    whole: Callable[[Tensor, Tensor], Any], name: str, problem: Problem
) -> Callable[[], torchmetrics.Metric]:
    def value(outputs: Tensor, targets: Tensor) -> Tensor:
        found = whole(outputs.cpu(), targets.cpu())
        try:
            number = float(found)
        except (TypeError, ValueError, RuntimeError):
            raise SettingsError(f"the metric '{name}' gave {found!r}; it must give one number.") from None
        if not math.isfinite(number):
            raise SettingsError(
                f"the metric '{name}' gave {number} on {len(targets):,} samples; it must give a finite number for any "
                "samples, also for the few of some training steps."
            )
        return torch.tensor(number, dtype=torch.float64)

    def create() -> torchmetrics.Metric:
        from archscout.tasks.metrics.accumulators import Adapted, Collected

        return Adapted(Collected(value), lambda outputs, targets: (_in_units(outputs, problem), targets))

    return create
