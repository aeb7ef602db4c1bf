"""A task from a folder of images: classes, labels, numbers or masks, as people lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.class_counts import with_small_classes
from archscout.tasks.findings import Finding, raise_wrong
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions, options_with
from archscout.tasks.preparation import ImagePreparation
from archscout.tasks.readers.folder_layouts import LAYOUT_OPTIONS, find_layout, holds_samples
from archscout.tasks.readers.image_folder import splits_of_version_0_1
from archscout.tasks.readers.image_formats import IMAGE_SUFFIXES
from archscout.tasks.readers.image_samples import ImageInputs, image_inputs, image_statistics
from archscout.tasks.readers.layout_of_folder import FileList, FolderLayout
from archscout.tasks.readers.masks import MaskedImages, read_masks
from archscout.tasks.registry import register_reader
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.sources import ArraySource, Source
from archscout.tasks.task import Split, Task

__all__ = ["folder_task"]


# Asked last: a folder that no other reader knows is taken for one of images, and the error says what it lacks.
@register_reader(
    "images",
    "a folder of images (one folder for each class, masks, or a table of labels)",
    Path.is_dir,
    priority=-1,
    heeds=HOLD_OUT | LAYOUT_OPTIONS | {"image_size", "fit", "value_range", "augment", "ignore"},
    holds=lambda path: holds_samples(path, IMAGE_SUFFIXES),
)
def folder_task(
    path: Path, options: TaskOptions = DEFAULTS, *, name: str | None = None, workers: int | None = None
) -> Task:
    """A task from a folder of images.

    Which layouts are read: `archscout.tasks.readers.folder_layouts.find_layout`, docs/tasks.md. Splits that are missing
    are held out of the training images. How images are decoded, sized and augmented:
    `archscout.tasks.readers.image_choice`. Images of regressions and of masks are not augmented unless the options say
    so: a mirrored street is steered otherwise, and masks do not move along.

    Args:
        name: of the task; default: the folder's name.
        workers: processes that decode large images; default: `images.default_workers()`.

    Raises:
        DataError: no such layout, or everything that is wrong with it, at once.
        SettingsError: options that contradict each other.
    """
    name = name or path.resolve().name
    layout = _layout_of_version_0_1(path) if options.rules < 2 else find_layout(path, IMAGE_SUFFIXES, options)
    options = _still(layout, options)
    parts = dict(layout.parts)
    if layout.unlabelled:
        parts["unlabelled"] = FileList(layout.unlabelled, _no_targets(layout))
    names = [image for files in parts.values() for image in files.names]
    targets = torch.cat([files.targets for files in parts.values()])
    if layout.kind == "dense":
        targets = torch.arange(len(names))  # until their masks are read
    inputs = image_inputs(path, names, targets, options, before=layout.findings, workers=workers)
    places = inputs.places({part: len(files) for part, files in parts.items()}, optional=("unlabelled",))
    source: Source = inputs.source
    class_names, findings = layout.class_names, list(inputs.findings)
    if layout.kind == "dense":
        source, places, class_names, told = _with_masks(path, layout, inputs, places, options)
        findings += told
        raise_wrong(findings)
    groups = _groups(layout, inputs)
    unlabelled = places.pop("unlabelled", None)
    samples = Samples(
        name=name,
        kind=layout.kind,
        input_shape=inputs.decoding.shape,
        parts={part: Split(source, place) for part, place in places.items()},
        statistics=lambda split: image_statistics(split, _draw(options, name)),
        class_names=class_names,
        groups=groups,
        augmentations=inputs.augmentations,
        preparation=ImagePreparation(inputs.decoding.to_json()),
        unlabelled=None if unlabelled is None or not len(unlabelled) else Split(source, unlabelled),
        provenance={"source": path.name, **layout.provenance},
        findings=tuple(findings),
    )
    return with_small_classes(task_of_samples(samples, options))


def _layout_of_version_0_1(path: Path) -> FolderLayout:
    folders = splits_of_version_0_1(path)
    return FolderLayout(
        kind="classification",
        parts={part: FileList(folder.names, folder.labels) for part, folder in folders.items()},
        class_names=folders["train"].class_names,
    )


def _still(layout: FolderLayout, options: TaskOptions) -> TaskOptions:
    """The options without augmentation where the targets belong to what is seen at which place."""
    if layout.kind == "dense" and options.augment not in ("auto", "none"):
        raise DataError(f"augmentation '{options.augment}' would move the images, but not their masks.")
    if layout.kind in ("dense", "regression") and options.augment == "auto":
        return options_with(options, {"augment": "none"})
    return options


def _no_targets(layout: FolderLayout) -> Tensor:
    known = layout.parts["train"].targets
    return torch.zeros(len(layout.unlabelled), *known.shape[1:], dtype=known.dtype)


def _draw(options: TaskOptions, name: str) -> torch.Generator:
    """Of the images whose statistics are taken; a folder may be renamed, so its name decides nothing any more."""
    return generator(options.seed, "statistics", *([name] if options.rules < 2 else []))


def _groups(layout: FolderLayout, inputs: ImageInputs) -> dict[str, Sequence[str]] | None:
    """Of the images that are kept: their groups."""
    if layout.parts["train"].groups is None:
        return None
    kept = set(inputs.kept.tolist())
    groups: dict[str, Sequence[str]] = {}
    start = 0
    for part, files in layout.parts.items():
        if files.groups is not None:
            groups[part] = [group for place, group in enumerate(files.groups, start) if place in kept]
        start += len(files)
    return groups


def _with_masks(
    path: Path, layout: FolderLayout, inputs: ImageInputs, places: dict[str, Tensor], options: TaskOptions
) -> tuple[Source, dict[str, Tensor], tuple[str, ...], Sequence[Finding]]:
    """The source with masks as targets, its splits without images whose masks are damaged, and names of classes."""
    mask_names = [mask for files in layout.parts.values() for mask in files.masks]
    kept = [place for place in inputs.kept.tolist() if place < len(mask_names)]
    images = list(inputs.index.names)[: len(kept)]
    masks = read_masks(
        path,
        images,
        [mask_names[place] for place in kept],
        inputs.decoding,
        ignore=options.ignore,
        skip_damaged=options.skip_damaged,
    )
    more = len(inputs.index) - len(kept)
    classes = torch.cat([masks.classes, torch.full((more, *masks.classes.shape[1:]), IGNORED, dtype=torch.int16)])
    source: Source
    if isinstance(inputs.source, ArraySource):
        known = inputs.source
        source = ArraySource(known.inputs, classes.to(torch.int64), known.names, known.overview)
    else:
        source = MaskedImages(inputs.source, classes)
    damaged = torch.tensor(masks.damaged, dtype=torch.int64)
    left = {part: place[~torch.isin(place, damaged)] for part, place in places.items()}
    empty = [part for part, place in left.items() if not len(place) and part != "unlabelled"]
    if empty:
        raise DataError(f"no mask of {' and '.join(empty)} is left: {masks.findings[0].message}")
    return source, left, masks.class_names, masks.findings
