"""What a network gives for a sample, as a row for people: classes, labels, numbers, shares of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from archscout.deployment.card import ModelCard
from archscout.errors import SettingsError

__all__ = ["NAME", "Answers", "Cell", "decide"]

Array = np.ndarray[Any, Any]
Cell = str | int | float | None

NAME, ERROR = "name", "error"
MOST_SHARES = 30  # classes of a map of which the share of each is told


def decide(found: Array, card: ModelCard, threshold: float | None = None) -> Array:
    """Decoded outputs `(N, ...)` as answers; see `archscout.pipeline.predictor.Predictor.predict`."""
    kind = card.spec.kind
    if kind == "classification":
        best: Array = found.argmax(1)
        named: Array = np.array(card.class_names)[best] if card.class_names else best
        return named
    if kind == "multilabel":
        return (found >= _limits(card, found.shape[1], threshold)).astype(np.int64)
    if kind == "regression":
        return found[:, 0] if found.shape[1] == 1 else found
    return found.argmax(1) if card.is_map_of_classes else found


def _limits(card: ModelCard, labels: int, threshold: float | None) -> Array:
    return np.array((threshold,) * labels if threshold is not None else card.thresholds or (0.5,) * labels)


@dataclass(frozen=True)
class Answers:
    """Rows of a table of predictions.

    Args:
        card: of the network.
        top: the likeliest classes that are told of each sample, with their probabilities.
        threshold: at and above which a label is given; None: those of the card, 0.5 where it has none.
        everything: also the probability of every class.
    """

    card: ModelCard
    top: int = 3
    threshold: float | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SettingsError(f"top = {self.top}: must be at least 1.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise SettingsError(f"threshold = {self.threshold}: must lie between 0 and 1.")
        if self.threshold is not None and self.card.spec.kind != "multilabel":
            raise SettingsError(
                f"a threshold is for several labels at once; {self.card.spec.name} is a {self.card.spec.kind}. Leave "
                "it out."
            )

    @cached_property
    def names(self) -> list[str]:
        """One for each output, all different."""
        outputs = self.card.spec.outputs
        if self.card.spec.kind == "regression" and not self.card.class_names:
            return ["prediction"] if outputs == 1 else [f"prediction_{place + 1}" for place in range(outputs)]
        return [self.card.output_name(place) for place in range(outputs)]

    @cached_property
    def columns(self) -> list[str]:
        """Of the table: the name first, the error last."""
        return [NAME, *_distinct(self._inner(), (NAME, ERROR)), ERROR]

    def _inner(self) -> list[str]:
        kind = self.card.spec.kind
        if kind == "classification":
            count = min(self.top, self.card.spec.outputs)
            numbers = ["", *(f"_{place + 1}" for place in range(1, count))]
            told = [f"{what}{number}" for number in numbers for what in ("prediction", "probability")]
            return [*told, *(self._probabilities() if self.everything else [])]
        if kind == "multilabel":
            return [*self.names, *self._probabilities()]
        if kind == "regression":
            return self.names
        if self.card.is_map_of_classes:
            shares = self.names if self.card.spec.outputs <= MOST_SHARES else []
            return ["file", *(f"share of {name}" for name in shares)]
        return ["file", "lowest", "mean", "highest"]

    def _probabilities(self) -> list[str]:
        return [f"probability of {name}" for name in self.names]

    def row(self, name: str, output: Array | None, *, error: str = "", file: str = "") -> dict[str, Cell]:
        """The row of a sample, by column.

        Args:
            output: what the network gives for it, decoded, without the batch dimension; None: it failed.
            error: why.
            file: that was written for it.
        """
        columns = self.columns
        if output is None:
            return {**dict.fromkeys(columns), NAME: name, ERROR: error}
        return dict(zip(columns, [name, *self._values(output, file), None], strict=True))

    def _values(self, output: Array, file: str) -> list[Cell]:
        kind = self.card.spec.kind
        if kind == "classification":
            order = np.argsort(-output, kind="stable")[: self.top]
            told = [cell for place in order for cell in (self.names[place], _number(output[place]))]
            return [*told, *(map(_number, output) if self.everything else [])]
        if kind == "multilabel":
            given = decide(output[None], self.card, self.threshold)[0]
            return [*given.tolist(), *map(_number, output)]
        if kind == "regression":
            return [_number(value) for value in output]
        if self.card.is_map_of_classes:
            if self.card.spec.outputs > MOST_SHARES:
                return [file or None]
            classes = output.argmax(0)
            shares = np.bincount(classes.ravel(), minlength=len(output)) / classes.size
            return [file or None, *(round(float(share), 6) for share in shares)]
        return [file or None, *(_number(value) for value in (output.min(), output.mean(), output.max()))]

    def as_json(self, row: dict[str, Cell]) -> dict[str, Any]:
        """A row as plain data: without columns that are empty."""
        return {column: value for column, value in row.items() if value is not None or column == NAME}


def _number(value: Any) -> float:
    """A float32 with the digits that tell it apart, as float."""
    return float(str(np.float32(value)))


def _distinct(columns: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of columns, changed where two are the same: a class may be called as a column is."""
    known = set(taken)
    found = []
    for column in columns:
        name, number = column, 2
        while name in known:
            name, number = f"{column} ({number})", number + 1
        known.add(name)
        found.append(name)
    return found
