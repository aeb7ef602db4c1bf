"""A task from arrays in files, whose names tell what they are."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archscout.errors import DataError
from archscout.tasks.containers import Array
from archscout.tasks.findings import Finding
from archscout.tasks.options import TaskOptions, options_with
from archscout.tasks.readers.array_names import ArrayHeader, Roles, find_roles
from archscout.tasks.readers.arrays import ARRAY_OPTIONS, task_from_arrays
from archscout.tasks.task import Task

__all__ = ["FILE_OPTIONS", "ArrayStore", "check_size", "digest_of", "task_of_stores"]

FILE_OPTIONS = ARRAY_OPTIONS | {"target"}
PARTS = {"train": "train", "test": "test", "validation": "val"}


@dataclass(frozen=True)
class ArrayStore:
    """Arrays in a file or folder that are read when they are asked for.

    Attributes:
        where: the file or folder, for messages.
        headers: shape and type of each, by name.
        read: the array of a name; raises DataError.
    """

    where: str
    headers: Mapping[str, ArrayHeader]
    read: Callable[[str], Array]


def check_size(where: str, shape: Sequence[int], itemsize: int) -> None:
    """Raise DataError for an array that is larger than this machine's memory, which may be a forged header."""
    size = math.prod(shape) * itemsize
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**63
    if size > pages:
        raise DataError(
            f"{where}: an array of {' x '.join(map(str, shape))} needs {size / 2**30:,.1f} GiB, more than this "
            f"machine's memory ({pages / 2**30:.1f} GiB). Give fewer samples, or images as files in a folder, which "
            "are read when needed."
        )


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 of one file, or of the digests of several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def task_of_stores(
    stores: Mapping[str, ArrayStore],
    files: Sequence[Path],
    name: str,
    options: TaskOptions,
    findings: Sequence[Finding] = (),
) -> Task:
    """The task of arrays with names.

    Args:
        stores: by split, where each split has a file of its own; else one under the key "".
        files: that the arrays are in, for the provenance.
        name: of the task.
        options: target and groups are names of arrays here.
        findings: what whoever found the files has noticed.

    Raises:
        DataError: what the arrays are cannot be told, or they are wrong; the message names the file.
    """
    found = list(findings)
    arrays: dict[str, Array] = {}
    used: list[str] = []
    extra: dict[str, Array] = {}
    for part, store in stores.items():
        roles = find_roles(
            store.headers, store.where, target=options.target, groups=options.groups if part in ("", "train") else None
        )
        if part:
            roles = _only(roles, part, store)
        found += roles.findings
        used += roles.used()
        for split, key in roles.inputs.items():
            labelled = split in roles.targets
            arrays[f"x_{PARTS[split]}" if labelled else "x_unlabelled"] = store.read(key)
            if labelled:
                arrays[f"y_{PARTS[split]}"] = _columns([store.read(each) for each in roles.targets[split]], store.where)
        if part in ("", "train"):
            for what in ("class_names", "layout", "kind", "groups"):
                if getattr(roles, what):
                    extra[what] = store.read(getattr(roles, what))
            if options.rules < 2:
                extra.pop("groups", None)
            elif roles.groups:
                kept = f"the samples of one value of {roles.groups} are kept in one split."
                found.append(Finding("note", "groups", kept))
    for key in ("layout", "kind"):
        if key in extra and key not in options.given():
            options = options_with(options, {key: str(extra[key])})
    where = next(iter(stores.values())).where
    try:
        return task_from_arrays(
            **arrays,
            name=name,
            class_names=[_text(value) for value in np.atleast_1d(extra.get("class_names", np.array([], str))).tolist()],
            groups=extra["groups"].tolist() if "groups" in extra else None,
            provenance={
                "source": ", ".join(file.name for file in files),
                "sha256": digest_of(files),
                "arrays": ", ".join(used),
            },
            findings=found,
            options=options.model_copy(update={"target": (), "groups": None}),
        )
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _only(roles: Roles, part: str, store: ArrayStore) -> Roles:
    """The roles in a file of one split, whose names need not tell the split."""
    if set(roles.inputs) == {"train"}:
        return replace(
            roles,
            inputs={part: roles.inputs["train"]},
            targets=dict.fromkeys([part] if roles.targets else [], roles.targets.get("train", ())),
        )
    if set(roles.inputs) == {part}:
        return roles
    raise DataError(
        f"{store.where} is the file of {part} by its name, but holds arrays of {', '.join(roles.inputs)}; give that "
        "file alone, or rename it."
    )


def _columns(columns: list[Array], where: str) -> Array:
    """One array of several targets."""
    if len(columns) == 1:
        return columns[0]
    flat = [column.reshape(-1) if column.size == len(column) else column for column in columns]
    if any(column.ndim != 1 for column in flat) or len({len(column) for column in flat}) > 1:
        shapes = ", ".join(str(column.shape) for column in columns)
        raise DataError(f"{where}: several targets need one number each for every sample, (N,); these have {shapes}.")
    return np.stack(flat, axis=1)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
