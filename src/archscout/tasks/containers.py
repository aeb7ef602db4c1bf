"""Whatever holds values becomes a numpy array: tensors of any kind, frames, masked arrays, lists of arrays or images.

Nothing is changed on the way. What cannot be an array of numbers or texts is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archscout.errors import DataError

__all__ = ["Array", "Ragged", "as_array", "is_missing", "shape_text"]

Array = np.ndarray[Any, Any]
NUMBER_KINDS = "buif"
SCALARS = (bool, int, float, complex, np.generic)


class Ragged(list[Array]):
    """Samples of unequal shapes, one array each."""


@runtime_checkable
class _ToNumpy(Protocol):  # series and frames of pandas and polars, arrays of pyarrow
    def to_numpy(self) -> Any: ...


def shape_text(shape: Sequence[int]) -> str:
    """A shape for people: `28 x 28 x 3`."""
    return " x ".join(str(size) for size in shape) or "one value"


def is_missing(value: Any) -> bool:
    """Whether a value stands for "not known": None, NaN, pandas' NA and NaT, masked, a text of spaces."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str | bytes):
        return not value.strip()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def as_array(values: Any, where: str) -> Array | Ragged:
    """The values as an array of numbers or text (dtype object where values are missing or mixed), or as ragged samples.

    Args:
        values: array, tensor, frame, masked array, Pillow image, or nested lists of those; whatever has `__array__`.
        where: its name, for messages.

    Raises:
        DataError: no array, or one of complex numbers, records, dates or foreign objects.
    """
    if isinstance(values, Tensor):
        found: Array | Ragged = _of_tensor(values, where)
    elif isinstance(values, np.ma.MaskedArray):
        found = _of_masked(values)
    elif isinstance(values, np.ndarray):
        found = _of_objects(values, where) if values.dtype.kind == "O" else values
    elif isinstance(values, Image.Image):
        found = np.asarray(values)  # as stored: of a mask, the numbers of its classes
    elif values is None or isinstance(values, str | bytes | Mapping | set | frozenset):
        raise DataError(
            f"{where} is {_told(values)}; give an array, a tensor or a list with one entry for each sample."
        )
    elif isinstance(values, list | tuple):
        found = _of_sequence(list(values), where)
    else:
        found = _of_foreign(values, where)
    if isinstance(found, Ragged):
        return found
    return _checked(found, where)


def _told(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _of_tensor(tensor: Tensor, where: str) -> Array | Ragged:
    if tensor.is_nested:
        return _of_sequence(list(tensor.detach().unbind()), where)
    if tensor.device.type == "meta":
        raise DataError(f"{where} is a tensor on the device meta, which has a shape but no values; give the values.")
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.cpu().resolve_conj().resolve_neg()
    if tensor.dtype in (torch.float16, torch.float32, torch.float64) or not tensor.is_floating_point():
        return tensor.numpy()
    return tensor.to(torch.float32).numpy()  # bfloat16 and the types of 8 bits, which numpy does not have


def _of_masked(values: np.ma.MaskedArray[Any, Any]) -> Array:
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return np.asarray(values.data)
    found = values.data.astype(object)
    found[mask] = None
    return found


def _of_foreign(values: Any, where: str) -> Array | Ragged:
    """Frames, and whatever else can become an array."""
    try:
        array = np.asarray(values.to_numpy() if isinstance(values, _ToNumpy) else values)
    except Exception as error:  # foreign code, which may raise anything
        raise DataError(f"{where} is {_told(values)}, which does not become an array ({error}).") from None
    if array.ndim == 0:
        raise DataError(
            f"{where} is {_told(values)}; give an array, a tensor or a list with one entry for each sample."
        )
    return _of_objects(array, where) if array.dtype.kind == "O" else array


def _of_objects(array: Array, where: str) -> Array | Ragged:
    if array.ndim == 1:
        return _of_sequence(array.tolist(), where)
    flat = _of_sequence(array.ravel().tolist(), where)
    if isinstance(flat, Ragged) or flat.ndim > 1:
        raise DataError(f"{where} holds values of type object: arrays inside of an array of {shape_text(array.shape)}.")
    return flat.reshape(array.shape)


def _of_sequence(items: list[Any], where: str) -> Array | Ragged:
    if not items:
        return np.zeros(0)
    if (regular := _of_numbers(items)) is not None:
        return regular
    if all(_is_scalar(item) for item in items):
        return _of_scalars(items, where)
    alone = next((index for index, item in enumerate(items) if _is_scalar(item)), None)
    if alone is not None:
        other = next(item for item in items if not _is_scalar(item))
        raise DataError(
            f"{where}[{alone}] is {items[alone]!r}, but other entries are like {_told(other)}; mixed forms."
        )
    arrays = []
    for index, item in enumerate(items):
        array = as_array(item, f"{where}[{index}]")
        if isinstance(array, Ragged):
            sizes = sorted({len(part) if part.ndim else 1 for part in array})
            raise DataError(
                f"{where}[{index}] is no rectangle: its parts have {sizes[0]} to {sizes[-1]} entries. Give an array "
                "for each sample."
            )
        arrays.append(array)
    return _together(arrays, where)


def _of_numbers(items: list[Any]) -> Array | None:
    """Numbers, or nested lists of numbers that are a rectangle, the fast way; None where they are anything else."""
    if not all(isinstance(item, (list, tuple, *SCALARS)) for item in items):
        return None
    try:
        array = np.asarray(items)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None
    return array if array.dtype.kind in NUMBER_KINDS else None


def _is_scalar(item: Any) -> bool:
    if isinstance(item, Tensor | np.ndarray):
        return item.ndim == 0 and item is not np.ma.masked
    return item is None or isinstance(item, (*SCALARS, str, bytes)) or is_missing(item) or _is_number(item)


def _is_number(item: Any) -> bool:
    """Other numbers: Decimal, Fraction, and what turns into a float of itself."""
    return hasattr(type(item), "__float__") and not isinstance(item, Image.Image | list | tuple) and not _has_axes(item)


def _has_axes(item: Any) -> bool:
    return bool(getattr(item, "shape", ()))


def _of_scalars(items: list[Any], where: str) -> Array:
    plain = [item.item() if isinstance(item, Tensor | np.ndarray) else item for item in items]
    if any(isinstance(item, str | bytes) or is_missing(item) for item in plain):
        array: Array = np.empty(len(plain), dtype=object)  # numpy would turn numbers beside texts into texts
        array[:] = plain
        return array
    if not all(isinstance(item, SCALARS) for item in plain):
        plain = [item if isinstance(item, SCALARS) else float(item) for item in plain]
    array = np.array(plain)
    if array.dtype.kind == "O":
        position = next(i for i, item in enumerate(plain) if isinstance(item, int) and not -(2**63) <= item < 2**64)
        raise DataError(f"{where}[{position}] is {plain[position]}, a whole number of more than 64 bits.")
    return array


def _together(arrays: list[Array], where: str) -> Array | Ragged:
    """One array where all shapes are equal. Whole numbers beside floats are refused: 0 to 255 beside 0 to 1?"""
    if len({array.shape for array in arrays}) > 1:
        return Ragged(arrays)
    kinds = {array.dtype.kind: index for index, array in enumerate(arrays)}
    if "O" in kinds or "U" in kinds or "S" in kinds:
        return np.stack([array.astype(object) for array in arrays])
    first = arrays[0]
    if first.ndim > 1 and "f" in kinds and len(kinds) > 1:
        other = next(
            index for index, array in enumerate(arrays) if (array.dtype.kind == "f") != (first.dtype.kind == "f")
        )
        raise DataError(
            f"{where}[0] holds {first.dtype} values, but {where}[{other}] {arrays[other].dtype}; give all samples "
            "as whole numbers or all as floating-point numbers."
        )
    return np.stack(arrays)


def _checked(array: Array, where: str) -> Array:
    """Raise where the type is neither numbers nor text."""
    kind = array.dtype.kind
    if kind in "OUST" or kind in NUMBER_KINDS:
        return array.astype(object) if kind == "T" else array
    if array.dtype.names is not None:
        raise DataError(
            f"{where} holds records with the fields {', '.join(array.dtype.names)} (a structured dtype); give one "
            f"array of numbers, for example {where}[{array.dtype.names[0]!r}]."
        )
    if kind == "c":
        raise DataError(
            f"{where} holds values of type {array.dtype}, complex numbers, which no network here takes. Give real and "
            "imaginary part, or magnitude and phase, as two channels."
        )
    if kind in "Mm":
        raise DataError(
            f"{where} holds values of type {array.dtype}, dates or times. Give numbers, for example "
            "(t - t[0]) / numpy.timedelta64(1, 's')."
        )
    try:
        return array.astype(np.float32)  # numbers that packages add to numpy, for example ml_dtypes' bfloat16
    except (TypeError, ValueError):
        raise DataError(
            f"{where} holds values of type {array.dtype}; allowed are whole numbers and floating-point numbers."
        ) from None
