"""A classification task from a folder of images, one folder for each class."""

from __future__ import annotations

from pathlib import Path

import torch

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions
from archscout.tasks.readers.image_folder import ClassFolder, list_folder, scan_classes
from archscout.tasks.readers.image_samples import image_inputs, image_statistics
from archscout.tasks.registry import register_reader
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.task import Task

__all__ = ["folder_task"]

VALIDATION_NAMES = ("val", "valid", "validation")


# Asked last: a folder that no other reader knows is taken for one of images, and the error says what it lacks.
@register_reader(
    "images",
    "a folder of images (one folder for each class)",
    Path.is_dir,
    priority=-1,
    heeds=HOLD_OUT | {"image_size", "fit", "value_range", "augment"},
)
def folder_task(
    path: Path, options: TaskOptions = DEFAULTS, *, name: str | None = None, workers: int | None = None
) -> Task:
    """A classification task from an image folder.

    Layouts: `train/<class>/*`, with or without `val/` (or `valid/`, `validation/`) and `test/` of the same classes; or
    `<class>/*` directly. What is missing is held out of the training images, each class in proportion, by the seed:
    first the test split, then, of the rest, the validation split. Hidden files and files that are no images are
    ignored; subfolders of a class belong to it.

    How images are decoded, sized and augmented: see `archscout.tasks.readers.image_choice`, docs/tasks.md.

    Args:
        name: of the task; default: the folder's name.
        workers: processes that decode large images; default: `images.default_workers()`.

    Raises:
        DataError: no such layout, a class without images, splits of different classes, or an unreadable image.
    """
    name = name or path.resolve().name
    folders = _find_splits(path)
    labels = torch.cat([folder.labels for folder in folders.values()])
    names = [image for folder in folders.values() for image in folder.names]
    inputs = image_inputs(path, names, labels, options, workers=workers)
    samples = Samples(
        name=name,
        kind="classification",
        input_shape=inputs.decoding.shape,
        parts=inputs.parts({part: len(folder) for part, folder in folders.items()}),
        statistics=lambda split: image_statistics(split, generator(options.seed, "statistics", name)),
        class_names=folders["train"].class_names,
        augmentations=inputs.augmentations,
        provenance={"source": path.name},
        findings=inputs.findings,
    )
    return task_of_samples(samples, options)


def _find_splits(path: Path) -> dict[str, ClassFolder]:
    """The splits that the folder has: train, and where they are there validation and test."""
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
