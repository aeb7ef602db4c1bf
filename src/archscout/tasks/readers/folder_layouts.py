"""From a folder and what a user says of it to its layout: a table of labels, masks, names, or folders of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from archscout.errors import DataError, SettingsError
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.file_tree import Folder, Tree, kinds_of_files, natural, read_tree
from archscout.tasks.readers.labelled_files import fitting_tables, table_layout, table_path, tables_of_splits
from archscout.tasks.readers.layout_of_folder import (
    PARTS,
    FileList,
    FolderLayout,
    Wording,
    class_layout,
    file_list,
    given_splits,
)
from archscout.tasks.readers.mask_folders import mask_layout
from archscout.tasks.readers.name_patterns import check_all_told, has_group, obvious_pattern, part_of_names
from archscout.tasks.readers.other_tasks import annotated_task, content_of_other_files, paired_folders
from archscout.tasks.readers.tables import FileIndex

__all__ = ["LAYOUT_OPTIONS", "find_layout", "holds_samples"]

LAYOUT_OPTIONS = frozenset(("labels", "target", "classes", "kind"))
"""Options that `find_layout` heeds, beside those of hold-outs."""


def find_layout(root: Path, suffixes: frozenset[str], options: TaskOptions, samples: str = "images") -> FolderLayout:
    """How the samples in a folder are divided, and what their targets are.

    In this order: a table where `--labels` names one; classes by `--classes`; images with masks; folders of classes; a
    table that is alone beside the files and names them.

    Args:
        suffixes: of the files that are samples, in lower case.
        samples: what messages call them.

    Raises:
        DataError: none of these, or what the folder means is not clear; the message says what was seen and what to
            type.
        SettingsError: an option that is not for this folder.
    """
    wording = Wording(samples, suffixes)
    tree = read_tree(root, suffixes)
    damaged = tree.findings(samples, skip_damaged=options.skip_damaged)
    _check_official(tree)
    if not tree.top.total:
        raise DataError("\n".join([_nothing(tree, wording), *(finding.message for finding in damaged)]))
    layout = _find(tree, wording, options)
    tables = {Path(path).name for path in str(layout.provenance.get("labels", "")).split(", ")}
    layout = _grouped(layout, options)
    unused = tree.passed_over(name for name in tree.top.other_files() if name.rpartition("/")[2] in tables)
    return layout.with_findings(*_left_out(tree, layout, wording), *damaged, *unused)


def _left_out(tree: Tree, layout: FolderLayout, wording: Wording) -> list[Finding]:
    """What to say of samples that are in no split and that no finding has named yet."""
    known = {name for files in layout.parts.values() for name in (*files.names, *files.masks)}
    known.update(layout.unlabelled, *(finding.names for finding in layout.findings))
    rest = tuple(name for name in tree.top.samples() if name not in known)
    if not rest:
        return []
    message = f"{len(rest):,} of {tree.top.total:,} {wording.samples} left out, as in no split or class: {some(rest)}."
    return [Finding("doubtful", "left out", message, rest)]


def holds_samples(path: Path, suffixes: frozenset[str]) -> bool:
    """Whether a folder has files of these suffixes, looked for until one is found."""
    waiting = [path]
    for _ in range(1000):
        if not waiting:
            break
        here = waiting.pop(0)
        try:
            entries = sorted(here.iterdir())
        except OSError:
            continue
        if any(entry.suffix.lower() in suffixes and not entry.name.startswith(".") for entry in entries):
            return True
        waiting += [
            entry for entry in entries if not entry.is_symlink() and entry.is_dir() and not entry.name.startswith(".")
        ]
    return False


def _find(tree: Tree, wording: Wording, options: TaskOptions) -> FolderLayout:
    if options.labels is not None and options.classes is not None:
        raise SettingsError("--labels and --classes were given, but targets are either in a table or in names.")
    if options.labels is not None:
        path = table_path(options.labels, tree.root)
        return table_layout(tree, path, FileIndex(tree.top.samples(), wording.suffixes), wording, options)
    if options.classes is not None:
        return _layout_of_names(tree, wording, options, options.classes)
    if options.kind == "dense" and wording.samples != "images":
        raise SettingsError(f"--kind dense needs images with masks; {wording.samples} have none.")
    if options.kind in ("auto", "dense") and wording.samples == "images":
        masks = mask_layout(tree, wording, options)
        if masks is not None:
            return masks
        if options.kind == "dense":
            raise DataError(
                f"{tree.root} has no masks: --kind dense needs a folder images and a folder masks with files of the "
                "same names. A value at every position can also be given as arrays, in an .npz file."
            )
    if options.kind in ("auto", "classification") and not options.target:
        pairs = paired_folders(tree.top, wording.samples) if options.kind == "auto" else None
        if pairs is not None:
            raise DataError(pairs)
        classes = class_layout(tree, wording, options)
        if classes is not None:
            return classes
    if options.kind == "regression" and not options.target:
        numbers = _numbers_of_classes(class_layout(tree, wording, options))
        if numbers is not None:
            return numbers
    index = FileIndex(tree.top.samples(), wording.suffixes)
    tables, problems = fitting_tables(tree, index)
    chosen = tables[0] if len(tables) == 1 else tables_of_splits(tables)
    if chosen:
        found = table_layout(tree, chosen, index, wording, options)
        names = " and ".join(str(path) for path in tables)
        message = f"the targets are read from {names}, which names the files. For another table say --labels FILE."
        return found.with_findings(Finding("note", "labels", message))
    message = _unclear(tree, wording, options, tables)
    raise DataError(" ".join([message, *(f"A table was not used: {problem}" for problem in problems)]))


def _numbers_of_classes(layout: FolderLayout | None) -> FolderLayout | None:
    """Class folders that are called like numbers, as targets of a regression; None where they are not."""
    try:
        values = torch.tensor([[float(name)] for name in layout.class_names]) if layout is not None else None
    except ValueError:
        return None
    if layout is None or values is None or not bool(values.isfinite().all()):
        return None
    parts = {part: replace(files, targets=values[files.targets]) for part, files in layout.parts.items()}
    message = "the names of the folders are read as numbers."
    found = replace(layout, kind="regression", parts=parts, class_names=())
    return found.with_findings(Finding("note", "targets", message))


def _nothing(tree: Tree, wording: Wording) -> str:
    if not tree.top.others and not tree.top.folders:
        return f"{tree.root} is empty; put the {wording.samples} of each class into a folder of its own."
    seen = content_of_other_files(tree) or f"it holds {kinds_of_files(tree.top.other_files())}."
    return (
        f"{tree.root} holds no {wording.samples}, by the suffixes of its files: {seen} archscout reads a folder with "
        f"the {wording.samples} of each class in a folder of its own."
    )


def _check_official(tree: Tree) -> None:
    names = {name.rpartition("/")[2] for name in tree.top.others} | set(tree.top.folders)
    if names & {"data_batch_1", "batches.meta", "cifar-10-batches-py"}:
        raise DataError(f"{tree.root} holds CIFAR-10's official files: use the task cifar10, with --data {tree.root}")


def _unclear(tree: Tree, wording: Wording, options: TaskOptions, tables: list[Path]) -> str:
    """What was seen in a folder of which no layout was found, and what to type."""
    where = _deepest(tree.top)
    if len(tables) > 1:
        commands = "".join(f"\n  archscout run {tree.root} --labels {path}" for path in tables)
        return (
            f"{tree.root} has {len(tables)} tables that name its {wording.samples}; say which one has the targets:"
            f"{commands}"
        )
    if options.kind in ("multilabel", "regression"):
        return (
            f"{tree.root} has no table of targets: --kind {options.kind} needs one, a row for each file, as --labels "
            "labels.csv"
        )
    other = annotated_task(tree, wording.samples)
    if other is not None:
        return other
    findings: list[Finding] = []
    splits = given_splits(tree, findings)
    train = splits.get("train", where)
    pattern = obvious_pattern(train.samples())
    hint = ""
    if pattern is not None:
        text, words, counts = pattern
        listed = some([f"{name} ({count})" for name, count in counts.most_common()])
        hint = f" If the class is told by {words} ({listed}): archscout run {tree.root} --classes '{text}'"
    flat = [folder for folder in where.filled if not folder.filled]
    empty = [folder.path for folder in where.folders.values() if not folder.total]
    if len(where.filled) == 1 and flat and not where.files and train is not flat[0]:
        without = f" ({some(empty)} hold no {wording.samples})" if empty else ""
        return (
            f"{tree.root / where.path} has only one class, {flat[0].name}{without}; a classification needs at least "
            f"two.{hint}"
        )
    if train.filled and len(train.filled) == 1:
        return (
            f"{tree.root / train.path} has only one class, {train.filled[0].name}; a classification needs at least two."
            f"{hint}"
        )
    return (
        f"{tree.root / train.path} has no class folders, but {len(train.files):,} {wording.samples} without class; put "
        f"the {wording.samples} into one folder for each class, or give a table with a row for each, --labels "
        f"labels.csv.{hint}"
    )


def _deepest(top: Folder) -> Folder:
    while len(top.filled) == 1 and not top.files and top.filled[0].filled:
        (top,) = top.filled
    return top


def _layout_of_names(tree: Tree, wording: Wording, options: TaskOptions, text: str) -> FolderLayout:
    """Classes by a folder of the path, or by a pattern of the file's name. Splits are folders of their names.

    Raises:
        DataError: a training file without a class, or only one class.
        SettingsError: no pattern.
    """
    if options.kind not in ("auto", "classification"):
        raise SettingsError(f"--classes is for classes, not for --kind {options.kind}.")
    findings: list[Finding] = []
    splits: Mapping[str, Folder] = {}
    if text != "folder:1":
        splits = given_splits(tree, findings)
    splits = splits if "train" in splits else {"train": tree.top}
    inside = {name for folder in splits.values() for name in folder.samples()}
    beside = tuple(name for name in tree.top.samples() if name not in inside)
    if beside:
        message = f"{len(beside):,} {wording.samples} lie beside the splits and were left out: {some(beside)}."
        findings.append(Finding("doubtful", "beside the splits", message, beside))
    told: dict[str, list[tuple[str, str]]] = {}
    unlabelled: list[str] = []
    for part, folder in splits.items():
        names = folder.samples()
        values = part_of_names(names, "--classes", text, "class")
        if part == "unlabelled" or (part == "test" and not any(values)):
            unlabelled += names
            message = f"{len(names):,} {wording.samples} of {folder.path} have no class: they are predicted at the end."
            findings.append(Finding("note", "unlabelled", message, tuple(names)))
            continue
        told[part] = list(zip(names, check_all_told(names, values, "--classes", text), strict=True))
    classes = sorted({value for _, value in told["train"]}, key=natural)
    if len(classes) < 2:
        raise DataError(f"--classes {text}: all files are of one class, {classes[0]}; there must be two or more.")
    number = {name: label for label, name in enumerate(classes)}
    foreign = sorted({value for pairs in told.values() for _, value in pairs} - set(classes), key=natural)
    if foreign:
        message = f"the classes {some(foreign, 10)} are in other splits, but not in train."
        findings.append(Finding("wrong", "foreign classes", message, tuple(foreign)))
    lists = {}
    for part in (part for part in PARTS if part in told):
        pairs = [(name, number[value]) for name, value in told[part] if value in number]
        missing = set(range(len(classes))) - {label for _, label in pairs}
        if missing:
            lost = [classes[label] for label in sorted(missing)]
            message = f"the {part} split lacks {some(lost, 10)}, which train has."
            findings.append(Finding("doubtful", "missing classes", message, tuple(lost)))
        lists[part] = file_list(pairs, options)
        if options.groups is None and has_group(text, "group"):
            groups = part_of_names(lists[part].names, "--classes", text, "group")
            told_groups = check_all_told(lists[part].names, groups, "--classes", text)
            lists[part] = replace(lists[part], groups=tuple(told_groups))
    counts = ", ".join(f"{name} {sum(value == name for _, value in told['train']):,}" for name in classes[:20])
    findings.append(Finding("note", "classes", f"{len(classes)} classes by --classes {text}: {counts}."))
    found = sorted({group for files in lists.values() for group in files.groups or ()}, key=natural)
    if found:
        message = f"{len(found):,} groups by --classes {text}, for example {some(found)}; each is kept in one split."
        findings.append(Finding("note", "groups", message))
    return FolderLayout(
        kind="classification",
        parts=lists,
        class_names=tuple(classes),
        unlabelled=tuple(unlabelled),
        findings=tuple(findings),
        provenance={"classes": text},
    )


def _grouped(layout: FolderLayout, options: TaskOptions) -> FolderLayout:
    """The layout with the groups that the options name, where it does not have them yet."""
    if options.groups is None or any(part.groups is not None for part in layout.parts.values()):
        return layout
    if options.groups.startswith("column:"):
        raise SettingsError(f"--groups {options.groups}: a column needs a table, --labels labels.csv")
    parts: dict[str, FileList] = {}
    groups: set[str] = set()
    for part, files in layout.parts.items():
        values = part_of_names(files.names, "--groups", options.groups)
        own = check_all_told(files.names, values, "--groups", options.groups)
        parts[part] = replace(files, groups=tuple(own))
        groups |= set(own)
    shown = some(sorted(groups, key=natural))
    message = f"{len(groups):,} groups by --groups {options.groups}, for example {shown}; each is kept in one split."
    return replace(layout, parts=parts).with_findings(Finding("note", "groups", message))
