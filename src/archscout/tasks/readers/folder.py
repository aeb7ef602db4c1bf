"""A classification task from a folder of images, one folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions
from archscout.tasks.readers.decoding import DECODE_ERRORS, GREY_MODES, Decoding
from archscout.tasks.readers.image_folder import ClassFolder, list_folder, scan_classes
from archscout.tasks.readers.images import ImageSource, read_images
from archscout.tasks.registry import register_reader
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.sources import ArraySource
from archscout.tasks.statistics import ChannelStatistics, statistics_of_array
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import standard_augmentation

__all__ = ["folder_task"]

VALIDATION_NAMES = ("val", "valid", "validation")
SMALL_SIDE = 64  # pixels; larger images are streamed
MEMORY_LIMIT = 2**30  # bytes of decoded images
SMALL_SIZE, LARGE_SIZE = 32, 224  # what images of mixed sizes are brought to
PROBED = 256  # headers read to learn sizes and colours
STATISTICS_SAMPLES = 512  # images read for mean and standard deviation, where reading all would take minutes
STATISTICS_BATCH = 64


# Asked last: a folder that no other reader knows is taken for one of images, and the error says what it lacks.
@register_reader(
    "images",
    "a folder of images (one folder for each class)",
    Path.is_dir,
    priority=-1,
    heeds=HOLD_OUT | {"image_size", "augment"},
)
def folder_task(
    path: Path, options: TaskOptions = DEFAULTS, *, name: str | None = None, workers: int | None = None
) -> Task:
    """A classification task from an image folder.

    Layouts: `train/<class>/*`, with or without `val/` (or `valid/`, `validation/`) and `test/` of the same classes; or
    `<class>/*` directly. What is missing is held out of the training images, each class in proportion, by the seed:
    first the test split, then, of the rest, the validation split. Hidden files and files that are no images are
    ignored; subfolders of a class belong to it.

    Images of at most 64 pixels a side, 1 GiB of them at most, are decoded once into memory: at their own size where
    all have the same, else resized and cropped to 32 x 32. Larger ones are decoded when needed, by worker processes:
    for training as a random resized crop, mirrored at random, for evaluation resized and cropped at the centre, to
    224 x 224. Images are grey (one channel) where all are, else RGB. To learn sizes and colours, the headers of 256
    images are read.

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
    probe = _probe(path, names)
    decoding = _choose_decoding(probe, options)
    source: ArraySource | ImageSource
    if probe.small and len(names) * probe.channels * decoding.height * decoding.width <= MEMORY_LIMIT:
        source = ArraySource(read_images([path / image for image in names], decoding), labels, names)
    else:
        source = ImageSource(path, names, labels, decoding, workers)
    places = torch.split(torch.arange(len(names)), [len(folder) for folder in folders.values()])
    samples = Samples(
        name=name,
        kind="classification",
        input_shape=decoding.shape,
        parts={part: Split(source, place) for part, place in zip(folders, places, strict=True)},
        statistics=lambda split: _statistics(split, generator(options.seed, "statistics", name)),
        class_names=folders["train"].class_names,
        # Large images are cropped and mirrored while they are decoded.
        augmentations=standard_augmentation(options.augment, decoding.shape) if probe.small else (),
        provenance={"source": path.name},
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


@dataclass(frozen=True)
class _Probe:
    """What some images' headers tell: whether all are grey, the largest side, and their common size if any."""

    grey: bool
    largest_side: int
    common_size: tuple[int, int] | None

    @property
    def channels(self) -> int:
        return 1 if self.grey else 3

    @property
    def small(self) -> bool:
        return self.largest_side <= SMALL_SIDE


def _probe(root: Path, names: Sequence[str]) -> _Probe:
    """Read the headers of images spread evenly over the names."""
    step = max(1, len(names) // PROBED)
    sizes, grey = set(), True
    for name in names[::step]:
        try:
            with Image.open(root / name) as image:
                sizes.add(image.size)
                grey = grey and image.mode in GREY_MODES
        except DECODE_ERRORS:
            raise DataError(f"{root / name}: no image that can be read. Repair or remove the file.") from None
    return _Probe(
        grey=grey,
        largest_side=max(max(size) for size in sizes),
        common_size=next(iter(sizes)) if len(sizes) == 1 else None,
    )


def _choose_decoding(probe: _Probe, options: TaskOptions = DEFAULTS) -> Decoding:
    side = SMALL_SIZE if probe.small else LARGE_SIZE
    height, width = options.image_size or (side, side)
    if options.image_size is None and probe.small and probe.common_size is not None:
        width, height = probe.common_size
    if probe.small:
        return Decoding(height, width, grey=probe.grey, random_crop=False, margin=1.0)
    steps = standard_augmentation(options.augment, (probe.channels, height, width))
    return Decoding(height, width, grey=probe.grey, random_crop=len(steps) > 0, mirror=len(steps) > 1)


def _statistics(train: Split, draw: torch.Generator) -> ChannelStatistics:
    """Of the training images: of all that are in memory, else of some, decoded as for evaluation."""
    if isinstance(train.source, ArraySource):
        return statistics_of_array(train.source.inputs, train.indices)
    some = train.indices[torch.randperm(len(train), generator=draw)[:STATISTICS_SAMPLES]]
    batches = train.source.batches(torch.split(some, STATISTICS_BATCH), torch.device("cpu"))
    return ChannelStatistics().update_all(inputs for inputs, _ in batches)
