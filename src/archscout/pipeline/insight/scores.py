"""Scores of each class from a confusion matrix, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from archscout.pipeline.insight.content import ClassScore

__all__ = ["names_of", "scores_of_matrix", "sparse"]

Matrix = np.ndarray[Any, np.dtype[np.int64]]


def names_of(class_names: Sequence[str], outputs: int) -> tuple[str, ...]:
    """A name for each class: its own, else its number."""
    return tuple(class_names[number] if number < len(class_names) else str(number) for number in range(outputs))


def sparse(matrix: Matrix) -> tuple[tuple[int, int, int], ...]:
    """The entries that are not 0: row, column, value."""
    return tuple((int(row), int(column), int(matrix[row, column])) for row, column in np.argwhere(matrix))


def scores_of_matrix(matrix: Matrix, names: Sequence[str], *, masks: bool = False) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class; with `masks` the intersection over union, too.

    A matrix stands for the answers here, since those of masks are too many to be kept.

    Args:
        matrix: a row for each true class, a column for each predicted one.
    """
    right, support, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    union = support + predicted - right
    return tuple(
        ClassScore(
            name=names[number],
            precision=_share(right[number], predicted[number]),
            recall=_share(right[number], support[number]),
            f1=_share(2 * right[number], support[number] + predicted[number]),
            support=int(support[number]),
            predicted=int(predicted[number]),
            iou=_share(right[number], union[number]) if masks and union[number] else None,
        )
        for number in range(len(names))
    )


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
