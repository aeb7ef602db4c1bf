"""Intervals of metrics by the bootstrap: the split drawn anew, with replacement, a thousand times.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals); where samples
belong to groups, whole groups are drawn (Field and Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x).

Most metrics add up counts or sums over samples. Of those the counts of each sample are kept, and a resample is a
weighted sum of them, however large a sample's outputs are. Others need all outputs again for each resample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from archscout.pipeline.insight.content import Interval
from archscout.seeds import generator
from archscout.tasks.metrics.classification import Metric

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["RESAMPLES", "Resampler", "interval_of"]

RESAMPLES = 1000
FEWEST = 100  # resamples of metrics that need all outputs again
MOST_SUMS = 4096  # numbers that a metric adds up for each sample
MOST_KEPT = 2**27  # outputs that are kept for metrics that need them again
AT_ONCE = 1e8  # outputs that may be judged again for one metric
LEVEL = (0.025, 0.975)


def interval_of(values: Tensor, unit: str = "samples") -> Interval:
    """The percentile interval of resampled values."""
    low, high = torch.quantile(values.double(), torch.tensor(LEVEL, dtype=torch.float64)).tolist()
    return Interval(low, high, len(values), unit)


def _without_exception(value: float, units: int, unit: str) -> Interval:
    """The exact binomial interval (Clopper and Pearson 1934) of a share that has no exception, 0 or 1."""
    margin = 1 - LEVEL[0] ** (1 / units)
    return Interval(0.0, margin, 0, unit) if value == 0 else Interval(1 - margin, 1.0, 0, unit)


class Resampler:
    """Follows an evaluation, and tells afterwards between which bounds each metric would lie on other samples.

    Args:
        metrics: of the task.
        shared: the last column of targets is a number that several samples share (chunks of one clip).
    """

    def __init__(self, metrics: Sequence[Metric], *, shared: bool = False) -> None:
        self._metrics, self._shared = metrics, shared
        self._sums = [_SampleSums(metric) for metric in metrics]
        self._kept: list[tuple[Tensor, Tensor]] | None = []
        self._elements = 0
        self.samples = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, on the CPU."""
        for sums in self._sums:
            sums.update(outputs, targets)
        self.samples += len(outputs)
        self._elements += outputs.numel()
        if all(sums.is_additive for sums in self._sums) or self._elements > MOST_KEPT:
            self._kept = None
        if self._kept is not None:
            self._kept.append((outputs, targets))

    def intervals(
        self, values: dict[str, float], seed: int, groups: Sequence[str] | None = None, unit: str = "samples"
    ) -> tuple[dict[str, Interval], list[str]]:
        """The interval of each metric, and what is to be said of those without.

        Args:
            values: of the metrics on the whole split.
            seed: of the draws.
            groups: of each sample; samples of one group are drawn together.
            unit: what a sample is, where there are no groups.
        """
        units = self._units(groups)
        count = int(units.max()) + 1 if len(units) else 0
        if count < 2:
            return {}, [f"there is one {'group' if groups else 'sample'} only, so that there are no intervals"]
        unit = "groups" if groups is not None else unit
        draws = _Draws(units, count, seed)
        found, notes = {}, []
        for metric, sums in zip(self._metrics, self._sums, strict=True):
            resampled = sums.resampled(draws, values[metric.name])
            if resampled is None:
                resampled = self._measured(metric, draws)
            if resampled is None or not bool(resampled.isfinite().all()):
                notes.append(f"{metric.name} has no interval: its outputs are too many to be judged again")
            elif float(resampled.max() - resampled.min()) > 0:
                found[metric.name] = interval_of(resampled, unit)
            elif metric.percent and values[metric.name] in (0.0, 1.0):
                found[metric.name] = _without_exception(values[metric.name], count, unit)
            else:
                notes.append(f"{metric.name} has no interval: it is the same on all resamples")
        return found, notes

    def _units(self, groups: Sequence[str] | None) -> Tensor:
        """The number of the unit of each sample."""
        if groups is not None:
            numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
            return torch.tensor([numbers[name] for name in groups])
        if self._shared and self._kept:
            shared = torch.cat([targets[:, -1] for _, targets in self._kept])
            numbers_of: Tensor = torch.unique(shared, return_inverse=True)[1]
            return numbers_of
        return torch.arange(self.samples)

    def _measured(self, metric: Metric, draws: _Draws) -> Tensor | None:
        """Values of a metric that needs all outputs again."""
        if not self._kept:
            return None
        outputs, targets = (torch.cat([pair[side] for pair in self._kept]) for side in (0, 1))
        resamples = int(min(RESAMPLES, max(FEWEST, AT_ONCE // max(1, outputs.numel()))))
        values = []
        for number in range(resamples):
            rows, copies = draws.rows(number)
            truth = targets[rows]
            if self._shared:
                truth[:, -1] = copies.to(truth.dtype)  # a unit that was drawn twice counts twice
            values.append(metric.measure(outputs[rows], truth))
        return torch.tensor(values, dtype=torch.float64)


class _Draws:
    """The draws of all resamples: each follows from the seed and its number."""

    def __init__(self, units: Tensor, count: int, seed: int) -> None:
        self._units, self._count, self._seed = units, count, seed
        order = torch.argsort(units, stable=True)
        self._members = list(torch.split(order, torch.bincount(units, minlength=count).tolist()))

    def _drawn(self, number: int) -> Tensor:
        return torch.randint(self._count, (self._count,), generator=generator(self._seed, "bootstrap", number))

    def weights(self, number: int) -> Tensor:
        """How often each sample counts, float64."""
        return torch.bincount(self._drawn(number), minlength=self._count)[self._units].double()

    def rows(self, number: int) -> tuple[Tensor, Tensor]:
        """The samples that were drawn, and for each the number of the draw that it is of."""
        parts = [self._members[unit] for unit in self._drawn(number).tolist()]
        copies = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
        return torch.cat(parts), copies


class _SampleSums:
    """What a metric adds up, for each sample by itself; nothing where it does not add up."""

    def __init__(self, metric: Metric) -> None:
        accumulator = metric.create()
        self._whole = accumulator
        # The accumulator that has the states: some pass outputs on to one of torchmetrics.
        self._inner: torchmetrics.Metric = getattr(accumulator, "inner", accumulator)
        self._primed: dict[str, Tensor] = {}
        self._rows: list[Tensor] = []
        states = self._inner._defaults
        sums = all(
            isinstance(state, Tensor) and getattr(self._inner._reductions[name], "__name__", "") == "dim_zero_sum"
            for name, state in states.items()
        )
        size = sum(state.numel() for state in states.values() if isinstance(state, Tensor))
        self.is_additive = bool(states) and sums and size <= MOST_SUMS

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, sample by sample."""
        if not self.is_additive:
            return
        if not self._primed and len(outputs):
            # What a metric takes from its first sample and keeps, as an origin of coordinates, is the same for all.
            self._whole.update(outputs[:1], targets[:1])
            self._primed = {name: getattr(self._inner, name).clone() for name in self._inner._defaults}
        for place in range(len(outputs)):
            self._set(self._primed)
            self._whole.update(outputs[place : place + 1], targets[place : place + 1])
            parts = [(getattr(self._inner, name) - old).double().flatten() for name, old in self._primed.items()]
            self._rows.append(torch.cat(parts))

    def _set(self, states: dict[str, Tensor]) -> None:
        for name, state in states.items():
            setattr(self._inner, name, state.clone())
        for each in (self._inner, self._whole):
            each._computed = None

    def resampled(self, draws: _Draws, pooled: float) -> Tensor | None:
        """The metric of each resample; None where it does not add up after all."""
        if not self.is_additive or not self._rows:
            return None
        rows = torch.stack(self._rows)
        varies = (rows != 0).any(0)
        if not math.isclose(self._value(rows.sum(0), varies), pooled, rel_tol=1e-4, abs_tol=1e-6):
            return None
        values = [self._value(draws.weights(number) @ rows, varies) for number in range(RESAMPLES)]
        return torch.tensor(values, dtype=torch.float64)

    def _value(self, total: Tensor, varies: Tensor) -> float:
        states: dict[str, Any] = {}
        start = 0
        for name, old in self._primed.items():
            part = slice(start, start + old.numel())
            kept = torch.where(varies[part], total[part], old.double().flatten())
            states[name] = kept.view(old.shape).to(old.dtype)
            start += old.numel()
        self._set(states)
        return float(self._whole.compute())
