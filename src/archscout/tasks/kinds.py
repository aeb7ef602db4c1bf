"""What to learn: the kind of task that targets tell, or the question that has to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.tasks.containers import Array, Ragged, as_array, is_missing, shape_text
from archscout.tasks.findings import Finding, some
from archscout.tasks.labels import whole
from archscout.tasks.masks import are_masks
from archscout.tasks.options import RULES
from archscout.tasks.spec import TaskKind

__all__ = ["are_lists", "as_targets", "doubts_of_kind", "recognise_kind"]

FEW_CLASSES = 10  # whole numbers with more different values may be quantities ...
LARGEST_WHOLE = 2.0**53
SAMPLES_OF_A_CLASS = 3  # ... where fewer samples than this have each of them


def as_targets(values: Any, where: str) -> Array:
    """Targets as an array: numbers, texts, or, of lists of several labels for each sample, those lists (dtype object).

    Axes of length 1 behind the second are dropped. Raises DataError.
    """
    array = as_array(values, where)
    if isinstance(array, Ragged):
        if any(one.ndim != 1 for one in array):
            sizes = sorted({shape_text(one.shape) for one in array})
            raise DataError(f"{where} holds targets of unequal shapes, {some(sizes)}; all need one shape.")
        lists: Array = np.empty(len(array), dtype=object)
        lists[:] = [one.tolist() for one in array]
        return lists
    if array.ndim == 0:
        raise DataError(f"{where} is a single value; give one target for each sample.")
    return array.reshape(array.shape[:1]) if array.ndim > 1 and array.size == len(array) else array


def are_lists(array: Array) -> bool:
    """Whether targets are lists of labels, of unequal length."""
    return array.dtype.kind == "O" and array.ndim == 1 and any(isinstance(item, list) for item in array)


def recognise_kind(array: Array, input_shape: Sequence[int], *, named: bool = False, rules: int = RULES) -> TaskKind:
    """The kind that the targets of the training samples tell.

    - `(N,)`: classification of texts and of whole numbers; regression of others. Whole numbers that are nearly all
      different are asked about.
    - `(N, K)`: multilabel of 0 and 1 (or of -1 and 1); classification where every row has one 1; regression of
      floats. Other whole numbers are asked about.
    - lists of labels of unequal length: multilabel.
    - with an axis for every position of the inputs (`(N, H, W)`, `(N, K, H, W)`, for series `(N, L)`, `(N, K, L)`):
      dense.

    Args:
        array: from `as_targets`.
        input_shape: of one sample, channels first.
        named: class names are given, so that numbers are classes.
        rules: see `TaskOptions.rules`.

    Raises:
        DataError: the kind has to be named.
    """
    positions = tuple(input_shape[1:])
    numeric = array.dtype.kind in "buif"
    binary = numeric and array.ndim == 2 and bool(np.isin(array, (0, 1)).all())
    if are_lists(array):
        return "multilabel"
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1:] == positions and not binary):
        return "dense"
    if array.ndim == 2:
        if binary:
            return "classification" if (array.sum(1) == 1).all() else "multilabel"
        return _kind_of_matrix(array)
    if not numeric:
        return _kind_of_objects(array, named)
    if array.dtype.kind == "f" and not named and not _are_whole(array[~np.isnan(array)]):
        return "regression"
    if rules >= 2 and not named and array.dtype.kind != "b":
        _ask_for_many(array)
    return "classification"


def _kind_of_matrix(array: Array) -> TaskKind:
    """Of `(N, K)` that are not 0 and 1."""
    if array.dtype.kind not in "buif":
        raise DataError(
            f"the targets are texts of shape {array.shape}: several labels for each sample? Then say "
            "kind=multilabel; a classification needs one label for each sample, (N,)."
        )
    if array.dtype.kind == "f" and not np.isin(array, (-1, 1)).all():
        return "regression"
    if np.isin(array, (-1, 1)).all():
        return "multilabel"
    raise DataError(
        f"the targets are whole numbers of shape {array.shape}. Are they {array.shape[1]} quantities for each "
        "sample (a box, counts)? Then say kind=regression. Several labels at once are (N, labels) of 0 and 1; "
        "classes are (N,)."
    )


def _kind_of_objects(array: Array, named: bool) -> TaskKind:
    """Of `(N,)` texts, or numbers of which some are missing."""
    if array.dtype.kind in "US":
        return "classification"
    known = [item for item in array if not is_missing(item)]
    fractions = any(isinstance(item, float) and not item.is_integer() for item in known)
    return "regression" if fractions and not named else "classification"


def _are_whole(array: Array) -> bool:
    """Whether floats are whole on purpose: beyond 2**53 all are."""
    return array.size == 0 or bool(whole(array).all() and float(np.abs(array).max()) < LARGEST_WHOLE)


def _ask_for_many(array: Array) -> None:
    """Raise where whole numbers look like measurements: many values, few samples of each."""
    distinct = len(np.unique(array))
    if distinct > FEW_CLASSES and len(array) < SAMPLES_OF_A_CLASS * distinct:
        raise DataError(
            f"the targets are whole numbers with {distinct} different values in {len(array)} samples, from "
            f"{np.nanmin(array):g} to {np.nanmax(array):g}. Are they quantities (an age, a price, a count)? Then say "
            "kind=regression; if they are classes, say kind=classification."
        )


def doubts_of_kind(array: Array, kind: TaskKind, input_shape: Sequence[int], named: bool) -> Iterator[Finding]:
    """What is odd about a kind that was recognised, not named."""
    if kind == "dense" and array.ndim == 2:
        yield Finding(
            "doubtful",
            "kind",
            f"the targets have as many numbers ({array.shape[1]}) as the series steps: read as one at every step. "
            "If they are several numbers for each series, say kind=regression.",
        )
    if (
        kind == "dense"
        and array.ndim > 2
        and array.dtype.kind == "f"
        and not are_masks({"": array})
        and whole(array).all()
    ):
        yield Finding(
            "doubtful",
            "kind",
            "the targets at the positions are whole numbers stored as floats: read as quantities. If they are "
            "classes, give them as whole numbers (int64).",
        )
    if kind == "regression" and array.ndim == 2 and array.min() >= 0 and np.allclose(array.sum(1), 1, atol=1e-4):
        yield Finding(
            "doubtful",
            "kind",
            "the numbers of every row add up to 1: read as quantities. If they are probabilities of classes, give the "
            "class of each sample (their argmax).",
        )
    if kind == "classification" and not named and array.ndim == 1 and array.dtype.kind in "uif":
        distinct = np.unique(array[np.isfinite(array)])
        plain = len(distinct) and distinct[0] in (0, 1) and distinct[-1] - distinct[0] == len(distinct) - 1
        if len(distinct) > FEW_CLASSES and (array.dtype.kind == "f" or not plain):
            yield Finding(
                "doubtful",
                "kind",
                f"the targets are {len(distinct)} different whole numbers, from {distinct[0]:g} to "
                f"{distinct[-1]:g}: read as classes. If they are quantities, say kind=regression; if they are "
                "classes, say kind=classification.",
            )
