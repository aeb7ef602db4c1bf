"""Rows of arrays as an exported network takes them: axes, range and length as in the training, or refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from archscout.deployment.card import ModelCard
from archscout.deployment.inputs import is_series
from archscout.errors import DataError
from archscout.tasks.findings import some
from archscout.tasks.preparation import ArrayPreparation, ImagePreparation, Preparation, SoundPreparation
from archscout.tasks.readers.decoding import Decoding, decode_image
from archscout.tasks.readers.series import fill_gaps, padded_cases

__all__ = ["array_rows", "as_given", "fitted_series", "in_layout"]

Array = np.ndarray[Any, Any]
Note = Callable[[str], None]
READ_ERRORS = (ValueError, OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)
# Of several arrays that fit, the first of these is new data rather than the others.
NEW_FIRST = ("x", "x_new", "new", "x_unlabelled", "unlabelled", "images", "data", "inputs", "x_test", "test_images")


def array_rows(
    path: Path, preparation: Preparation, card: ModelCard, key: str | None, note: Note
) -> Iterator[tuple[str, Array]]:
    """The rows of a `.npy` or `.npz` file, with what stands behind the file's name: `[5]`, or `/x_test[5]`.

    A `.npy` file is read while it is used. Of an `.npz` file the array is taken that fits the network.

    Raises:
        DataError: damaged, Python objects, or no array that fits; the message tells the shapes.
    """
    if path.suffix.lower() == ".npy":
        array, label = _load(path, mapped=True), ""
    else:
        name, array = _of_archive(path, preparation, card, key, note)
        label = "" if name in ("arr_0", "x", "X") else f"/{name}"
    wanted = preparation.given_shape(card.spec.input_shape)
    if array.dtype.kind not in "buif":
        raise DataError(f"holds values of type {array.dtype}; allowed are numbers.")
    if _fits(array.shape, preparation, card) or array.ndim == 0:
        yield label, np.asarray(array)
        return
    if not len(array):
        raise DataError(f"is empty: its shape is {array.shape}.")
    if not _fits(array.shape[1:], preparation, card):
        raise DataError(_other_shape(array.shape, wanted))
    for place in range(len(array)):
        yield f"{label}[{place}]", np.asarray(array[place])


def _load(path: Path, *, mapped: bool) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        return array
    except READ_ERRORS as error:
        raise _explained(error, "numpy.save") from None


def _explained(error: Exception, writer: str) -> DataError:
    if "pickle" in str(error).lower() or "object" in str(error).lower():
        return DataError(
            "holds Python objects, which are refused because loading them can run code. Save plain arrays (dtype not "
            "object)."
        )
    if isinstance(error, MemoryError):
        return DataError("does not fit into memory.")
    return DataError(f"truncated or no array of numpy ({error}). Write it again with {writer}.")


def _of_archive(
    path: Path, preparation: Preparation, card: ModelCard, key: str | None, note: Note
) -> tuple[str, Array]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError("holds a single array, not an .npz archive; give it the suffix .npy.")
            if key is not None and key not in file.files:
                raise DataError(f"has no array '{key}'; it has {some(file.files, 8)}.")
            arrays: dict[str, Array] = {}
            faults: list[str] = []
            for name in [key] if key is not None else file.files:
                try:
                    array = file[name]
                except READ_ERRORS as error:
                    faults.append(f"array {name}: {_explained(error, 'numpy.savez')}")
                    continue
                arrays[name] = array
    except READ_ERRORS as error:
        raise _explained(error, "numpy.savez") from None
    if key is not None and key in arrays:
        return key, arrays[key]
    fitting = [
        name
        for name, array in arrays.items()
        if array.dtype.kind in "buif" and array.ndim and _fits(array.shape[1:], preparation, card)
    ]
    if not fitting and faults:
        raise DataError(faults[0])
    if not fitting:
        shapes = some([f"{name} {array.shape}" for name, array in arrays.items()], 8) or "no array"
        wanted = preparation.given_shape(card.spec.input_shape)
        raise DataError(f"no array fits this network, which takes (N, {_sizes(wanted)}); there is {shapes}.")
    lower = {name.lower(): name for name in reversed(fitting)}
    chosen = next((lower[name] for name in NEW_FIRST if name in lower), None)
    if chosen is None and len(fitting) > 1:
        raise DataError(f"has several arrays that fit: {some(fitting, 8)}. Name one: --key {fitting[0]}")
    name = chosen or fitting[0]
    if len(fitting) > 1:
        note(f"{path}: of the arrays that fit ({some(fitting, 8)}), {name} is predicted. Another one: --key NAME")
    return name, arrays[name]


def _sizes(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def _other_shape(seen: Sequence[int], wanted: Sequence[int]) -> str:
    return f"has the shape ({_sizes(seen)}); this network takes (N, {_sizes(wanted)}), as its training data had."


def _fits(shape: Sequence[int], preparation: Preparation, card: ModelCard) -> bool:
    """Whether a sample may have that shape."""
    shape = tuple(shape)
    if isinstance(preparation, ImagePreparation):
        return len(shape) == 2 or (len(shape) == 3 and (shape[2] in (1, 3, 4) or shape[0] in (1, 3, 4)))
    if isinstance(preparation, SoundPreparation):
        return len(shape) == 1
    if is_series(preparation):
        # The length is told of each sample, so that a longer one is an error of its own.
        return len(shape) == 2 or (len(shape) == 1 and card.spec.input_shape[0] == 1)
    return _moved(np.empty(shape, np.uint8), preparation.given_shape(card.spec.input_shape)) is not None


def _moved(values: Array, wanted: Sequence[int]) -> Array | None:
    """The values with their axes in the wanted order, where a single channel or its place is all that differs."""
    wanted = tuple(wanted)
    if values.shape == wanted:
        return values
    if values.ndim == 3 and len(wanted) == 3:
        for moved in (values.transpose(1, 2, 0), values.transpose(2, 0, 1)):
            if moved.shape == wanted:
                return moved
    if len(wanted) == 3 and values.ndim == 2 and 1 in (wanted[0], wanted[2]):
        return values.reshape(wanted) if values.shape == tuple(size for size in wanted if size != 1) else None
    if len(wanted) == 2 and values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        flat = values[0] if values.shape[0] == 1 else values[..., 0]
        return flat if flat.shape == wanted else None
    return None


def as_given(values: Array, preparation: Preparation, card: ModelCard, note: Note) -> Array:
    """A sample as `Deployed` takes it.

    Args:
        note: gets what was changed.

    Raises:
        DataError: of another shape, range or type than the network was trained on.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "buif":
        raise DataError(f"holds values of type {values.dtype}; allowed are numbers.")
    if isinstance(preparation, ImagePreparation):
        return _as_image(values, preparation)
    if isinstance(preparation, SoundPreparation):
        return _as_sound(values, preparation.settings.length)
    if not isinstance(preparation, ArrayPreparation):
        raise DataError(f"{card.spec.name} takes no arrays.")
    if is_series(preparation):
        return _as_series(values, preparation, card, note)
    wanted = preparation.given_shape(card.spec.input_shape)
    moved = _moved(values, wanted)
    if moved is None:
        raise DataError(f"has the shape ({_sizes(values.shape)}); this network takes ({_sizes(wanted)}).")
    if values.shape != tuple(wanted):
        note(f"{{}} samples had their axes in another order and were read as ({_sizes(wanted)}).")
    return np.ascontiguousarray(_in_range(moved, preparation))


def _in_range(values: Array, preparation: ArrayPreparation) -> Array:
    if preparation.whole:
        if values.dtype == np.bool_:
            return values.astype(np.uint8) * np.uint8(255)
        small = values.astype(np.float64)
        if not ((small >= 0) & (small <= 255) & (small == np.rint(small))).all():
            raise DataError(
                f"has values from {values.min():g} to {values.max():g}; this network takes whole numbers from 0 to 255."
            )
        return values.astype(np.uint8)
    floats = values.astype(np.float32)
    if not np.isfinite(floats).all():
        raise DataError("has values that are not finite. Remove or repair it.")
    if preparation.divisor == 1 and values.dtype == np.uint8 and values.max(initial=0) > 1:
        raise DataError(
            f"has whole numbers up to {values.max()}, but this network was trained on floating-point values. Scale "
            "them as you did for the training, and give floats."
        )
    return floats


def _as_image(values: Array, preparation: ImagePreparation) -> Array:
    decoding = Decoding.from_json(preparation.decoding)
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(f"has the shape ({_sizes(values.shape)}); an image has (H, W) or (H, W, C).")
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype != np.uint8 and values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= 255:
        values = values.astype(np.uint8)
    if values.dtype == np.uint16 and values.ndim == 2:
        return decode_image(Image.fromarray(values), decoding).transpose(1, 2, 0)
    if values.dtype != np.uint8:
        raise DataError(f"holds {values.dtype}; this network takes pixels as uint8, 0 to 255.")
    return decode_image(Image.fromarray(np.ascontiguousarray(values)), decoding).transpose(1, 2, 0)


def _as_sound(values: Array, length: int) -> Array:
    if values.ndim != 1:
        raise DataError(f"has the shape ({_sizes(values.shape)}); a sound has one axis, its samples.")
    if values.dtype == np.int16:
        values = values.astype(np.float32) / 32768
    if values.dtype.kind != "f":
        raise DataError(f"holds {values.dtype}; samples of a sound are floats in [-1, 1], or int16.")
    if len(values) > length:
        raise DataError(f"has {len(values):,} samples; this network takes {length:,} at its own rate. Cut it.")
    floats = values.astype(np.float32)
    if not np.isfinite(floats).all():
        raise DataError("has values that are not finite. Remove or repair it.")
    return np.pad(floats, (0, length - len(floats)))


def _as_series(values: Array, preparation: ArrayPreparation, card: ModelCard, note: Note) -> Array:
    if values.ndim == 1:
        case = values[np.newaxis]
    elif preparation.layout == "NLC":
        case = values.T
    else:
        case = values
    if case.ndim != 2:
        raise DataError(f"has the shape ({_sizes(values.shape)}); a series has channels and steps.")
    return in_layout(fitted_series(case, preparation, card, note), preparation)


def in_layout(series: Array, preparation: ArrayPreparation) -> Array:
    """A series `(channels, steps)` with its axes as in the arrays of the training."""
    first: Array = series[0]
    if preparation.layout == "NL":
        return first
    return np.ascontiguousarray(series.T) if preparation.layout == "NLC" else series


def fitted_series(case: Array, preparation: ArrayPreparation, card: ModelCard, note: Note) -> Array:
    """A series `(channels, steps)` with gaps filled and of the network's length, `(channels, length)` float32.

    Raises:
        DataError: another number of channels, longer than in the training, or infinite.
    """
    channels, length = card.spec.input_shape
    if len(case) != channels:
        raise DataError(f"has {len(case)} channels; this network takes {channels}.")
    if case.shape[1] > length:
        raise DataError(f"has {case.shape[1]:,} steps; the longest series of the training has {length:,}.")
    if case.shape[1] == 0:
        raise DataError("has no values.")
    fill = np.asarray(preparation.fill or card.mean or (0.0,) * channels, np.float32)
    with np.errstate(over="ignore"):
        series = case.astype(np.float32)
    if np.isinf(series).any():
        raise DataError("has a value that is infinite, or too large for 32 bits.")
    if fill_gaps(series, preparation.empty or fill.tolist()):
        note("{} series had missing values, which were filled by straight lines.")
    if series.shape[1] == length:
        return series
    note(f"{{}} series are shorter than {length:,} steps and were padded at their end, as in training.")
    padded: Array = padded_cases([series], length, fill)[0]
    return padded
