"""Which configurations are tried, and which are given up: the published grid, and Optuna's samplers with halving.

A plan knows scores only: higher is better, None for a trial that diverged. It is deterministic given its seed and
what it was told, in order: a stopped tuning tells it the old scores again.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from archscout.seeds import derive_seed
from archscout.tuning.settings import RangeSettings, TuningSettings, Value

__all__ = ["GridPlan", "Plan", "SampledPlan", "distribution_of", "goes_on", "make_plan"]

GRID_PARTS = 10  # a trial of the grid is done in so many parts, between which the tuning can be stopped

Parameters = dict[str, Value]


class Plan(Protocol):
    """Proposes trials and judges them.

    Attributes:
        part: a trial trains so many epochs at a time.
        done: nothing is left to propose.
    """

    part: int

    @property
    def done(self) -> bool: ...

    def ask(self) -> Parameters | None:
        """The next trial; None: none before a running one has ended, or none at all."""
        ...

    def judged_at(self, epochs: int) -> bool:
        """Whether the score after so many epochs is wanted."""
        ...

    def report(self, number: int, epochs: int, score: float) -> bool:
        """Take a score before the end; whether the trial goes on."""
        ...

    def tell(self, number: int, score: float | None, *, early: bool = False) -> None:
        """A trial ended: with its score, diverged (None), or early."""
        ...


def make_plan(settings: TuningSettings, seed: int) -> Plan:
    """The plan of the settings."""
    return GridPlan(settings) if settings.kind == "grid" else SampledPlan(settings, seed)


def goes_on(before: Sequence[float | None], group: Sequence[float | None]) -> bool:
    """Whether the grid goes on after a group of configurations (docs/methods/d2nas.md#tuning).

    It does as long as the group has a better one than all before it; before anything has worked at all (the learning
    rate was too high), it always does.

    Args:
        before: scores of earlier groups, higher is better; None diverged.
        group: those of this one.
    """
    best_before, best = (
        max((score for score in scores if score is not None), default=None) for scores in (before, group)
    )
    return best_before is None or (best is not None and best > best_before)


class GridPlan:
    """All combinations; the first parameter is the outer loop, whose later values may be left out."""

    def __init__(self, settings: TuningSettings) -> None:
        names = list(settings.parameters)
        first, *others = (values for values in settings.parameters.values() if not isinstance(values, RangeSettings))
        self._groups = [
            [dict(zip(names, (value, *rest), strict=True)) for rest in itertools.product(*others)] for value in first
        ]
        self._skip_rest, self._epochs = settings.skip_rest, settings.epochs
        self.part = max(1, settings.epochs // GRID_PARTS)
        self._scores: list[dict[int, float | None]] = [{}]  # of each group so far, by trial
        self._asked = 0  # in the current group

    @property
    def done(self) -> bool:
        """Whether the last group is asked for, or the rest is left out."""
        return self._asked == len(self._groups[len(self._scores) - 1]) and (
            len(self._scores) == len(self._groups) or (self._group_ended and not self._continues)
        )

    @property
    def _group_ended(self) -> bool:
        return len(self._scores[-1]) == len(self._groups[len(self._scores) - 1])

    @property
    def _continues(self) -> bool:
        before = [score for group in self._scores[:-1] for score in group.values()]
        return not self._skip_rest or goes_on(before, list(self._scores[-1].values()))

    def ask(self) -> Parameters | None:
        """The next combination."""
        if self.done:
            return None
        if self._asked == len(self._groups[len(self._scores) - 1]):
            if not self._group_ended:
                return None
            self._scores.append({})
            self._asked = 0
        self._asked += 1
        return self._groups[len(self._scores) - 1][self._asked - 1]

    def judged_at(self, epochs: int) -> bool:
        """At the end only."""
        return epochs >= self._epochs

    def report(self, number: int, epochs: int, score: float) -> bool:
        """Every trial goes on to its end."""
        return True

    def tell(self, number: int, score: float | None, *, early: bool = False) -> None:
        """Enter a score."""
        self._scores[-1][number] = score


class SampledPlan:
    """Optuna draws configurations, and gives up those that are behind others after as many epochs.

    Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934) or Hyperband with it.
    """

    def __init__(self, settings: TuningSettings, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna: Any = optuna
        self._settings, self._seed = settings, seed
        self.part = settings.min_epochs
        self._distributions = {name: distribution_of(values) for name, values in settings.parameters.items()}
        factor = settings.reduction_factor
        pruner: Any = optuna.pruners.SuccessiveHalvingPruner(settings.min_epochs, factor)
        if settings.kind == "hyperband":
            pruner = optuna.pruners.HyperbandPruner(settings.min_epochs, settings.epochs, factor)
        self._study = optuna.create_study(study_name="tuning", direction="maximize", pruner=pruner)
        self._running: dict[int, Any] = {}
        self._asked = 0

    @property
    def done(self) -> bool:
        """Whether all trials are asked for."""
        return self._asked == self._settings.trials

    def ask(self) -> Parameters | None:
        """A draw that follows from the seed, the number of the trial, and what was told so far."""
        if self.done:
            return None
        samplers = self._optuna.samplers
        seed = derive_seed(self._seed, "tuning", self._asked) % 2**32
        kind = samplers.TPESampler if self._settings.sampler == "tpe" else samplers.RandomSampler
        self._study.sampler = kind(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask(self._distributions)
        self._running[self._asked] = trial
        self._asked += 1
        return dict(trial.params)

    def judged_at(self, epochs: int) -> bool:
        """At the rungs: min_epochs times powers of the reduction factor; and at the end."""
        if epochs >= self._settings.epochs:
            return True
        rung = self._settings.min_epochs
        while rung < epochs:
            rung *= self._settings.reduction_factor
        return rung == epochs

    def report(self, number: int, epochs: int, score: float) -> bool:
        """Let the pruner decide."""
        self._running[number].report(score, epochs)
        return not self._running[number].should_prune()

    def tell(self, number: int, score: float | None, *, early: bool = False) -> None:
        """Tell the sampler; a trial that diverged is worse than all others."""
        trial = self._running.pop(number)
        if score is None:
            trial.report(-math.inf, self._settings.epochs)
        ended_early = early or score is None
        state = self._optuna.trial.TrialState.PRUNED if ended_early else None
        self._study.tell(trial, None if ended_early else score, state=state)


def distribution_of(values: tuple[Value, ...] | RangeSettings) -> Any:
    """The parameter as Optuna has it."""
    from optuna import distributions

    if not isinstance(values, RangeSettings):
        return distributions.CategoricalDistribution(values)
    if values.integer:
        return distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return distributions.FloatDistribution(values.low, values.high, log=values.log)
