"""Inputs from image files: what every reader does that has names of images and their targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError, SettingsError
from archscout.tasks.findings import Finding, raise_wrong
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.image_choice import SMALL_SIDE, choose_decoding
from archscout.tasks.readers.image_index import ImageIndex, index_images
from archscout.tasks.readers.images import ImageSource, read_images
from archscout.tasks.sources import ArraySource, Overview
from archscout.tasks.statistics import ChannelStatistics, statistics_of_array
from archscout.tasks.task import Split, Transform
from archscout.tasks.transforms import standard_augmentation

__all__ = ["ImageInputs", "image_inputs", "image_statistics"]

MEMORY_LIMIT = 2**30  # bytes of decoded images; more are decoded when they are needed
STATISTICS_SAMPLES = 512  # images read for mean and standard deviation, where reading all would take minutes
STATISTICS_BATCH = 64
# The rules of version 0.1: headers of some images were read, and their stored sizes and modes decided.
PROBED = 256
OLD_GREY_MODES = (b"1", b"L", b"LA", b"La", b"I;16", b"I;16B", b"I;16L", b"I;16N", b"I")
OLD_SMALL_SIZE, OLD_LARGE_SIZE = 32, 224


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images as inputs of a task.

    Attributes:
        source: of the images that can be read, in the order of their names, with their targets.
        kept: positions of those among the names that were given.
        decoding: how they and new images are decoded.
        augmentations: of training, beside what the source itself draws.
        index: of the images in `source`.
        findings: what was seen and decided; none is "wrong".
    """

    source: ArraySource | ImageSource
    kept: Tensor
    decoding: Decoding
    augmentations: tuple[Transform, ...]
    index: ImageIndex
    findings: tuple[Finding, ...]

    def places(self, lengths: Mapping[str, int], *, optional: Sequence[str] = ()) -> dict[str, Tensor]:
        """Positions in the source of parts that lie one after the other in the given names.

        Args:
            lengths: how many names each part has; files that are left out have shifted the others.
            optional: parts of which nothing need be left.

        Raises:
            DataError: nothing is left of another part.
        """
        number = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(list(lengths.values())))[self.kept]
        found = {part: (number == place).nonzero().view(-1) for place, part in enumerate(lengths)}
        for part, length in lengths.items():
            if length and not len(found[part]) and part not in optional:
                raise DataError(f"none of the {length:,} images of {part} can be read; repair or remove them.")
        return found


def image_inputs(
    root: Path,
    names: Sequence[str],
    targets: Tensor,
    options: TaskOptions,
    *,
    before: Iterable[Finding] = (),
    workers: int | None = None,
) -> ImageInputs:
    """Look at all images, choose how they are decoded, and read them if memory allows.

    Images that take at most 1 GiB decoded are kept in memory; others, and those that training crops at random, are
    decoded when needed, by worker processes.

    Args:
        root: folder of the files.
        names: paths below it, one for each sample.
        targets: `(N, ...)`.
        options: of the user.
        before: what is already known to be wrong, to be told with what is found here.
        workers: as in `ImageSource`.

    Raises:
        SettingsError: options that the rules of version 0.1 do not know.
        DataError: everything that is wrong, at once: files that cannot be read unless the options skip them, values
            that do not tell black and white, and the findings before.
    """
    old = options.rules < 2
    if old and (options.fit is not None or options.value_range is not None):
        raise SettingsError("fit and value_range need rules = 2; this run was begun by version 0.1, with rules = 1.")
    everything = index_images(root, names, workers=workers)
    kept = np.flatnonzero(everything.readable)
    findings = [*before, *everything.damage(skip=options.skip_damaged)]
    index = everything.select(kept)
    if not len(index):
        raise_wrong(findings)
    decoding, said = (_old_decoding(index, options), []) if old else choose_decoding(index, options)
    findings += said
    raise_wrong(findings)
    chosen = torch.from_numpy(kept)
    small = not decoding.random_crop and (not old or decoding.margin == 1.0)
    bytes_needed = len(index) * decoding.height * decoding.width * decoding.shape[0]
    source: ArraySource | ImageSource
    if small and bytes_needed <= MEMORY_LIMIT:
        pixels = read_images([root / name for name in index.names], decoding)
        source = ArraySource(pixels, targets[chosen], index.names, _overview(index, decoding))
    else:
        source = ImageSource(root, index.names, targets[chosen], decoding, workers, _overview(index, decoding))
    # Images that are cropped at random are also mirrored while they are decoded.
    cropped = decoding.random_crop or not small
    augmentations = () if cropped else standard_augmentation(options.augment, decoding.shape)
    return ImageInputs(source, chosen, decoding, augmentations, index, tuple(findings))


def image_statistics(train: Split, draw: torch.Generator) -> ChannelStatistics:
    """Of the training images: of all that are in memory, else of some, decoded as for evaluation."""
    if isinstance(train.source, ArraySource):
        return statistics_of_array(train.source.inputs, train.indices)
    some = train.indices[torch.randperm(len(train), generator=draw)[:STATISTICS_SAMPLES]]
    batches = train.source.batches(torch.split(some, STATISTICS_BATCH), torch.device("cpu"))
    return ChannelStatistics().update_all(inputs for inputs, _ in batches)


def _overview(index: ImageIndex, decoding: Decoding) -> Overview:
    return Overview(
        [bytes(row) for row in index.facts["sha256"]],
        torch.from_numpy(index.thumbnails(decoding.rendering) / 255),
        torch.from_numpy(index.facts["uniform"].copy()),
        index.changed,
    )


def _old_decoding(index: ImageIndex, options: TaskOptions) -> Decoding:
    """As version 0.1 chose it, so that its runs go on reading the same pixels."""
    facts = index.facts[:: max(1, len(index) // PROBED)]
    stored = np.stack([facts["height"], facts["width"]], 1)
    lying = (facts["orientation"] >= 5) & (facts["format"] != b"TIFF")
    stored[lying] = stored[lying, ::-1]
    grey = bool(np.isin(facts["mode"], OLD_GREY_MODES).all())
    small = stored.max() <= SMALL_SIDE
    sizes = np.unique(stored, axis=0)
    side = OLD_SMALL_SIZE if small else OLD_LARGE_SIZE
    height, width = options.image_size or (side, side)
    if options.image_size is None and small and len(sizes) == 1:
        height, width = (int(size) for size in sizes[0])
    if small:
        return Decoding(height, width, grey=grey, random_crop=False, margin=1.0)
    steps = standard_augmentation(options.augment, (1 if grey else 3, height, width))
    return Decoding(height, width, grey=grey, random_crop=len(steps) > 0, mirror=len(steps) > 1)
