"""What metrics and losses of choice are made for: the form of a task's targets, their number, their units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from archscout.tasks.metrics.dense import Decode
from archscout.tasks.scale import TargetScale

__all__ = ["FORMS", "Problem", "TargetForm"]

TargetForm = Literal["classes", "labels", "numbers", "masks", "fields", "words"]
"""What the targets of a sample are; see `FORMS`."""

FORMS: dict[TargetForm, str] = {
    "classes": "classification",
    "labels": "several labels at once",
    "numbers": "regression",
    "masks": "a class at every position",
    "fields": "numbers at every position",
    "words": "language",
}


@dataclass(frozen=True)
class Problem:
    """What a maker of metrics or losses gets.

    Attributes:
        form: of the targets: class indices `(N,)`, labels 0 or 1 `(N, K)`, numbers `(N, K)`, class indices
            `(N, *positions)`, numbers `(N, K, *positions)`, words `(N, T)`.
        outputs: K, of the task's networks; a mask of two classes may have one output, the logit of class 1.
        scale: of numbers and fields: by which outputs are brought to the units of the targets; None: they have them.
        merge: whether the last column of labels is a number that several samples share (chunks of one clip).
        weights: of the loss: of each class, or of the positives of each label; None: all count the same.
    """

    form: TargetForm
    outputs: int
    scale: TargetScale | None = None
    merge: bool = False
    weights: Tensor | None = None

    @property
    def classes(self) -> int:
        """How many classes there are, where there are such."""
        return max(2, self.outputs) if self.form == "masks" else self.outputs

    @property
    def decode(self) -> Decode:
        """Outputs to the units of the targets."""
        return _same if self.scale is None else self.scale.decode

    @property
    def deviation(self) -> float:
        """The deviation of the targets, on the mean over outputs; 1 where no units are known."""
        return 1.0 if self.scale is None else sum(self.scale.std) / len(self.scale.std)


def _same(outputs: Tensor) -> Tensor:
    return outputs
