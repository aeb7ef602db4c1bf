"""How the images of a data set are decoded: one rule for all, from a look at each of them, and what to say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from archscout.tasks.findings import Finding
from archscout.tasks.options import Fit, TaskOptions
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.image_index import ImageIndex
from archscout.tasks.readers.rendering import Range, Rendering
from archscout.tasks.transforms import standard_augmentation

__all__ = ["SMALL_SIDE", "choose_decoding", "choose_rendering", "choose_size"]

Array = np.ndarray[Any, Any]

SMALL_SIDE = 64  # pixels; only larger images are cropped at random to a part of their area
LARGE_SIDE = 256  # pixels; larger images are reduced
CROP_SIDE = 224  # what large images are cropped to, as published for ImageNet
SHORT_SIDE = 32  # pixels that the shorter side of long images keeps at least, where it has so many
MOST_PIXELS = LARGE_SIDE**2  # of long images
LEAST_SIDE = 4  # pixels; what the two or three reductions of the networks need
SAME_RATIO = 0.01  # difference of aspect ratios, as a logarithm, that rounding to whole pixels makes
SPREAD = 1.25  # sizes up to so many times the median are padded to the largest
# Values of white that are usual: 8, 10, 12, 14 and 16 bits; of floating numbers, those that 0..1 and 8 or 16 bits give.
WHITES = {"integers": (255.0, 1023.0, 4095.0, 16383.0, 65535.0), "reals": (1.0, 255.0, 65535.0)}
DARK = 16  # white over the brightest value seen, from which a usual white would leave most of the grey levels unused
TOLERANCE = 1.001  # of rounding in floating numbers
SCALED = (b"PPM", b"JPEG2000")  # formats that name their white; Pillow brings it to 65535
WORDS = {"integers": "of more than 8 bits", "reals": "of floating numbers"}


def choose_decoding(index: ImageIndex, options: TaskOptions) -> tuple[Decoding, list[Finding]]:
    """The decoding of a data set.

    Args:
        index: of its images; all can be read.
        options: `image_size`, `fit`, `value_range` and `augment` say what the images do not.

    Returns:
        The decoding, and what was seen and decided; findings of level "wrong" where `value_range` must be given.
    """
    rendering, values = choose_rendering(index, options)
    decoding, sizes = choose_size(index, options)
    return replace(decoding, rendering=rendering), [*values, *sizes]


def choose_rendering(index: ImageIndex, options: TaskOptions) -> tuple[Rendering, list[Finding]]:
    """Black, white and background, from the values of all images."""
    facts = index.facts
    modes = facts["mode"]
    own = {"integers": np.char.startswith(modes, b"I"), "reals": modes == b"F"}
    given, findings, ranges = options.value_range, _notes(index), dict[str, Range | None]()
    for kind, mask in own.items():
        ranges[kind], told = _range_of(kind, index.select(mask), given) if mask.any() else (None, [])
        findings += told
    flat = ~(own["integers"] | own["reals"])
    if flat.any():
        only = given if flat.all() else None
        ranges["bytes"] = only
        findings += _said_of_bytes(index.select(flat), only)
    background, told = _background(index)
    return Rendering(**ranges, background=background), [*findings, *told]


def _range_of(kind: str, index: ImageIndex, given: Range | None) -> tuple[Range | None, list[Finding]]:
    """Black and white of deep images of one kind, and what to say."""
    facts = index.facts
    low, high = float(facts["low"].min()), float(facts["high"].max())
    images = f"{_images(len(index))} {WORDS[kind]}"
    seen = f"the values of {images} go from {low:g} to {high:g}"
    if given is not None:
        return given, _said_of_given(images, given, facts) + _said_of_range(images, given, facts)
    if low < 0:
        ask = f"say so with --value-range LOW,HIGH, for example --value-range={low:g},{high:g}"
        names = index.select(facts["low"] < 0).names
        return None, [
            Finding("wrong", "value range", f"{seen}; nothing tells which values are black and white: {ask}.", names)
        ]
    if kind == "integers" and np.isin(facts["format"], SCALED).all():
        chosen = (0.0, WHITES[kind][-1])
    elif kind == "integers" and (facts["depth"] == 12).all():
        chosen = (0.0, 4095.0)
    else:
        chosen = (0.0, _white(kind, high))
    return chosen, [
        Finding("note", "values", f"{seen}: {chosen[0]:g} is read as black, {chosen[1]:g} as white."),
        *_said_of_range(images, chosen, facts),
    ]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _white(kind: str, high: float) -> float:
    """The usual white that the largest value points to; else the largest value itself."""
    usual = next((white for white in WHITES[kind] if high <= white * TOLERANCE), None)
    if usual is None or 0 < high < usual / DARK:
        return high
    return usual


def _said_of_given(images: str, given: Range, facts: Array) -> list[Finding]:
    """What the user's black and white make of images."""
    low, high = float(facts["low"].min()), float(facts["high"].max())
    told = f"the values of {images} go from {low:g} to {high:g}: "
    if high <= given[0] or low >= given[1]:
        told += f"with --value-range={given[0]:g},{given[1]:g} all of them would have one colour."
        return [Finding("wrong", "value range", told)]
    told += f"{given[0]:g} is read as black, {given[1]:g} as white, as you say."
    return [Finding("note", "values", told)]


def _said_of_range(images: str, chosen: Range, facts: Array) -> list[Finding]:
    """Where black and white leave little of what nearly all images hold."""
    low, high = float(facts["darkest"].min()), float(facts["brightest"].max())
    black, white = chosen
    used = max(0.0, min(high, white) - max(low, black)) / (white - black)
    if used * DARK >= 1 or high == low:
        return []
    message = (
        f"nearly all values of {images} lie between {low:g} and {high:g}: {max(1, round(256 * used))} of 256 grey "
        f"levels between {black:g} and {white:g}. --value-range={low:g},{high:g} would use all."
    )
    return [Finding("doubtful", "values", message)]


def _said_of_bytes(index: ImageIndex, given: Range | None) -> list[Finding]:
    """What to say of images of 8 bits a channel."""
    facts, images = index.facts, f"{_images(len(index))} of 8 bits"
    findings = []
    deep = int((facts["depth"] == 16).sum())
    if deep:
        told = f"of {_images(deep)} with 16 bits in each of several channels the upper 8 are used."
        findings.append(Finding("note", "values", told))
    if given is not None:
        return [*findings, *_said_of_given(images, given, facts), *_said_of_range(images, given, facts)]
    high = int(facts["high"].max())
    if 0 < high < 256 / DARK:
        told = f"all values of {images} are below {high + 1} of 255; --value-range=0,{high} would use all grey levels."
        findings.append(Finding("doubtful", "values", told))
    return findings


def _background(index: ImageIndex) -> tuple[int, list[Finding]]:
    """White behind what is transparent, or black where the images themselves are white."""
    clear = index.facts["transparent"]
    if not clear.any():
        return 255, []
    background = 0 if float(np.median(index.facts["visible"][clear])) > 200 else 255
    names = index.select(clear).names
    name = "black" if background == 0 else "white"
    told = f"{_images(len(names))} with transparent pixels are seen before {name}."
    return background, [Finding("note", "transparent", told, names)]


def _notes(index: ImageIndex) -> list[Finding]:
    """What is done with single images: turned, inverted, reduced to the first frame, brought to colour."""
    facts = index.facts
    several = facts["frames"] > 1
    cases = (
        ("turned", facts["orientation"] > 1, "are turned upright, as their EXIF tag says"),
        ("inverted", facts["inverted"], "say that their lowest value is white, and are read so"),
        ("frames", several, "hold several frames or pages; the first is used"),
        ("values", facts["gaps"], "have values that are no finite numbers; they are read as black or white"),
    )
    found = []
    for code, mask, told in cases:
        names = index.select(mask).names
        if names:
            found.append(Finding("note", code, f"{len(names):,} of {len(index):,} images {told}.", names))
    colour = ~facts["grey"]
    if colour.any() and not colour.all():
        names = index.select(colour if 2 * colour.sum() < len(colour) else ~colour).names
        told = f"{int(colour.sum()):,} of {len(index):,} images are in colour, the others grey; all are read in colour."
        found.append(Finding("note", "colour", told, names))
    return found


def choose_size(index: ImageIndex, options: TaskOptions) -> tuple[Decoding, list[Finding]]:
    """Size and fit, from the sizes of all images."""
    facts = index.facts
    heights, widths = facts["height"].astype(np.int64), facts["width"].astype(np.int64)
    grey = bool(facts["grey"].all())
    sizes = np.unique(np.stack([heights, widths], 1), axis=0)
    alike = _alike(heights, widths, options.image_size)
    fit: Fit = options.fit or ("squeeze" if alike else "pad")
    if options.image_size is not None:
        height, width = options.image_size
    elif fit == "crop" and (len(sizes) > 1 or sizes.max() > CROP_SIDE):
        side = int(min(CROP_SIDE, max(LEAST_SIDE, np.median(np.minimum(heights, widths)))))
        height = width = side
    else:
        height, width = _common(heights, widths, whole=fit == "pad" and not alike)
    if options.image_size is None and min(height, width) < LEAST_SIDE:
        height, width, fit = max(height, LEAST_SIDE), max(width, LEAST_SIDE), "pad"
    cropped = fit == "crop" and max(height, width) > SMALL_SIDE
    steps = standard_augmentation(options.augment, (1 if grey else 3, height, width)) if cropped else ()
    decoding = Decoding(
        height,
        width,
        grey=grey,
        random_crop=len(steps) > 0,
        mirror=len(steps) > 1,
        margin=Decoding.margin if cropped else 1.0,
        fit=fit,
        enlarge=options.image_size is not None,
    )
    return decoding, _said_of_sizes(sizes, decoding)


def _alike(heights: Array, widths: Array, size: tuple[int, int] | None) -> bool:
    """Whether all have the same aspect ratio, that of `size` where it is given."""
    ratios = np.log(widths / heights)
    wanted = np.median(ratios) if size is None else np.log(size[1] / size[0])
    return bool((np.abs(ratios - wanted) < SAME_RATIO).all())


def _common(heights: Array, widths: Array, *, whole: bool) -> tuple[int, int]:
    """Height and width for all: the median; with `whole` the largest, where they differ little; large ones reduced."""
    height, width = float(np.median(heights)), float(np.median(widths))
    if whole and heights.max() <= SPREAD * height and widths.max() <= SPREAD * width:
        height, width = float(heights.max()), float(widths.max())
    long, short = max(height, width), min(height, width)
    scale = min(1.0, LARGE_SIDE / long)
    if short * scale < SHORT_SIDE:  # a long strip would lose what is on it
        scale = min(1.0, SHORT_SIDE / short, (MOST_PIXELS / (height * width)) ** 0.5)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _said_of_sizes(sizes: Array, decoding: Decoding) -> list[Finding]:
    """What happens to images that have another size than the result."""
    height, width = decoding.height, decoding.width
    if len(sizes) == 1 and tuple(sizes[0]) == (height, width):
        return []
    first, last = sizes[np.lexsort((sizes[:, 1], sizes[:, 0] * sizes[:, 1]))[[0, -1]]]
    seen = (
        f"images of {len(sizes):,} sizes, {first[0]} x {first[1]} to {last[0]} x {last[1]}"
        if len(sizes) > 1
        else f"images of {first[0]} x {first[1]}"
    )
    larger = bool(((sizes[:, 0] > height) | (sizes[:, 1] > width)).any())
    done = {
        "crop": "resized and cropped",
        "squeeze": "resized",
        "pad": ("enlarged or reduced, " if decoding.enlarge else "reduced where they are larger, " if larger else "")
        + "padded with the colour of their border",
    }[decoding.fit]
    told = f"{seen} (height x width) are {done} to {height} x {width}; --image-size and --fit change that."
    return [Finding("note", "size", told)]
