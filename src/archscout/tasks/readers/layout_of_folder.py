"""How a folder holds samples: splits and classes as people lay them out, whatever the files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.file_tree import Folder, Tree, alike, kinds_of_files, natural
from archscout.tasks.readers.split_names import is_container, read_name
from archscout.tasks.spec import TaskKind

__all__ = ["FileList", "FolderLayout", "Wording", "class_layout", "given_splits"]

PARTS = ("train", "validation", "test")
FEW_IN_GROUP = 2  # files of a sub-folder that looks like a patient


@dataclass(frozen=True)
class Wording:
    """How messages call the samples: "images", and the suffixes that make one."""

    samples: str
    suffixes: frozenset[str]


@dataclass(frozen=True)
class FileList:
    """The samples of a split.

    Attributes:
        names: of the files, below the data's root, with `/`.
        targets: `(N,)` int64 classes, `(N, K)` uint8 labels or `(N, K)` float32 numbers; of masks `(N,)` zeros.
        masks: of each sample the file of its mask, where it has one.
        groups: of each sample, where samples belong together.
    """

    names: tuple[str, ...]
    targets: Tensor
    masks: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class FolderLayout:
    """What lies in a folder.

    Attributes:
        kind: what the targets are for.
        parts: the splits that the folder has: train at least.
        class_names: one for each class or label, or empty.
        unlabelled: names of samples that came without targets.
        findings: what is wrong with it, what is doubtful, and what was done.
        provenance: where targets come from.
    """

    kind: TaskKind
    parts: Mapping[str, FileList]
    class_names: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def with_findings(self, *more: Finding) -> FolderLayout:
        """The same with further findings."""
        return replace(self, findings=(*self.findings, *more))


Classes = dict[str, list[Folder]]
"""Folders by class as the first of them is spelled; several where names read alike."""


@dataclass
class _Reading:
    """What is gathered while a folder is looked at."""

    tree: Tree
    wording: Wording
    findings: list[Finding] = field(default_factory=list)
    unlabelled: list[Folder] = field(default_factory=list)

    def path(self, folder: Folder) -> Path:
        return self.tree.root / folder.path

    def say(self, level: str, code: str, message: str, names: Sequence[str] = ()) -> None:
        self.findings.append(Finding(level, code, message, tuple(names)))  # type: ignore[arg-type]


def class_layout(tree: Tree, wording: Wording, options: TaskOptions) -> FolderLayout | None:
    """Samples of classes, one folder for each; None where no folder of classes is found.

    Splits may be folders of class folders (`train/cat`), or folders in them (`cat/train`); classes without splits are
    one split, train.

    Raises:
        DataError: what the folders mean is not clear; the message asks.
    """
    reading = _Reading(tree, wording)
    top = _unwrapped(reading)
    splits = named_splits(tree, top, reading.findings)
    if splits is not None:
        parts = _classes_of_splits(reading, splits)
    elif inner := _splits_in_classes(top):
        parts = inner
    elif len(top.filled) < 2:
        return None
    else:
        _ask_which_level(reading, top)
        parts = {"train": _class_folders(reading, top)}
    if "train" not in parts or len(parts["train"]) < 2:
        return None
    return _joined(reading, parts, options)


def _unwrapped(reading: _Reading) -> Folder:
    """The folder that holds the splits or classes: the root, or what is alone in it and called images or the like.

    Raises:
        DataError: all lies one level deeper, in a folder with a name of its own.
    """
    top = reading.tree.top
    while len(top.filled) == 1 and not top.files:
        (inner,) = top.filled
        if read_name(inner.name).part or not inner.filled:
            break
        if not is_container(inner.name) and not _only_splits(inner):
            deepest = inner
            while len(deepest.filled) == 1 and not deepest.files and deepest.filled[0].filled:
                if read_name(deepest.filled[0].name).part:
                    break
                deepest = deepest.filled[0]
            raise DataError(
                f"{reading.path(top)} holds only the folder {inner.name}; did you mean {reading.path(deepest)}? It has "
                f"the folders {some([folder.name for folder in deepest.filled], 5)}. (If {inner.name} is a class, a "
                "second class is missing beside it.)"
            )
        if _only_splits(inner) and not is_container(inner.name):
            raise DataError(
                f"{reading.path(top)} holds only the folder {inner.name}; did you mean {reading.path(inner)}? It has "
                f"the folders {some([folder.name for folder in inner.filled], 5)}."
            )
        reading.say("note", "level", f"everything lies in the folder {inner.path}: it was taken for the data.")
        top = inner
    return top


def _only_splits(folder: Folder) -> bool:
    return len(folder.filled) > 1 and all(read_name(inner.name).is_part for inner in folder.filled)


def given_splits(tree: Tree, findings: list[Finding]) -> dict[str, Folder]:
    """The folders of splits at the top of a tree, flat ones as well; empty where there are none."""
    top = tree.top
    while len(top.filled) == 1 and not top.files and not read_name(top.filled[0].name).part:
        top = top.filled[0]
    return _one_for_each(tree, {folder: read_name(folder.name).part for folder in _part_folders(top)}, findings)


def _part_folders(top: Folder) -> list[Folder]:
    """The folders that are called like splits: by their whole names, or by names that differ in nothing else."""
    named = [(folder, read_name(folder.name)) for folder in top.filled]
    strict = [folder for folder, name in named if name.is_part]
    if strict:
        return strict + _like_train(strict, [folder for folder, name in named if name.part and not name.is_part])
    families: dict[tuple[str, ...], list[tuple[Folder, str]]] = {}
    for folder, name in named:
        if name.part:
            families.setdefault(name.rest, []).append((folder, name.part))
    for family in families.values():  # seg_train, seg_test
        if len({part for _, part in family}) > 1 and any(part == "train" for _, part in family):
            return [folder for folder, _ in family]
    return []


def _like_train(strict: Sequence[Folder], loose: Sequence[Folder]) -> list[Folder]:
    """Folders whose names mean a split among other words, and that hold the classes of the train split."""
    train = [folder for folder in strict if read_name(folder.name).part == "train"]
    classes = {alike(folder.name).casefold() for each in train for folder in each.filled}
    known = {read_name(folder.name).part for folder in strict}
    return [folder for folder in loose if read_name(folder.name).part not in known and _shares(folder, classes)]


def named_splits(tree: Tree, top: Folder, findings: list[Finding]) -> dict[str, Folder] | None:
    """The folders of splits, where there are some that hold folders of classes.

    A class may be called "test" or "val": only folders that hold folders themselves are splits, and, beside such ones,
    flat ones of that name.

    Raises:
        DataError: two folders for one split, no training folder, or folders that may be splits or classes.
    """
    candidates = _part_folders(top)
    deep = [folder for folder in candidates if folder.filled and 2 * len(folder.files) < folder.total]
    others = [folder for folder in top.filled if folder not in candidates]
    if not deep and (others or not any(read_name(folder.name).part == "train" for folder in candidates)):
        return None
    if len(deep) == 1 and others:
        (only,) = deep
        raise DataError(
            f"{tree.root / only.path} holds folders, as a split does, but beside it there is "
            f"{some([folder.name for folder in others])}, which is no split. If {only.name} is a split, put all "
            f"classes into {only.name} and move what is beside it away; if {only.name} is a class, say --classes "
            f"folder:{only.path.count('/') + 1}"
        )
    splits = _one_for_each(tree, {folder: read_name(folder.name).part for folder in candidates}, findings)
    if "train" not in splits:
        names = " and ".join(folder.name for folder in splits.values() if folder.filled)
        alone = [folder for folder in splits.values() if len(folder.filled) > 1]
        hint = f" To hold splits out of what there is, give {tree.root / alone[0].path} itself." if alone else ""
        raise DataError(
            f"{tree.root / top.path} has {names}, but no train; name the training folder train, with one folder for "
            f"each class in it.{hint}"
        )
    if top.files:
        loose = tuple(top.below(name) for name in top.files)
        message = f"{len(loose):,} files lie beside the splits and were left out: {some(loose)}."
        findings.append(Finding("doubtful", "loose files", message, loose))
    if others:
        left = tuple(name for folder in others for name in folder.samples())
        findings.append(
            Finding(
                "doubtful",
                "beside the splits",
                f"{some([folder.path for folder in others])} beside the splits "
                f"{some([folder.name for folder in splits.values()])} left out: {len(left):,} files. Move them into a "
                "split if they belong to the data.",
                left,
            )
        )
    return splits


def _one_for_each(tree: Tree, candidates: Mapping[Folder, str], findings: list[Finding]) -> dict[str, Folder]:
    by_part: dict[str, list[Folder]] = {}
    for folder, part in candidates.items():
        by_part.setdefault(part, []).append(folder)
    evaluation = by_part.pop("evaluation", [])
    if evaluation:
        part = "validation" if "validation" not in by_part else "test" if "test" not in by_part else "validation"
        by_part.setdefault(part, []).extend(evaluation)
        findings.append(Finding("note", "splits", f"{evaluation[0].path} was taken for the {part} split."))
    for part, folders in by_part.items():
        if len(folders) > 1:
            names = " and ".join(folder.name for folder in folders)
            where = tree.root / folders[0].path
            raise DataError(f"{where.parent} has {names}; keep one folder of {part} samples.")
    return {part: by_part[part][0] for part in (*PARTS, "unlabelled") if part in by_part}


def _classes_of_splits(reading: _Reading, splits: Mapping[str, Folder]) -> dict[str, Classes]:
    train = splits["train"]
    while len(train.filled) == 1 and not train.files and train.filled[0].filled:
        train = train.filled[0]
    if train is not splits["train"]:
        reading.say("note", "level", f"{train.path} was taken for {splits['train'].path}, which holds nothing else.")
    parts = {"train": _class_folders(reading, train)} if train.filled else {}
    known = {alike(name).casefold() for name in parts.get("train", {})}
    for part, folder in splits.items():
        if part == "train":
            continue
        holder = folder
        while len(holder.filled) == 1 and not _shares(holder, known) and not holder.files:
            holder = holder.filled[0]
        if part == "unlabelled" or not holder.filled:
            reading.unlabelled.append(folder)
            continue
        parts[part] = _class_folders(reading, holder, is_train=False)
    for folder in reading.unlabelled:
        part = read_name(folder.name).part
        use = "are predicted at the end" if part != "validation" else "cannot be used for validation"
        reading.say(
            "note" if part != "validation" else "doubtful",
            "unlabelled",
            f"{folder.path} holds {folder.total:,} {reading.wording.samples} without classes: they {use}."
            + (
                f" If their classes are known, put them into folders of classes, as in {train.path}."
                if part != "unlabelled"
                else ""
            ),
            folder.samples(),
        )
    reading.unlabelled = [folder for folder in reading.unlabelled if read_name(folder.name).part != "validation"]
    return parts


def _shares(folder: Folder, known: set[str]) -> bool:
    return any(alike(inner.name).casefold() in known for inner in folder.filled)


def _splits_in_classes(top: Folder) -> dict[str, Classes]:
    """Classes that hold the splits: cat/train, cat/test; empty where they do not."""
    if len(top.filled) < 2:
        return {}
    parts: dict[str, Classes] = {}
    for folder in top.filled:
        if folder.files or not folder.filled or not all(read_name(inner.name).is_part for inner in folder.filled):
            return {}
        for inner in folder.filled:
            part = read_name(inner.name).part
            part = "validation" if part == "evaluation" else part
            parts.setdefault(part, {}).setdefault(folder.name, []).append(inner)
    return parts if len(parts.get("train", {})) > 1 else {}


def _class_folders(reading: _Reading, where: Folder, *, is_train: bool = True) -> Classes:
    """The folders of classes in a folder; names that read alike are one class."""
    classes: Classes = {}
    spelled: dict[str, str] = {}
    for folder in where.filled:
        name = spelled.setdefault(alike(folder.name), folder.name)
        classes.setdefault(name, []).append(folder)
    for name, folders in classes.items():
        if len(folders) > 1:
            reading.say(
                "note",
                "names",
                f"{len(folders)} folders read alike as '{alike(name)}' (they differ in blanks or in how accents are "
                "stored) and were taken for one class.",
                [folder.path for folder in folders],
            )
    hollow = [folder for folder in where.folders.values() if not folder.total]
    empty = [folder.path for folder in hollow if read_name(folder.name).role != "mask"]
    if empty and is_train:
        held = kinds_of_files([name for folder in hollow for name in folder.other_files()])
        reading.say(
            "wrong",
            "empty classes",
            f"no {reading.wording.samples} in {some([str(reading.tree.root / path) for path in empty])}, but {held}; "
            "every class needs some. Remove the folder if it is no class.",
            empty,
        )
    if where.files:
        names = [where.below(name) for name in where.files]
        inside = where.total - len(names)
        level = "doubtful" if len(names) <= inside else "wrong"
        reading.say(
            level,
            "loose files",
            f"{len(names):,} {reading.wording.samples} lie beside the class folders in {reading.path(where)} and have "
            f"no class: {some(names)}. {'They were left out.' if level == 'doubtful' else 'Move them.'}",
            names,
        )
    return classes


def _ask_which_level(reading: _Reading, top: Folder) -> None:
    """Raise DataError where all folders have the same folders in them: either may be the classes, or the splits."""
    inner = [{alike(folder.name).casefold() for folder in outer.filled} for outer in top.filled]
    if any(outer.files for outer in top.filled) or len(inner[0]) < 2 or any(each != inner[0] for each in inner):
        return
    outer_names = some([folder.name for folder in top.filled])
    inner_names = some([folder.name for folder in top.filled[0].filled])
    level = top.path.count("/") + 2 if top.path else 1
    raise DataError(
        f"the folders {outer_names} in {reading.path(top)} all have the same folders in them: {inner_names}. If "
        f"{outer_names} are splits, call them train, val and test. If they are the classes, say --classes "
        f"folder:{level}; if {inner_names} are, say --classes folder:{level + 1}"
    )


def _joined(reading: _Reading, parts: dict[str, Classes], options: TaskOptions) -> FolderLayout:
    """The layout of found classes; splits name them in one way."""
    names = sorted(parts["train"], key=natural)
    shown = tuple(alike(name) for name in names)
    exact = {name: number for number, name in enumerate(shown)}
    folded: dict[str, int | None] = {}
    for name, number in exact.items():
        folded[name.casefold()] = None if name.casefold() in folded else number
    lists = {}
    for part in (part for part in PARTS if part in parts):
        chosen: list[tuple[int, Folder]] = []
        foreign: list[str] = []
        respelled: list[str] = []
        for name, folders in parts[part].items():
            label = exact.get(alike(name))
            if label is None:
                label = folded.get(alike(name).casefold())
                (foreign if label is None else respelled).append(name)
            chosen += [] if label is None else [(label, folder) for folder in folders]
        _say_of_classes(reading, part, shown, {label for label, _ in chosen}, foreign, respelled)
        pairs = [
            (name, label) for label, folder in sorted(chosen, key=lambda pair: pair[0]) for name in folder.samples()
        ]
        lists[part] = file_list(pairs, options)
    _hint_groups(reading, parts["train"], options)
    return FolderLayout(
        kind="classification",
        parts=lists,
        class_names=shown,
        unlabelled=tuple(name for folder in reading.unlabelled for name in folder.samples()),
        findings=tuple(reading.findings),
    )


def file_list(pairs: Sequence[tuple[str, int]], options: TaskOptions) -> FileList:
    """Samples with their classes. In the order of time they are sorted by their files' names, over all classes."""
    if options.order == "time":
        pairs = sorted(pairs, key=lambda pair: (natural(pair[0].rpartition("/")[2]), natural(pair[0])))
    return FileList(tuple(name for name, _ in pairs), torch.tensor([label for _, label in pairs], dtype=torch.int64))


def _say_of_classes(
    reading: _Reading, part: str, names: Sequence[str], seen: set[int], foreign: list[str], respelled: list[str]
) -> None:
    missing = [name for label, name in enumerate(names) if label not in seen]
    if foreign:
        reading.say(
            "wrong",
            "foreign classes",
            f"the {part} split has classes that the train split lacks: {some(sorted(foreign), 10)}; train has "
            f"{some(names, 10)}. Put training {reading.wording.samples} of them into train, or take them out of "
            f"{part}.",
            sorted(foreign),
        )
    if respelled:
        reading.say(
            "note",
            "names",
            f"classes of the {part} split are spelled otherwise than in train and were joined: {some(respelled, 10)}.",
            respelled,
        )
    if missing and not foreign:
        reading.say(
            "doubtful",
            "missing classes",
            f"the {part} split lacks {some(missing, 10)}, which train has; its results say nothing of "
            f"{'them' if len(missing) > 1 else 'it'}.",
            missing,
        )
    elif missing:
        reading.say("wrong", "missing classes", f"the {part} split lacks {some(missing, 10)}.", missing)


def _hint_groups(reading: _Reading, classes: Classes, options: TaskOptions) -> None:
    """Say so where class folders have folders in them that look like patients or recordings."""
    if options.groups is not None:
        return
    inner = [folder for folders in classes.values() for each in folders for folder in each.filled]
    holders = [each for folders in classes.values() for each in folders if len(each.filled) > 1]
    several = [folder for folder in inner if folder.total >= FEW_IN_GROUP]
    if holders and len(several) > len(inner) / 2:
        level = several[0].path.count("/") + 1
        reading.say(
            "doubtful",
            "groups",
            f"the classes have folders of several {reading.wording.samples} each, for example {several[0].path}. If "
            "each is of one patient, object or recording, keep it in one split with --groups "
            f"folder:{level}; else its {reading.wording.samples} are spread over the splits.",
        )
