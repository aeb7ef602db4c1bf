"""Targets of all splits, read and encoded alike: classes, several labels, numbers, values or classes at positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.containers import Array, Ragged, as_array, is_missing
from archscout.tasks.findings import Finding, raise_wrong, some
from archscout.tasks.kinds import are_lists, as_targets, doubts_of_kind, recognise_kind
from archscout.tasks.labels import Encoded, encode_classes
from archscout.tasks.masks import are_masks, class_of_channels, encode_masks
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.spec import TaskKind

__all__ = ["Targets", "encode_label_sets", "read_numbers", "read_targets"]


@dataclass(frozen=True)
class Targets:
    """Checked targets of all splits, by the names that they were given under, and what follows from them.

    Attributes:
        kind: what to learn.
        tensors: `(N,)` int64 classes, `(N, K)` uint8 labels, `(N, K)` float32 numbers, `(N, K, *positions)` float32
            values or `(N, *positions)` int64 classes at every position.
        class_names: one for each class or label; empty where they have no names.
        findings: what was noticed; those of the level "wrong" have not been raised.
    """

    kind: TaskKind
    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def read_targets(
    parts: Mapping[str, Any],
    inputs: Mapping[str, Tensor],
    options: TaskOptions = DEFAULTS,
    class_names: Sequence[str] = (),
) -> Targets:
    """Checked targets of all splits, encoded alike.

    Args:
        parts: name (for messages) to whatever `containers.as_array` takes; the train split first.
        inputs: of the same splits, in the same order, channels first.
        options: kind and ignored value.
        class_names: in the order of the classes or labels.

    Raises:
        DataError: of another shape or number, values that are not allowed, or a kind that has to be named.
    """
    arrays = {where: as_targets(values, where) for where, values in parts.items()}
    for (where, array), each in zip(arrays.items(), inputs.values(), strict=True):
        if len(array) != len(each):
            raise DataError(f"{where} has {len(array)} targets for {len(each)} samples; give one for each sample.")
    train, shape = next(iter(arrays.values())), tuple(next(iter(inputs.values())).shape[1:])
    findings: list[Finding] = []
    kind: TaskKind = options.kind if options.kind != "auto" else "classification"
    if options.kind == "auto":
        kind = recognise_kind(train, shape, named=bool(class_names), rules=options.rules)
        if options.rules >= 2:
            findings += doubts_of_kind(train, kind, shape, bool(class_names))
    if options.ignore is not None and kind != "dense":
        raise DataError(f"ignore={options.ignore} is for masks, classes at every position; these targets are a {kind}.")
    if kind == "classification":
        columns, notes = _columns_to_classes(arrays)
        encoded = encode_classes(columns, class_names)
        findings += notes
    elif kind == "multilabel":
        encoded = encode_label_sets(arrays, class_names)
    elif kind == "dense":
        encoded = _dense(arrays, inputs, class_names, options)
    else:
        encoded = Encoded({where: read_numbers(array, len(array), where) for where, array in arrays.items()})
        width = next(iter(encoded.targets.values())).shape[1]
        if class_names and len(class_names) != width:
            raise DataError(f"there are {width} numbers for each sample, but {len(class_names)} names for them.")
    names = encoded.class_names or tuple(class_names)
    return Targets(kind, encoded.targets, names, (*findings, *encoded.findings))


def _columns_to_classes(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], list[Finding]]:
    """Labels `(N,)`: one-hot rows become the place of their 1."""
    columns, notes = {}, []
    for where, array in arrays.items():
        if array.ndim == 1 and not are_lists(array):
            columns[where] = array
            continue
        if array.ndim != 2 or are_lists(array):
            raise DataError(
                f"{where} has the shape {array.shape}; class labels are (N,), (N, 1), or one-hot (N, classes)."
            )
        one_hot = array.dtype.kind in "buif" and np.isin(array, (0, 1)).all(1) & (array.sum(1) == 1)
        if not np.all(one_hot):
            row = int(np.flatnonzero(~np.broadcast_to(one_hot, len(array)))[0])
            raise DataError(
                f"{where} has the shape {array.shape}, and row {row} is {_shown(array[row])}; class labels are "
                "(N,), (N, 1), or rows with one 1 each (one-hot). Give the argmax over the last axis, or say "
                "kind=multilabel or kind=regression."
            )
        columns[where] = array.argmax(1)
        notes.append(Finding("note", "one-hot", f"the rows of {where} have one 1 each: its place is the class."))
    widths = {array.shape[1:] for array in arrays.values()}
    if len(widths) > 1:
        raise DataError(
            "the labels have unlike shapes: " + ", ".join(f"{where} {array.shape}" for where, array in arrays.items())
        )
    return columns, notes[:1]


def _shown(row: Array) -> str:
    return np.array2string(row, threshold=8, edgeitems=3, max_line_width=200)


def _dense(
    arrays: Mapping[str, Array], inputs: Mapping[str, Tensor], class_names: Sequence[str], options: TaskOptions
) -> Encoded:
    """Values or classes at every position."""
    shaped = {
        where: _at_positions(array, each, where)
        for (where, array), each in zip(arrays.items(), inputs.values(), strict=True)
    }
    single = all(array.shape[1] == 1 for array in shaped.values())
    if not single:
        decoded = {where: class_of_channels(array) for where, array in shaped.items()}
        found = {where: array for where, array in decoded.items() if array is not None}
        if len(found) == len(shaped) and options.rules >= 2:
            encoded = encode_masks(found, class_names, options.ignore)
            note = Finding("note", "one-hot", "at every position one channel of the targets is 1: it is the class.")
            return Encoded(encoded.targets, encoded.class_names, (note, *encoded.findings))
        for where, array in shaped.items():
            if array.dtype.kind in "bui":
                raise DataError(
                    f"{where} holds whole numbers {array.shape}: classes have no channels, and at some positions "
                    "several channels, or none, are 1. Give one class for each position, or quantities as floats."
                )
    elif options.rules >= 2 and (options.ignore is not None or are_masks(shaped)):
        encoded = encode_masks({where: array[:, 0] for where, array in shaped.items()}, class_names, options.ignore)
        if any(array.dtype.kind == "f" for array in shaped.values()):
            note = Finding(
                "note", "masks", "the targets at the positions are floats, but only two whole numbers: classes."
            )
            return Encoded(encoded.targets, encoded.class_names, (note, *encoded.findings))
        return encoded
    elif all(array.dtype.kind in "bui" for array in shaped.values()):
        return Encoded({where: _plain_masks(array, where) for where, array in shaped.items()}, tuple(class_names))
    if any(array.dtype.kind != "f" for array in shaped.values()):
        kinds = ", ".join(f"{where} {array.dtype}" for where, array in shaped.items())
        raise DataError(f"the targets are of unlike types: {kinds}. Give all as whole numbers, or all as floats.")
    return Encoded({where: _finite(array, where) for where, array in shaped.items()})


def _plain_masks(array: Array, where: str) -> Tensor:
    """Whole numbers `(N, 1, *positions)` as they are: masks by the rules of version 1."""
    classes = array[:, 0].astype(np.int64)
    if ((classes < 0) & (classes != IGNORED)).any():
        raise DataError(f"{where} has a class below 0; classes count from 0, and {IGNORED} is left out.")
    return torch.from_numpy(np.ascontiguousarray(classes))


def _finite(array: Array, where: str) -> Tensor:
    if not np.isfinite(array).all():
        raise DataError(f"{where} holds values that are not finite. Remove or repair those samples.")
    return _float32(array, where)


def _float32(array: Array, where: str) -> Tensor:
    """Finite numbers as float32. Raises DataError where one is too large for that."""
    with np.errstate(over="ignore"):
        small = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(small).all():
        place = np.argwhere(~np.isfinite(small))[0].tolist()
        raise DataError(
            f"{where}{place} is {array[tuple(place)]:g}, too large for float32. Divide all targets by a constant, "
            "or take their logarithm."
        )
    return torch.from_numpy(small)


def _at_positions(array: Array, inputs: Tensor, where: str) -> Array:
    """Targets as `(N, K, *positions)`."""
    positions = tuple(inputs.shape[2:])
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} holds {array.dtype} of shape {array.shape}; give numbers for {len(inputs)} samples.")
    if not positions:
        raise DataError(f"{where}: a dense task needs inputs with positions, not {tuple(inputs.shape)}.")
    if array.shape[1:] == positions:
        array = array[:, None]
    elif array.shape[2:] != positions and array.shape[1:-1] == positions:
        array = np.moveaxis(array, -1, 1)
    if array.shape[2:] != positions or array.ndim != inputs.dim():
        raise DataError(
            f"{where} has the shape {array.shape}; at the positions {positions} of the inputs it must be "
            f"(N, {', '.join(str(size) for size in positions)}), with channels before or behind the positions."
        )
    return array


def encode_label_sets(arrays: Mapping[str, Array], class_names: Sequence[str] = ()) -> Encoded:
    """Several labels at once as `(N, K)` uint8: matrices of 0 and 1 (or -1 and 1), or lists of labels of any kind.

    Raises:
        DataError: other numbers, or labels that are in other splits alone.
    """
    if any(are_lists(array) or array.dtype.kind not in "buif" for array in arrays.values()):
        return _of_sets(arrays, class_names)
    findings = []
    signed = all(array.ndim == 2 and np.isin(array, (-1, 1)).all() for array in arrays.values())
    signed = signed and any((array == -1).any() for array in arrays.values())
    if signed:
        arrays = {where: array > 0 for where, array in arrays.items()}
        findings.append(Finding("note", "encoded", "the labels are -1 and 1: -1 is read as 0, the label is absent."))
    targets = {}
    for where, array in arrays.items():
        if array.ndim != 2:
            raise DataError(f"{where} has the shape {array.shape}; several labels at once are (N, labels) of 0 and 1.")
        wrong = np.argwhere(~np.isin(array, (0, 1)))
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise DataError(f"{where}{list(place)} is {array[place]}; labels are 0 or 1.")
        targets[where] = torch.from_numpy(array.astype(np.uint8))
    return Encoded(targets, tuple(class_names), tuple(findings))


def _of_sets(arrays: Mapping[str, Array], class_names: Sequence[str]) -> Encoded:
    """Lists of labels for each sample."""
    lists = {}
    for where, array in arrays.items():
        items = [item if isinstance(item, list) else np.atleast_1d(item).tolist() for item in array]
        gaps = [f"{where}[{index}]" for index, item in enumerate(items) if any(is_missing(label) for label in item)]
        if gaps:
            raise DataError(
                f"{len(gaps)} samples of {where} have a missing label (None, NaN or empty): {some(gaps)}. A sample "
                "without labels has an empty list."
            )
        lists[where] = items
    flat = {}
    for where, items in lists.items():
        labels = [label for item in items for label in item]
        found = as_array(labels, where) if labels else np.empty(0, dtype=object)
        if isinstance(found, Ragged) or found.ndim > 1 or arrays[where].ndim > 2:
            raise DataError(f"{where} holds lists in lists; several labels at once are one list for each sample.")
        flat[where] = found
    first = next(iter(flat))
    if len(flat[first]) == 0:
        raise DataError(f"no sample of {first} has a label.")
    known = {where: array for where, array in flat.items() if len(array)}
    encoded = encode_classes(known, class_names)
    raise_wrong(encoded.findings)
    width = len(class_names) or int(encoded.targets[first].max()) + 1
    names = encoded.class_names or tuple(str(label) for label in range(width))
    targets = {}
    for where, items in lists.items():
        matrix = torch.zeros(len(items), width, dtype=torch.uint8)
        rows = torch.repeat_interleave(torch.tensor([len(item) for item in items]))
        if where in encoded.targets:
            matrix[rows, encoded.targets[where]] = 1
        targets[where] = matrix
    note = Finding("note", "encoded", f"the lists of labels hold {width} different ones: {some(names, 6)}.")
    return Encoded(targets, names, (note, *(each for each in encoded.findings if each.level == "doubtful")))


def read_numbers(values: Any, samples: int, where: str) -> Tensor:
    """Targets of a regression, `(N,)` or `(N, K)` numbers, as float32 `(N, K)`. Texts that are numbers are read so.

    Raises:
        DataError: of another shape or number, no numbers, or not finite.
    """
    array = _numbers(as_targets(values, where), where)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "buif":
        raise DataError(
            f"{where} holds {array.dtype} of shape {array.shape}; a regression needs one number for each sample, (N,), "
            "or several, (N, K)."
        )
    if len(array) != samples:
        raise DataError(f"{where} has {len(array)} targets for {samples} samples; give one for each sample.")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"{where}[{row}, {column}] is {array[row, column]}, and {len(wrong)} targets in all are not finite. Remove "
            "those samples, or fill in their targets."
        )
    return _float32(array, where)


def _numbers(array: Array, where: str) -> Array:
    """Texts and objects as floats, NaN where they are missing."""
    if array.dtype.kind not in "OUS" or are_lists(array):
        return array
    numbers = np.full(array.size, np.nan)
    for index, item in enumerate(array.ravel().tolist()):
        if not is_missing(item):
            try:
                numbers[index] = float(item)
            except (TypeError, ValueError):
                raise DataError(f"{where}[{index}] is {item!r}; a regression needs numbers.") from None
    return numbers.reshape(array.shape)
