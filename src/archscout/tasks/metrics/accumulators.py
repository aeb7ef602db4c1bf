"""What metrics accumulate, with torchmetrics: all samples of a split, then one value.

Importing torchmetrics takes half as long as torch itself: metrics import this module when they are first accumulated.
None pools over processes by itself (`sync_on_compute=False`): some values are computed by one process only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchmetrics
from torch import Tensor

__all__ = ["Adapted", "ClassCounts", "Collected", "Determination", "MeanOfTerms", "RankingMetric", "merged"]


class MeanOfTerms(torchmetrics.Metric):
    """The mean of terms over all samples; 0 where there was no term at all.

    Args:
        terms: of a batch: their sum, and how many they are.
        finish: of the mean, to the value.
    """

    total: Tensor
    count: Tensor

    def __init__(
        self, terms: Callable[[Any, Tensor], tuple[Tensor, Tensor]], finish: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self._terms, self._finish = terms, finish

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        total, count = self._terms(outputs, targets)
        self.total += total.detach()
        self.count += count

    def compute(self) -> Tensor:
        """The value of all batches together."""
        return self._finish(self.total / self.count.clamp(min=1))


class Collected(torchmetrics.Metric):
    """Keeps outputs and targets of a split, and computes a value of all of them.

    Args:
        value: of all outputs and targets.
        merge: whether the last column of the targets is a number that several samples share, whose logits are averaged.
    """

    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self, value: Callable[[Tensor, Tensor], Any], merge: bool = False) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")
        self._whole, self._merge = value, merge

    def update(self, outputs: Any, targets: Tensor) -> None:
        """Add samples."""
        self.scores.append(outputs.detach().float())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """The value of all batches together."""
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        if self._merge:
            scores, targets = merged(scores, targets)
        return torch.as_tensor(self._whole(scores, targets), dtype=torch.float64)


def _alone() -> bool:
    """Whether there are other processes, for a metric that must not ask them."""
    return False


class Adapted(torchmetrics.Metric):
    """A metric of torchmetrics that gets outputs and targets in the form that it wants.

    Args:
        inner: does the work.
        adapt: outputs and targets as tasks have them, to what `inner` takes.
        nothing: the value where `inner` has none, for example on samples of one class.
    """

    def __init__(
        self,
        inner: torchmetrics.Metric,
        adapt: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        nothing: float = 0.0,
    ) -> None:
        super().__init__(sync_on_compute=False)
        for part in inner.modules():
            if isinstance(part, torchmetrics.Metric):
                part.distributed_available_fn = _alone  # `sync_on_compute` counts only when a metric is made
        self.inner, self._adapt, self._nothing = inner, adapt, nothing

    def update(self, outputs: Any, targets: Tensor) -> None:
        """Add a batch."""
        self.inner.update(*((outputs, targets) if self._adapt is None else self._adapt(outputs, targets)))

    def compute(self) -> Tensor:
        """The value of all batches together."""
        return torch.nan_to_num(torch.as_tensor(self.inner.compute()), nan=self._nothing)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self.inner.reset()


class ClassCounts(torchmetrics.Metric):
    """Counts of each class: rightly predicted, predicted, and there; then a value of the three.

    Args:
        classes: how many.
        value: of three tensors `(classes,)`, float64.
        ignored: targets of this value are left out.
    """

    right: Tensor
    predicted: Tensor
    actual: Tensor

    def __init__(self, classes: int, value: Callable[[Tensor, Tensor, Tensor], Tensor], ignored: int) -> None:
        super().__init__(sync_on_compute=False)
        for name in ("right", "predicted", "actual"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")
        self._classes, self._value, self._ignored = classes, value, ignored

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits `(N, classes, *positions)` and classes `(N, *positions)`."""
        truth = targets.flatten().long()
        kept = truth != self._ignored
        truth, found = truth[kept], outputs.argmax(1).flatten()[kept]
        self.right += torch.bincount(truth[truth == found], minlength=self._classes)
        self.predicted += torch.bincount(found, minlength=self._classes)
        self.actual += torch.bincount(truth, minlength=self._classes)

    def compute(self) -> Tensor:
        """The value of all batches together."""
        return self._value(self.right.double(), self.predicted.double(), self.actual.double())


class RankingMetric(Collected):
    """Keeps scores and targets of a split; computes each label by itself, and their mean.

    Args:
        labels: how many.
        value: of one label, from scores in [0, 1] and targets 0 or 1; ties are one threshold.
        both: whether a label needs negatives, too, to have a value.
        nothing: the result where no label has a value: what guessing gives.
        merge: whether the last column of the targets is a number that several samples share, whose logits are averaged.
    """

    def __init__(
        self, labels: int, value: Callable[[Tensor, Tensor], Tensor], both: bool, nothing: float, merge: bool
    ) -> None:
        super().__init__(self._mean_of_labels, merge)
        self._labels, self._value, self._both, self._nothing = labels, value, both, nothing

    def _mean_of_labels(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean over the labels that have a value."""
        values = []
        for score, target in zip(scores.T, (targets[:, : self._labels] > 0).long().T, strict=True):
            if target.any() and not (self._both and target.all()):
                # Only the order counts. torchmetrics would bring logits to [0, 1] by a sigmoid, which ties large ones.
                ranks = score.unique(return_inverse=True)[1].double() / len(score)
                values.append(self._value(ranks, target).double())
        return torch.stack(values).mean() if values else scores.new_tensor(self._nothing)


def merged(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean logits of the samples that share the number in the last column, and the targets of one of them."""
    _, group = torch.unique(targets[:, -1], return_inverse=True)
    count = int(group.max()) + 1
    total = scores.new_zeros(count, scores.shape[1], dtype=torch.float64).index_add_(0, group, scores.double())
    shared = targets.new_zeros(count, targets.shape[1])
    shared[group] = targets
    return total / torch.bincount(group, minlength=count).unsqueeze(1), shared


class Determination(torchmetrics.Metric):
    """The coefficient of determination of each output, then the mean over outputs.

    Sums are float64, of differences to the first target: torchmetrics' own R2Score adds up squares in float32, which
    loses all digits where targets have a large mean. An output whose targets never change has no variance to explain:
    1 where it is met exactly, else 0.
    """

    centre: Tensor
    count: Tensor
    errors: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, decode: Callable[[Tensor], Tensor], outputs: int) -> None:
        super().__init__(sync_on_compute=False)
        for name in ("centre", "errors", "total", "squares"):
            self.add_state(name, torch.zeros(outputs, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self._decode = decode

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        values, known = (
            part.double().transpose(0, 1).flatten(1).t() for part in (self._decode(outputs.detach().float()), targets)
        )
        self.errors += (values - known).square().sum(0)
        if self.count == 0 and len(known):
            self.centre = known[0].clone()
        away = known - self.centre
        self.total += away.sum(0)
        self.squares += away.square().sum(0)
        self.count += len(known)

    def compute(self) -> Tensor:
        """The value of all batches together."""
        variance = self.squares - self.total.square() / self.count.clamp(min=1)
        exact = (self.errors == 0).double()
        return torch.where(variance > 0, 1 - self.errors / variance.clamp(min=1e-300), exact).mean()
