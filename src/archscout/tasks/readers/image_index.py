"""A look at every image of a data set: sizes, modes, values, digests, thumbnails, and what cannot be read.

Every file is decoded once; what was found is kept in the user's cache, so that the next look reads only what changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from archscout.tasks.findings import Finding
from archscout.tasks.readers.image_cache import Known, recall, remember
from archscout.tasks.readers.image_formats import (
    FRAMED,
    UnreadableError,
    check_regular,
    load,
    open_checked,
    open_file,
    patient,
    unreadable,
)
from archscout.tasks.readers.images import default_workers
from archscout.tasks.readers.rendering import (
    EXIF_ORIENTATION,
    Rendering,
    deep_kind,
    deep_values,
    flat,
    is_grey,
    is_inverted,
    is_transparent,
    orientation,
    upright,
    visible_grey,
)

__all__ = ["FACTS", "THUMBNAIL", "ImageIndex", "index_images"]

Array = np.ndarray[Any, Any]

THUMBNAIL = 16  # pixels a side
FACTS = np.dtype(
    [
        ("size", "i8"),  # of the file, bytes
        ("mtime_ns", "i8"),  # of the last change of its content
        ("ctime_ns", "i8"),  # of the last change of its name, rights or content
        ("height", "i4"),  # as seen
        ("width", "i4"),
        ("mode", "S8"),  # Pillow's
        ("format", "S12"),  # Pillow's
        ("depth", "u1"),  # bits of a channel, as stored
        ("orientation", "u1"),  # EXIF, 1 to 8; 1 is upright
        ("frames", "i4"),
        ("grey", "?"),  # by mode or palette
        ("transparent", "?"),
        ("inverted", "?"),  # a deep image whose lowest value is white
        ("uniform", "?"),  # all pixels have one colour
        ("gaps", "?"),  # some values are not finite
        ("low", "f8"),  # smallest and largest stored value, over channels; as seen, where it is no deep image
        ("high", "f8"),
        ("darkest", "f8"),  # the same without the outermost thousandth of the pixels
        ("brightest", "f8"),
        ("visible", "f4"),  # of images with transparent pixels: mean grey value of the others; 0 where there are none
        ("sha256", "u1", (32,)),  # of the file
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),  # grey; of deep images, 0 is `low` and 255 is `high`
    ]
)
SMALL_FILE = 2**15  # bytes on average; below, Python's lock makes one thread the fastest
CHUNK = 256
KEY = ("size", "mtime_ns", "ctime_ns")  # what tells a file from another one of the same path
DRAFT = 4 * THUMBNAIL  # pixels a side that a JPEG file is decoded at least to, where it is larger
MOST_VALUES = 2**16  # that quantiles are taken of
OUTERMOST = 0.001
TIFF_BITS = 258


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """What is known of each image; all in the order of `names`.

    Attributes:
        root: folder of the files.
        names: paths below it.
        facts: `(N,)` of the fields of `FACTS`; of a file that cannot be read only sizes and times are known.
        reasons: why a file cannot be read; "" where it can.
    """

    root: Path
    names: tuple[str, ...]
    facts: Array
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def readable(self) -> Array:
        """`(N,)` bool."""
        return np.array([not reason for reason in self.reasons], bool)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of the files that cannot be read."""
        return tuple(name for name, reason in zip(self.names, self.reasons, strict=True) if reason)

    def select(self, positions: Array) -> ImageIndex:
        """The index of some of the files, by positions or a mask."""
        chosen = np.arange(len(self))[positions]
        return ImageIndex(
            self.root,
            tuple(self.names[position] for position in chosen),
            self.facts[chosen],
            tuple(self.reasons[position] for position in chosen),
        )

    def digests(self) -> list[str]:
        """SHA-256 of each file, in hexadecimal digits; "" where it cannot be read."""
        return [
            "" if reason else bytes(row).hex() for row, reason in zip(self.facts["sha256"], self.reasons, strict=True)
        ]

    def changed(self) -> list[str]:
        """The names of the files whose size or time of change is another now, or that are gone."""
        found = []
        for name, known in zip(self.names, self.facts, strict=True):
            try:
                now = (self.root / name).stat()
            except OSError:
                found.append(name)
                continue
            if (now.st_size, now.st_mtime_ns) != (known["size"], known["mtime_ns"]):
                found.append(name)
        return found

    def thumbnails(self, rendering: Rendering | None = None) -> Array:
        """Grey thumbnails `(N, 16, 16)` float32, 0 black to 255 white, of all images by one rule.

        Args:
            rendering: black and white of deep images; None stretches each of them to its own values.
        """
        grey: Array = self.facts["thumbnail"].astype(np.float32)
        if rendering is not None:
            for mode in np.unique(self.facts["mode"]):
                kind = deep_kind(mode.decode())
                known = {"integers": rendering.integers, "reals": rendering.reals}.get(kind)
                if known is not None:
                    own = self.facts["mode"] == mode
                    low, high = self.facts["low"][own, None, None], self.facts["high"][own, None, None]
                    values = low + grey[own] * ((high - low) / 255)
                    grey[own] = np.clip((values - known[0]) * (255 / (known[1] - known[0])), 0, 255)
        inverted = self.facts["inverted"]
        grey[inverted] = 255 - grey[inverted]
        return grey

    def damage(self, *, skip: bool) -> list[Finding]:
        """What to say of files that cannot be read: at most one finding, each file named with the reason.

        Args:
            skip: they are left out, as the user wishes.
        """
        told = tuple(f"{name}: {why}" for name, why in zip(self.names, self.reasons, strict=True) if why)
        if not told:
            return []
        one = len(told) == 1
        files = f"{len(told):,} of {len(self):,} images cannot be read"
        if len(told) == len(self):
            return [Finding("wrong", "damaged", f"none of {len(self):,} images below {self.root} can be read.", told)]
        if skip:
            return [Finding("doubtful", "damaged", f"{files} and {'is' if one else 'are'} left out.", told)]
        todo = f"Repair or remove {'it' if one else 'them'}, or go on without with --skip-damaged."
        return [Finding("wrong", "damaged", f"{files} (below {self.root}). {todo}", told)]


def index_images(root: Path, names: Sequence[str], *, workers: int | None = None) -> ImageIndex:
    """Look at every file: decode it, or find out why it cannot be decoded.

    What was found is kept in the user's cache for each file of the same path, size and times; see `image_cache`.

    Args:
        root: folder of the files.
        names: paths below it.
        workers: threads; None: as many as `images.default_workers()`.
    """
    root = root.absolute()
    facts = np.zeros(len(names), FACTS)
    reasons = [""] * len(names)
    for place, name in enumerate(names):
        try:
            found = check_regular(root / name)
        except UnreadableError as problem:
            reasons[place] = str(problem)
        else:
            facts[list(KEY)][place] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    new = _fill_in_known(recall(root, FACTS), names, facts, reasons)
    if new:
        passing = _look_at_all(root, names, new, facts, reasons, workers)
        keep = [place for place in range(len(names)) if facts["size"][place] and place not in passing]
        remember(root, [names[place] for place in keep], facts[keep], [reasons[place] for place in keep])
    return ImageIndex(root, tuple(names), facts, tuple(reasons))


def _fill_in_known(known: Known, names: Sequence[str], facts: Array, reasons: list[str]) -> list[int]:
    """Copy what is known of files that are as they were; returns the others, but those that are no files."""
    rows = np.array([known.rows.get(name, -1) for name in names], np.int64)
    same = rows >= 0
    for field in KEY:
        same[same] &= known.facts[field][rows[same]] == facts[field][same]
    facts[same] = known.facts[rows[same]]
    for place in np.flatnonzero(same).tolist():
        reasons[place] = known.reasons[rows[place]]
    return [place for place in np.flatnonzero(~same).tolist() if not reasons[place]]


def _look_at_all(
    root: Path, names: Sequence[str], new: Sequence[int], facts: Array, reasons: list[str], workers: int | None
) -> set[int]:
    """Fill in what is found of new files; returns those whose reason may pass, for example for want of memory."""
    passing: set[int] = set()

    def look(places: Sequence[int]) -> None:
        for place in places:
            try:
                _look(root / names[place], facts[place : place + 1])
            except UnreadableError as problem:
                reasons[place] = str(problem)
                if not problem.lasting:
                    passing.add(place)

    small = facts["size"][list(new)].mean() < SMALL_FILE
    threads = 1 if small else max(1, default_workers() if workers is None else workers)
    parts = [new[start : start + CHUNK] for start in range(0, len(new), CHUNK)]
    with patient(), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(look, parts):
            pass
    return passing


def _look(path: Path, facts: Array) -> None:
    """Fill in the facts `(1,)` of one file. Raises UnreadableError."""
    try:
        with open_file(path, int(facts["size"][0])) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
            _look_into(file, path.suffix, facts)
    except Exception as error:
        raise unreadable(error) from None
    facts["sha256"][0] = np.frombuffer(digest, np.uint8)


def _look_into(file: IO[bytes], suffix: str, facts: Array, *, whole: bool = False) -> None:
    """Fill in the facts of an open file; a large JPEG file is decoded at a fraction of its size unless `whole`."""
    with open_checked(file, suffix) as image:
        size, raw_mode = image.size, _raw_mode(image)
        facts["format"], facts["depth"], facts["frames"] = image.format, _depth(image, raw_mode), _frames(image)
        turned = _turned_by_pillow(image)
        if isinstance(image, JpegImageFile) and not whole:
            image.draft(None, (DRAFT, DRAFT))
        drafted = image.size != size
        load(image)
        if turned is not None:
            size, turn = image.size, turned if turned in range(1, 9) else 1  # damaged tags hold anything
        else:
            turn = orientation(image)
        facts["orientation"] = turn
        facts["width"], facts["height"] = size[::-1] if turn >= 5 and turned is None else size
        facts["mode"] = image.mode
        facts["grey"] = is_grey(image) or raw_mode.split(";")[0] == "LA"
        facts["transparent"], facts["inverted"] = is_transparent(image), is_inverted(image)
        (_deep_facts if deep_kind(image.mode) else _flat_facts)(image, facts)
    if drafted and facts["uniform"][0]:  # perhaps only the means of its blocks are equal
        file.seek(0)
        _look_into(file, suffix, facts, whole=True)


def _turned_by_pillow(image: ImageFile) -> Any:
    """The EXIF tag of formats whose images Pillow turns itself, and whose tag it then forgets; None for others."""
    return image.tag_v2.get(EXIF_ORIENTATION, 1) if isinstance(image, TiffImageFile) else None


def _raw_mode(image: ImageFile) -> str:
    """How pixels are stored, in Pillow's words, of an image that is not decoded yet; "" where it does not say."""
    args = image.tile[0].args if image.tile else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _depth(image: ImageFile, raw_mode: str) -> int:
    """Bits of a channel, as stored."""
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(TIFF_BITS, (1,))
        return min(255, int(max(bits if isinstance(bits, tuple) else (bits,))))
    if image.mode in ("1", "I", "F"):
        return 1 if image.mode == "1" else 32
    return 16 if "16" in raw_mode or "16" in image.mode else 8


def _frames(image: ImageFile) -> int:
    """How many images the file holds."""
    if image.format not in FRAMED:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a later one is damaged; only the first is used
        return 1


def _deep_facts(image: Image.Image, facts: Array) -> None:
    """Values and thumbnail of an image of more than 8 bits."""
    values = deep_values(image)
    known = values[np.isfinite(values)]
    if not len(known):
        raise UnreadableError("none of its values is a number")
    low, high = known.min(), known.max()
    facts["low"], facts["high"], facts["uniform"] = low, high, low == high
    facts["gaps"] = len(known) < values.size
    some = known[:: max(1, len(known) // MOST_VALUES)]
    facts["darkest"], facts["brightest"] = np.quantile(some, [OUTERMOST, 1 - OUTERMOST])
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.nan_to_num((values - low) * (255 / (high - low) if high > low else 0), nan=0, posinf=255, neginf=0)
    small = Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8)).resize((THUMBNAIL,) * 2, Image.Resampling.BOX)
    facts["thumbnail"] = np.asarray(upright(small, orientation(image)))


def _flat_facts(image: Image.Image, facts: Array) -> None:
    """Values and thumbnail of an image of at most 8 bits a channel."""
    shown = flat(image, Rendering())
    extremes = shown.getextrema()
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    facts["low"] = facts["darkest"] = min(band[0] for band in bands)
    facts["high"] = facts["brightest"] = max(band[1] for band in bands)
    facts["uniform"] = all(band[0] == band[1] for band in bands)
    facts["visible"] = visible_grey(image) if facts["transparent"][0] else 0
    small = shown.convert("L").resize((THUMBNAIL,) * 2, Image.Resampling.BOX)
    facts["thumbnail"] = np.asarray(upright(small, orientation(image)))
