"""What a network needs to know of a task: its kind and its shapes. No data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["TaskKind", "TaskSpec"]

TaskKind = Literal["classification", "multilabel", "regression", "dense", "language"]


@dataclass(frozen=True)
class TaskSpec:
    """The outside of a task.

    Attributes:
        name: as registered, or as the user's data is called.
        kind: decides which spaces and heads fit.
        input_shape: of one sample as the network sees it, without the batch, for example `(3, 32, 32)`. Of a text
            `(1,)`: a sample is one word; networks take `(N, T)` for any T, and their outputs are `(N, T, outputs)`.
        outputs: number of classes, labels, numbers, output channels or words.
    """

    name: str
    kind: TaskKind
    input_shape: tuple[int, ...]
    outputs: int

    @property
    def is_text(self) -> bool:
        """Whether the data is one text, whose words are read in order, instead of samples that can be shuffled."""
        return self.kind == "language"

    @property
    def answers_once(self) -> bool:
        """Whether a network gives one vector `(outputs,)` for a whole sample: of classes, labels or numbers."""
        return self.kind in ("classification", "multilabel", "regression")

    @property
    def vocabulary(self) -> int | None:
        """How many different integers an input may hold; None where inputs are real numbers."""
        return self.outputs if self.is_text else None

    def describe(self) -> str:
        """For people, for example "classification of 3 x 32 x 32 into 10 classes"."""
        if self.is_text:
            return f"language model over {self.outputs:,} words"
        shape = " x ".join(str(size) for size in self.input_shape)
        what = {"classification": "classes", "multilabel": "labels", "regression": "numbers", "dense": "channels"}
        if self.kind == "regression" and self.outputs == 1:
            return f"regression of {shape} to a number"
        return f"{self.kind} of {shape} into {self.outputs} {what[self.kind]}"
