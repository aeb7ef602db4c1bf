"""New samples from files, read as those of the training were, one after the other."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from archscout.deployment.array_rows import array_rows, as_given, fitted_series, in_layout
from archscout.deployment.card import ModelCard
from archscout.deployment.inputs import ARRAYS, Found
from archscout.deployment.series_rows import series_rows
from archscout.errors import DataError
from archscout.tasks.preparation import ArrayPreparation, ImagePreparation, Preparation, SoundPreparation
from archscout.tasks.readers.decoding import Decoding, decode, decode_image
from archscout.tasks.readers.file_tree import suffix_of
from archscout.tasks.readers.image_formats import check_regular, open_checked, open_file, patient
from archscout.tasks.readers.images import default_workers
from archscout.tasks.readers.rendering import Rendering, is_grey, orientation
from archscout.tasks.readers.sounds import clip
from archscout.tasks.readers.wav import inspect_wav

__all__ = ["NewSample", "Notes", "image_sample", "read_samples"]

Array = np.ndarray[Any, Any]
AHEAD = 64  # files that are read before they are needed
LYING = (5, 6, 7, 8)  # EXIF orientations that exchange height and width

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class NewSample:
    """A sample to predict.

    Attributes:
        name: as in the answer.
        below: a path for files that are written for it.
        given: as `Deployed` takes it, without the batch dimension; None where it cannot be read.
        error: why not.
        size: height and width of an image before it was brought to the network's size.
        last: whether it is the last one of its file.
    """

    name: str
    below: str
    given: Array | None
    error: str = ""
    size: tuple[int, int] | None = None
    last: bool = True


@dataclass
class Notes:
    """What is to be said of samples that were changed to fit, each kind once with its number."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, message: str, samples: int = 1) -> None:
        """One sample more of which the message holds; `{}` in it is their number."""
        self.counts[message] = self.counts.get(message, 0) + samples

    def lines(self) -> list[str]:
        """For people."""
        return [message.replace("{}", f"{count:,}") for message, count in self.counts.items()]


def read_samples(
    files: Iterable[Found], card: ModelCard, notes: Notes, *, key: str | None = None
) -> Iterator[NewSample]:
    """The samples of files, in order; those that cannot be read have an error in place of values.

    At most `AHEAD` images or sounds are held at a time, and one file of series or arrays.

    Args:
        card: of the network that they are for.
        notes: get what was changed.
        key: which array of `.npz` files; None: the one that fits.
    """
    preparation = card.preparation
    if preparation is None:
        raise DataError(f"the task {card.spec.name} prepares its samples in a way of its own; new ones cannot be read.")
    single: Callable[[Found], NewSample] | None = None
    if isinstance(preparation, ImagePreparation):
        decoding = Decoding.from_json(preparation.decoding)
        maps = card.spec.kind == "dense"
        single = lambda found: _image(found, decoding, notes, measured=maps)  # noqa: E731
    elif isinstance(preparation, SoundPreparation):
        single = lambda found: _sound(found, preparation, notes)  # noqa: E731
    elif isinstance(preparation, ArrayPreparation) and "H" in preparation.layout:
        single = lambda found: _image_as_array(found, preparation, card, notes)  # noqa: E731
    with patient():
        # Groups of files that hold one sample each are read by threads; others one after the other.
        for many, group in itertools.groupby(files, lambda found: single is None or _holds_many(found)):
            if many:
                for found in group:
                    yield from _samples_of(found, card, preparation, notes, key)
            else:
                assert single is not None, "such files are read by themselves"
                yield from _ahead(single, group)


def _holds_many(found: Found) -> bool:
    return suffix_of(found.path.name) in ARRAYS


def _ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` by threads, in order, some items ahead."""
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(max(1, default_workers())) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _failed(found: Found, error: Exception | str) -> NewSample:
    """A sample that cannot be read; its file stands in the row already."""
    text = " ".join(str(error).split())
    for prefix in (f"{found.path}: ", f"{found.path}, ", f"{found.path} "):
        text = text.removeprefix(prefix)
    return NewSample(found.name, found.below, None, text)


def _image(found: Found, decoding: Decoding, notes: Notes, *, measured: bool) -> NewSample:
    if found.error:
        return _failed(found, found.error)
    try:
        size = _look(found.path, decoding.grey, notes) if measured or decoding.grey else None
        pixels = decode(found.path, decoding)
    except DataError as error:
        return _failed(found, error)
    return NewSample(found.name, found.below, pixels.transpose(1, 2, 0), size=size)


def _look(path: Path, grey: bool, notes: Notes) -> tuple[int, int] | None:
    """Height and width of an image as it is shown; None where its reader will say why not."""
    try:
        with open_file(path, check_regular(path).st_size) as file, open_checked(file, path.suffix) as image:
            if grey and not is_grey(image):
                notes.add("{} images have colours; this network was trained on grey ones and sees them so.")
            lying = orientation(image) in LYING
            return (image.width, image.height) if lying else (image.height, image.width)
    except Exception:  # a damaged file can raise nearly anything
        return None


def image_sample(image: Image.Image, preparation: Preparation, card: ModelCard) -> Array:
    """A Pillow image as `Deployed` takes it.

    Raises:
        DataError: it cannot be decoded, or the network takes no images, or those of another size.
    """
    if isinstance(preparation, ImagePreparation):
        return decode_image(image, Decoding.from_json(preparation.decoding)).transpose(1, 2, 0)
    if isinstance(preparation, ArrayPreparation) and "H" in preparation.layout:
        height, width = _array_size(preparation, card)
        if (image.height, image.width) != (height, width):
            raise DataError(_other_size((image.height, image.width), (height, width)))
        return _pixels_as_array(decode_image(image, _array_decoding(card)), preparation, card)
    raise DataError(f"{card.spec.name} takes no images.")


def _array_size(preparation: ArrayPreparation, card: ModelCard) -> tuple[int, int]:
    height, width = card.spec.input_shape[1:]
    return height, width


def _array_decoding(card: ModelCard) -> Decoding:
    channels, height, width = card.spec.input_shape
    if channels not in (1, 3):
        raise DataError(f"this network takes images of {channels} channels as arrays (.npy); files have 1 or 3.")
    return Decoding(height, width, grey=channels == 1, fit="squeeze", rendering=Rendering())


def _other_size(seen: tuple[int, int], wanted: tuple[int, int]) -> str:
    return (
        f"it has {seen[0]} x {seen[1]} pixels; this network was trained on arrays of {wanted[0]} x {wanted[1]}. Bring "
        "it to that size as you did for the training."
    )


def _pixels_as_array(pixels: Array, preparation: ArrayPreparation, card: ModelCard) -> Array:
    """Pixels `(C, H, W)` uint8 in the layout and range of the arrays that the network was trained on."""
    values: Array = pixels if preparation.whole else pixels.astype(np.float32) * np.float32(preparation.divisor / 255)
    if preparation.layout == "NHW":
        values = values[0]
    elif preparation.layout == "NHWC":
        values = np.ascontiguousarray(values.transpose(1, 2, 0))
    return values


def _image_as_array(found: Found, preparation: ArrayPreparation, card: ModelCard, notes: Notes) -> NewSample:
    """An image file for a network that was trained on arrays of images."""
    if found.error:
        return _failed(found, found.error)
    try:
        decoding, wanted = _array_decoding(card), _array_size(preparation, card)
        size = _look(found.path, decoding.grey, notes)
        pixels = decode(found.path, decoding)
    except DataError as error:
        return _failed(found, error)
    if size is not None and size != wanted:
        return _failed(found, _other_size(size, wanted))
    return NewSample(found.name, found.below, _pixels_as_array(pixels, preparation, card), size=size)


def _sound(found: Found, preparation: SoundPreparation, notes: Notes) -> NewSample:
    if found.error:
        return _failed(found, found.error)
    settings = preparation.settings
    try:
        file = inspect_wav(found.path)
        samples = clip(file, settings)
    except DataError as error:
        return _failed(found, error)
    if file.rate != settings.rate:
        notes.add(f"{{}} recordings of another rate were resampled to {settings.rate:,} Hz, as in training.")
    if file.seconds > settings.seconds * (1 + 1e-3):
        notes.add(f"{{}} recordings are longer than {settings.seconds:g} seconds: their middle was used.")
    elif file.seconds < settings.seconds * (1 - 1e-3):
        notes.add(f"{{}} recordings are shorter than {settings.seconds:g} seconds: silence follows them.")
    return NewSample(found.name, found.below, samples)


def _samples_of(
    found: Found, card: ModelCard, preparation: Preparation, notes: Notes, key: str | None
) -> Iterator[NewSample]:
    """The samples of a file that holds several."""
    if found.error:
        yield _failed(found, found.error)
        return
    try:
        if suffix_of(found.path.name) in ARRAYS:
            rows: Iterator[tuple[str, Any]] = array_rows(found.path, preparation, card, key, notes.add)
        else:
            assert isinstance(preparation, ArrayPreparation), "other files hold one sample each"
            file, rows = series_rows(found.path, preparation)
            labels = sum(target is not None for target in file.targets)
            if labels:
                notes.add("{} series have targets, which are not looked at.", labels)
        previous: NewSample | None = None
        for label, values in rows:
            if previous is not None:
                yield previous
            previous = _row(found, label, values, preparation, card, notes)
        if previous is not None:
            yield NewSample(**{**vars(previous), "last": True})
    except DataError as error:
        yield _failed(found, error)


def _row(found: Found, label: str, values: Any, preparation: Preparation, card: ModelCard, notes: Notes) -> NewSample:
    stem = found.name[: len(found.name) - len(found.path.suffix)] if label else found.name
    name, below = f"{stem}{label}", f"{found.below}{label}"
    try:
        if isinstance(values, DataError):
            raise values
        if isinstance(preparation, ArrayPreparation) and suffix_of(found.path.name) not in ARRAYS:
            values = in_layout(fitted_series(values, preparation, card, notes.add), preparation)
        else:
            values = as_given(values, preparation, card, notes.add)
        return NewSample(name, below, values, last=False)
    except DataError as error:
        return NewSample(name, below, None, str(error), last=False)
