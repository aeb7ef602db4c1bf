"""Which images of which classes a folder holds, by the strict rules of registered tasks and of version 0.1.

Folders of one's own are read as `archscout.tasks.readers.folder_layouts` finds them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archscout.errors import DataError

__all__ = ["ClassFolder", "list_folder", "list_images", "scan_classes", "splits_of_version_0_1"]

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"))
VALIDATION_NAMES = ("val", "valid", "validation")


@dataclass(frozen=True)
class ClassFolder:
    """Images with labels, from one folder for each class.

    Attributes:
        class_names: folder names, sorted; their positions are the labels.
        names: paths of the images, relative to the task's folder; sorted within a class, classes one after another.
        labels: `(N,)` int64.
    """

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.names)


def list_folder(path: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, sorted; hidden ones and archives' leftovers left out.

    Raises:
        DataError: the folder is missing or cannot be read.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}.") from None
    return sorted(folders), sorted(files)


def list_images(root: Path, below: str) -> list[str]:
    """Paths, relative to `root`, of all images in the folder `below` and its subfolders, sorted."""
    folders, files = list_folder(root / below)
    found = [f"{below}/{name}" for name in files if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]  # noqa: PTH122
    for folder in folders:
        found += list_images(root, f"{below}/{folder}")
    return found


def scan_classes(root: Path, below: str = "", class_names: Sequence[str] | None = None) -> ClassFolder:
    """The images of `root/below/<class>/`.

    Args:
        below: the split's folder in it, for example "train".
        class_names: what the classes must be, where another split has told.

    Raises:
        DataError: no class folders, a class without images, or other classes than wanted.
    """
    where = root / below
    folders, files = list_folder(where)
    if not folders:
        loose = sum(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in files)  # noqa: PTH122
        seen = f"{loose} images without class" if loose else f"{len(files)} files" if files else "nothing"
        raise DataError(f"{where} has no class folders, but {seen}; put the images into one folder for each class.")
    if class_names is not None and tuple(folders) != tuple(class_names):
        _explain_difference(where, folders, class_names)
    images = {folder: list_images(root, f"{below}/{folder}" if below else folder) for folder in folders}
    _check_none_empty(where, images)
    counts = torch.tensor([len(found) for found in images.values()])
    return ClassFolder(
        class_names=tuple(folders),
        names=tuple(name for found in images.values() for name in found),
        labels=torch.repeat_interleave(torch.arange(len(folders)), counts),
    )


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _explain_difference(where: Path, folders: Sequence[str], wanted: Sequence[str]) -> None:
    extra, missing = sorted(set(folders) - set(wanted)), sorted(set(wanted) - set(folders))
    problems = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} besides"] * bool(extra)
    raise DataError(
        f"{where} has not the same class folders as train: it {' and '.join(problems)}. Every split needs every class."
    )


def _check_none_empty(where: Path, images: Mapping[str, Sequence[str]]) -> None:
    empty = [folder for folder, found in images.items() if not found]
    if empty:
        raise DataError(
            f"no images in {_some([str(where / folder) for folder in empty])}; every class needs some, with one of "
            f"the suffixes {', '.join(sorted(IMAGE_SUFFIXES))}. Remove the folder if it is no class."
        )


def splits_of_version_0_1(path: Path) -> dict[str, ClassFolder]:
    """The splits that a folder has: train, and where they are there validation and test.

    Raises:
        DataError: no such layout.
    """
    folders, files = list_folder(path)
    if any(name in files for name in ("data_batch_1", "batches.meta")) or "cifar-10-batches-py" in folders:
        raise DataError(f"{path} holds CIFAR-10's official files: use the task cifar10, with --data {path}")
    by_name = {folder.lower(): folder for folder in folders}
    validation = [by_name[name] for name in VALIDATION_NAMES if name in by_name]
    if len(validation) > 1:
        raise DataError(f"{path} has {' and '.join(validation)}; keep one folder of validation images.")
    if "train" not in by_name:
        # A class may be called "test" or "val": only folders that hold class folders themselves are splits.
        splits = [
            folder for folder in [*validation, by_name.get("test", "")] if folder and list_folder(path / folder)[0]
        ]
        if splits:
            raise DataError(
                f"{path} has {' and '.join(splits)}, but no train; name the training folder train, with one folder for "
                "each class in it."
            )
        return {"train": _at_least_two(path, scan_classes(path))}
    found = {"train": _at_least_two(path / by_name["train"], scan_classes(path, by_name["train"]))}
    for part, folder in (("validation", validation[0] if validation else None), ("test", by_name.get("test"))):
        if folder is not None:
            found[part] = scan_classes(path, folder, found["train"].class_names)
    return found


def _at_least_two(where: Path, found: ClassFolder) -> ClassFolder:
    if len(found.class_names) < 2:
        raise DataError(f"{where} has only one class, {found.class_names[0]}; a classification needs at least two.")
    return found
