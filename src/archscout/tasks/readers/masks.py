"""Masks of images: from files whose values or colours are classes to a class at every position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.images import ImageSource, default_workers
from archscout.tasks.sources import Overview

__all__ = ["MaskedImages", "Masks", "place", "read_masks"]

Codes = np.ndarray[Any, np.dtype[np.int32]]
"""Of every position a value, or `COLOUR` with red, green and blue; `OUTSIDE` where there is no image."""

COLOUR = 1 << 24
OUTSIDE = -1
VOID = 255  # what many data sets give to positions of no class
MEMORY_LIMIT = 8 * 2**30  # bytes, while masks are read
MOST_CLASSES = 256
MANY_CLASSES = 64  # more are worth a warning: values may be numbers of objects, or depths
SMEARED = 32  # values so near to black or white are taken for it in files that are compressed with losses
SAME_ASPECT = 0.02
ORIENTATION = 0x0112  # EXIF


@dataclass(frozen=True)
class Masks:
    """Masks in memory.

    Attributes:
        classes: `(N, height, width)` int16; `IGNORED` where there is no image, or the ignored value.
        class_names: the values or colours, in the order of the classes.
        findings: what was mapped, and what is wrong.
        damaged: positions of masks that cannot be read or do not fit their images; their classes are all `IGNORED`.
    """

    classes: Tensor
    class_names: tuple[str, ...]
    findings: tuple[Finding, ...]
    damaged: tuple[int, ...]


@dataclass
class _Seen:
    """What single masks tell."""

    counts: Counter[int] = field(default_factory=Counter)
    damaged: dict[int, str] = field(default_factory=dict)
    resized: list[int] = field(default_factory=list)
    unlike: dict[int, str] = field(default_factory=dict)
    lossy: int = 0


def read_masks(
    root: Path,
    images: Sequence[str],
    masks: Sequence[str],
    decoding: Decoding,
    *,
    ignore: int | None = None,
    skip_damaged: bool = False,
) -> Masks:
    """The classes at the positions of images that are decoded as `decoding` says.

    Values, palette entries or colours that occur in any mask are the classes, in ascending order. A mask of another
    size than its image is brought to it without mixing values, if both have one aspect ratio.

    Args:
        images, masks: paths below the root; a mask for each image.
        ignore: a value that is no class.

    Raises:
        DataError: values that are no classes, or one of which may be none; the message asks.
    """
    seen = _Seen()
    size = 6 * len(masks) * decoding.height * decoding.width
    if size > MEMORY_LIMIT:
        raise DataError(
            f"{len(masks):,} masks of {decoding.height} x {decoding.width} take {size / 2**30:.1f} GiB of memory, more "
            f"than {MEMORY_LIMIT / 2**30:.0f}. Take a smaller --image-size."
        )
    codes = np.full((len(masks), decoding.height, decoding.width), OUTSIDE, np.int32)
    palettes = _has_one_palette(root, masks)

    def read(index: int) -> tuple[int, Counter[int], str, str]:
        try:
            mask, lossy = _open(root / masks[index], palettes)
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, MemoryError) as error:
            return index, Counter(), "damaged", " ".join(str(error).split())[:100]
        values, counts = _counts(mask)
        size = _size(root / images[index])
        state, detail = "lossy" if lossy else "", ""
        if size is not None and size != mask.shape[::-1]:
            ratio = (size[0] * mask.shape[0]) / (size[1] * mask.shape[1])
            detail = f"the image has {size[0]} x {size[1]} pixels, the mask {mask.shape[1]} x {mask.shape[0]}"
            if abs(ratio - 1) > SAME_ASPECT:
                return index, Counter(), "unlike", detail
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            state = "resized"
        codes[index] = place(mask, decoding)
        return index, Counter(dict(zip(values, counts, strict=True))), state, detail

    with ThreadPoolExecutor(max(1, default_workers())) as pool:
        for index, counts, state, detail in pool.map(read, range(len(masks))):
            seen.counts.update(counts)
            if state == "damaged":
                seen.damaged[index] = detail
            elif state == "unlike":
                seen.unlike[index] = detail
            elif state == "resized":
                seen.resized.append(index)
            seen.lossy += state == "lossy"
    findings = _findings_of_files(masks, seen, skip_damaged)
    damaged = tuple(sorted({*seen.damaged, *seen.unlike}))
    if len(damaged) == len(masks):
        raise DataError("\n".join([finding.message for finding in findings] + [f"  {name}" for name in masks[:3]]))
    classes, names, told = _classes_of(codes, seen, ignore)
    return Masks(torch.from_numpy(classes), names, (*findings, *told), damaged)


def place(mask: Codes, decoding: Decoding) -> Codes:
    """A mask of its image's size as `decode` places the image in evaluation; `OUTSIDE` where it has none."""
    height, width = mask.shape
    if (width, height) == (decoding.width, decoding.height):
        return mask
    picture = Image.fromarray(mask)
    if decoding.fit == "squeeze":
        return np.asarray(picture.resize((decoding.width, decoding.height), Image.Resampling.NEAREST))
    if decoding.fit == "pad":
        scale = min(decoding.width / width, decoding.height / height)
        if scale < 1 or decoding.enlarge:
            size = (
                min(decoding.width, max(1, round(width * scale))),
                min(decoding.height, max(1, round(height * scale))),
            )
            picture = picture.resize(size, Image.Resampling.NEAREST)
        frame = np.full((decoding.height, decoding.width), OUTSIDE, np.int32)
        left, top = (decoding.width - picture.width) // 2, (decoding.height - picture.height) // 2
        frame[top : top + picture.height, left : left + picture.width] = np.asarray(picture)
        return frame
    target_w, target_h = round(decoding.width * decoding.margin), round(decoding.height * decoding.margin)
    if target_w * height >= target_h * width:
        size = (target_w, max(target_h, int(target_w * height / width)))
    else:
        size = (max(target_w, int(target_h * width / height)), target_h)
    picture = picture.resize(size, Image.Resampling.NEAREST)
    left, top = round((size[0] - decoding.width) / 2), round((size[1] - decoding.height) / 2)
    return np.asarray(picture.crop((left, top, left + decoding.width, top + decoding.height)))


def _open(path: Path, one_palette: bool) -> tuple[Codes, bool]:
    """The codes of a mask's positions, and whether its format loses precision."""
    image: Image.Image
    with Image.open(path) as image:
        image.load()
        lossy = image.format in ("JPEG", "JPEG2000", "AVIF") or (image.format == "WEBP" and image.mode == "RGB")
        if image.mode == "P" and not one_palette:
            image = image.convert("RGB")
        if image.mode in ("1", "P"):
            return np.asarray(image).astype(np.int32), lossy
        if image.mode in ("PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa"):
            image = image.convert("RGB")
        array = np.asarray(image)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array % 1).any():
            raise ValueError("values with fractions, which are no classes")
        array = array.astype(np.int64)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        array = _without_alpha(array)
    if array.ndim == 3:
        red, green, blue = (array[..., channel].astype(np.int32) for channel in range(3))
        grey = bool((red == green).all() and (green == blue).all())
        array = red if grey else COLOUR + (red << 16) + (green << 8) + blue
    if array.max() >= 2 * COLOUR or array.min() < 0:
        raise ValueError(f"values from {array.min()} to {array.max()}, which are no classes")
    return np.ascontiguousarray(array, np.int32), lossy


def _counts(mask: Codes) -> tuple[list[int], list[int]]:
    """The values of a mask and how often each occurs."""
    if mask.max() < 2**16:  # counting is faster than sorting
        found = np.bincount(mask.ravel())
        values = np.flatnonzero(found)
        return values.tolist(), found[values].tolist()
    several, counts = np.unique(mask, return_counts=True)
    return several.tolist(), counts.tolist()


def _without_alpha(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Opacity says what belongs to the object where it varies and the colours do not; else it is left out."""
    alpha, colours = array[..., -1], array[..., :-1]
    if len(np.unique(alpha)) > 1 and (colours == colours.reshape(-1, colours.shape[2])[0]).all():
        return alpha
    return colours[..., 0] if colours.shape[2] == 1 else colours


def _has_one_palette(root: Path, masks: Sequence[str]) -> bool:
    """Whether all masks with palettes have the same: then a palette's entry means the same in all."""
    known: bytes | None = None
    for name in masks:
        try:
            with Image.open(root / name) as image:
                if image.mode != "P":
                    return True  # the first tells: files of one program have one mode
                palette = bytes(image.getpalette() or [])
        except (OSError, SyntaxError, ValueError):
            continue
        if known is None:
            known = palette
        short = min(len(known), len(palette))
        if known[:short] != palette[:short]:
            return False
    return True


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image as it is shown; None where it cannot be read, which its own reader says."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, MemoryError):
        return None


def _findings_of_files(masks: Sequence[str], seen: _Seen, skip_damaged: bool) -> list[Finding]:
    level, then = (
        ("doubtful", "They were left out with their images.")
        if skip_damaged
        else ("wrong", "Repair them, or go on without them with --skip-damaged.")
    )
    found = []
    for which, code, told in (
        (seen.damaged, "unreadable masks", "masks cannot be read"),
        (seen.unlike, "sizes of masks", "masks have another shape than their images"),
    ):
        if which:
            names = tuple(f"{masks[index]}: {why}" for index, why in sorted(which.items()))
            found.append(Finding(level, code, f"{len(which):,} {told}. {then}", names))  # type: ignore[arg-type]
    if seen.resized:
        names = tuple(masks[index] for index in seen.resized)
        message = (
            f"{len(names):,} masks have another size than their images, with the same aspect; they were resized to "
            f"it without mixing values: {some(names)}."
        )
        found.append(Finding("note", "sizes of masks", message, names))
    return found


def _classes_of(
    codes: Codes, seen: _Seen, ignore: int | None
) -> tuple[np.ndarray[Any, Any], tuple[str, ...], list[Finding]]:
    """Codes as classes from 0, their names, and what is to be said of it."""
    values = sorted(value for value in seen.counts if value != ignore)
    findings: list[Finding] = []
    if _is_smeared(seen, values):
        codes = np.where((codes >= 0) & (codes != _none(ignore)), np.where(codes < 128, 0, 255), codes)
        values = [0, 255]
        reason = "JPEG files" if seen.lossy else "smoothed edges"
        message = (
            f"the masks hold {len(seen.counts)} values, most of them near 0 or near 255, as {reason} have them: below "
            "128 is one class, the rest the other. Save masks as PNG, with one value for each class."
        )
        findings.append(Finding("doubtful", "values of masks", message))
    elif seen.lossy and len(values) > 2:
        raise DataError(
            f"{seen.lossy:,} masks are JPEG or the like, which mixes values: there are {len(values):,} different ones, "
            "so that classes cannot be told. Save the masks as PNG."
        )
    _check_values(values, ignore)
    names = tuple(_named(value) for value in values)
    if values != list(range(len(values))):
        listed = some([f"{name} is {label}" for label, name in enumerate(names)], 12)
        message = f"the {len(values)} values of the masks are the classes from 0: {listed}."
        findings.append(Finding("note", "values of masks", message))
    if len(values) > MANY_CLASSES:
        message = (
            f"the masks hold {len(values)} different values. If they are numbers of objects or depths, no class of "
            "them can be learnt."
        )
        findings.append(Finding("doubtful", "values of masks", message))
    if ignore is not None and ignore >= 0 and ignore not in seen.counts:
        message = f"no mask holds the value {ignore}, which is to be left out; they hold {some(names, 12)}."
        findings.append(Finding("doubtful", "ignored", message))
    elif ignore is not None and ignore >= 0:
        share = seen.counts[ignore] / max(1, sum(seen.counts.values()))
        findings.append(
            Finding("note", "ignored", f"positions of the value {ignore} are left out: {100 * share:.1f} %.")
        )
    order = np.array(values)
    classes = np.full(codes.shape, IGNORED, np.int16)
    for place, mask in enumerate(codes):
        known = (mask >= 0) & (mask != _none(ignore))
        classes[place, known] = np.searchsorted(order, mask[known])
    return classes, names, findings


def _none(ignore: int | None) -> int:
    return OUTSIDE if ignore is None else ignore


def _named(value: int) -> str:
    return str(value) if value < COLOUR else f"#{value - COLOUR:06x}"


def _is_smeared(seen: _Seen, values: Sequence[int]) -> bool:
    """Whether there are two classes, black and white, with other values between them at edges."""
    if len(values) < 3 or values[-1] > 255 or not (seen.lossy or len(values) > 8):
        return False
    black = sum(count for value, count in seen.counts.items() if value <= SMEARED)
    white = sum(count for value, count in seen.counts.items() if value >= 255 - SMEARED)
    return (
        black > 0 < white and black + white >= 0.95 * sum(seen.counts.values()) and values[0] < 8 and values[-1] > 247
    )


def _check_values(values: Sequence[int], ignore: int | None) -> None:
    if len(values) > MOST_CLASSES:
        what = "colours" if values[-1] >= COLOUR else "values"
        raise DataError(
            f"the masks hold {len(values):,} different {what}, from {_named(values[0])} to {_named(values[-1])}; "
            f"classes are at most {MOST_CLASSES}. Numbers of objects (instance segmentation) and depths are not served."
        )
    if len(values) < 2:
        there = f"only the value {_named(values[0])}" if values else "no value"
        raise DataError(f"the masks hold {there}, so that there is nothing to tell apart. Are these the masks?")
    rest = [value for value in values if value != VOID]
    if ignore is None and VOID in values and len(rest) > 1 and rest == list(range(rest[0], rest[0] + len(rest))):
        raise DataError(
            f"the masks hold the values {rest[0]} to {rest[-1]}, and {VOID}. If {VOID} means no class, leave it out "
            f"with --ignore {VOID}; if it is a class like the others, say --ignore -1"
        )


class MaskedImages:
    """Images from files with masks in memory.

    Args:
        images: a source whose targets are numbers of their own, all different.
        classes: `(N, height, width)`.
    """

    def __init__(self, images: ImageSource, classes: Tensor) -> None:
        self.images = images
        self.targets = classes
        self._places = torch.zeros(int(images.targets.max()) + 1, dtype=torch.int64)
        self._places[images.targets] = torch.arange(len(classes))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def names(self) -> Sequence[str]:
        """The paths of the images."""
        return self.images.names

    @property
    def overview(self) -> Overview | None:
        """What is known of the images' files."""
        return self.images.overview

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `(inputs, classes (N, height, width) int64)` for every index tensor."""
        for inputs, numbers in self.images.batches(indices, device, seed=seed):
            yield inputs, self.targets[self._places[numbers.cpu()]].to(device, torch.int64)
