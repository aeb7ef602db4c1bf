"""Which axis of an array is which, and how its values are stored.

Images become `(N, C, H, W)`, uint8 where that is exact; series become `(N, C, L)`, float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.containers import Array, Ragged, as_array, is_missing
from archscout.tasks.findings import Finding, raise_wrong, some
from archscout.tasks.options import RULES
from archscout.tasks.preparation import ArrayPreparation
from archscout.tasks.readers.padding import Padding, padded

__all__ = ["LAYOUTS", "Inputs", "read_inputs", "recognise_layout"]

LAYOUTS = {
    "NCHW": "images, channels first",
    "NHWC": "images, channels last",
    "NHW": "grey images",
    "NCL": "series: channels, then steps",
    "NLC": "series: steps, then channels",
    "NL": "series of one channel",
}
IMAGE_CHANNELS = (1, 3, 4)
MOST_SERIES_CHANNELS = 16  # a last axis of so many entries or fewer may well be that of the channels ...
LONGER = 4  # ... where the other one is so many times as long
CHUNK = 2**24  # values at a time that are looked at in float64
FLOAT32_STEP = 2.0**-24  # largest relative error of rounding to float32
DIGITS = 1e-3  # of a channel's range: rounding errors above it lose what the values say
SMALLEST_DEVIATION = 1e-7  # below it a channel counts as constant and is not scaled


@runtime_checkable
class _HasColumns(Protocol):  # frames of pandas and polars
    @property
    def columns(self) -> Any: ...


@dataclass(frozen=True)
class Inputs:
    """Checked inputs of all splits.

    Attributes:
        tensors: channels first, by the names that they were given under.
        layout: of the arrays that were given.
        divisor: by which values become those that networks see before normalisation.
        whole: the values are kept as uint8, exactly.
        padding: of series of unequal length.
        findings: what was noticed, none of it wrong.
    """

    tensors: dict[str, Tensor]
    layout: str
    divisor: float = 1.0
    whole: bool = False
    padding: Padding | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def preparation(self) -> ArrayPreparation:
        """How new samples are brought to what the tensors hold."""
        length, fill = (None, ()) if self.padding is None else (self.padding.length, self.padding.fill)
        return ArrayPreparation(self.layout, self.divisor, self.whole, length, fill)


def recognise_layout(shape: Sequence[int], *, is_uint8: bool, is_map: bool = False, rules: int = RULES) -> str:
    """The layout that an array's shape tells.

    - Two axes: `NL`, series of one channel.
    - Three axes: `NHW`, grey images, where the values are pixels or the targets have the same positions; else `NCL`
      where the last axis is not short.
    - Four axes: images. The channel axis is the one of the second and the last that has 1, 3 or 4 entries; where
      both or neither have, the one that differs from the other two, if those are equal.

    Args:
        shape: of all samples, `(N, ...)`.
        is_uint8: the values are pixels: uint8, bool, or, where both axes are equally long, whole and from 0 to 255.
        is_map: the targets have a value at each of the last two axes.
        rules: 1 guesses where 2 asks, see `TaskOptions.rules`.

    Raises:
        DataError: another number of axes, or no way to tell; the caller can name the layout.
    """
    seen = "(" + ", ".join(str(size) for size in shape) + ")"
    if len(shape) == 2:
        return "NL"
    if len(shape) == 3:
        if rules < 2:
            return "NHW" if is_uint8 or shape[1] == shape[2] else "NCL"
        return _of_three(seen, *shape[1:], is_uint8=is_uint8, is_map=is_map)
    if len(shape) != 4:
        allowed = "; ".join(f"{layout} ({meaning})" for layout, meaning in LAYOUTS.items())
        raise DataError(f"inputs of shape {seen} are not supported; allowed: {allowed}.")
    second, third, last = shape[1:]
    first_fits, last_fits = second in IMAGE_CHANNELS, last in IMAGE_CHANNELS
    if first_fits != last_fits:
        return "NCHW" if first_fits else "NHWC"
    if (second == third) != (third == last):
        return "NCHW" if third == last else "NHWC"
    raise DataError(
        f"cannot tell which axis of {seen} holds the channels. Name it: layout='NCHW' for channels first, or "
        "layout='NHWC' for channels last."
    )


def _of_three(seen: str, second: int, last: int, *, is_uint8: bool, is_map: bool) -> str:
    """The layout of `(N, second, last)`."""
    short, long = sorted((second, last))
    thin = short <= max(IMAGE_CHANNELS) and long >= 4 * LONGER  # no image has such sides
    if is_uint8 and not thin:
        return "NHW"
    if is_uint8 and second < last:
        return "NCL"
    if second == last and is_map:
        return "NHW"
    if second == last:
        raise DataError(
            f"inputs of shape {seen} can be grey images of {second} x {last}, or series of {second} channels and "
            f"{last} steps. Name the layout: layout='NHW' for images, layout='NCL' for series (layout='NLC' where "
            "the steps come first)."
        )
    if is_uint8 or (last <= MOST_SERIES_CHANNELS and second >= LONGER * last and last > 1):
        images = f", layout='NHW' for grey images of {second} x {last}" if is_uint8 else ""
        raise DataError(
            f"inputs of shape {seen} can be series of {second} channels and {last} steps, or of {second} steps and "
            f"{last} channels. Name the layout: layout='NLC' for {second} steps of {last} channels, layout='NCL' for "
            f"{second} channels of {last} steps{images}."
        )
    return "NLC" if last == 1 else "NCL"


def _doubts_of_shape(shape: Sequence[int], layout: str, *, is_map: bool, is_uint8: bool) -> Iterator[Finding]:
    """What is odd about a layout that was recognised, not named."""
    if layout == "NCL" and shape[1] > shape[2]:
        yield Finding(
            "doubtful",
            "layout",
            f"the series have more channels ({shape[1]}) than steps ({shape[2]}). If the steps come first, say "
            f"layout=NLC; if this is right, say layout=NCL.",
        )
    if layout == "NHW" and is_map and not is_uint8:
        yield Finding(
            "doubtful",
            "layout",
            f"inputs of {shape[1]} x {shape[2]} are read as images of one channel; if they are series of {shape[1]} "
            "channels, say layout=NCL, and layout=NHW if this is right.",
        )


def read_inputs(
    parts: Mapping[str, Any], layout: str = "auto", *, target_shape: Sequence[int] = (), rules: int = RULES
) -> Inputs:
    """Checked inputs of all splits, channels first, and their layout.

    Images are kept as uint8 where their values are whole and in 0..255; else as float32: values up to 255 are divided
    by 255, whole ones up to 65,535 by that, others stay. Series are kept as float32, unscaled. Series of unequal length
    are padded at their end with the mean of their channel over the first part, see `padding`.

    Args:
        parts: name (for messages) to whatever `containers.as_array` takes, for all splits.
        layout: one of `LAYOUTS`, or "auto" (see `recognise_layout`).
        target_shape: of all targets of the first part, `(N, ...)`.
        rules: see `TaskOptions.rules`.

    Raises:
        DataError: empty, of different shapes or kinds, not numbers, not finite, or of no known layout.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise DataError(f"unknown layout '{layout}'; allowed: auto, {', '.join(LAYOUTS)}.")
    findings: list[Finding] = []
    read = {where: as_array(values, where) for where, values in parts.items()}
    frame = next((values for values in parts.values() if isinstance(values, _HasColumns)), None)
    if frame is not None and layout == "auto":
        findings.append(
            Finding(
                "doubtful",
                "table",
                f"the {len(frame.columns)} columns of a table are read as the steps of a series of one channel, in "
                "their order. If they are unlike quantities, networks for series fit them badly.",
            )
        )
    padding = None
    if any(isinstance(array, Ragged) for array in read.values()):
        read, padding = padded(read, layout)
        layout = "NCL"
        findings += padding.findings
    tensors = {where: _as_tensor(array, where) for where, array in read.items()}
    _check_together(tensors)
    first = next(iter(tensors.values()))
    findings += _wrong_values(tensors)
    if layout == "auto":
        is_uint8 = all(tensor.dtype in (torch.uint8, torch.bool) for tensor in tensors.values())
        square = rules >= 2 and first.dim() == 3 and first.shape[1] == first.shape[2]
        pixels = is_uint8 or (square and all(map(_are_pixels, tensors.values())))
        is_map = tuple(target_shape[-2:]) == tuple(first.shape[-2:]) and len(target_shape) > 2
        try:
            layout = recognise_layout(first.shape, is_uint8=pixels, is_map=is_map, rules=rules)
        except DataError as error:
            findings.append(Finding("wrong", "layout", str(error)))
        raise_wrong(findings)
        findings += _doubts_of_shape(first.shape, layout, is_map=is_map, is_uint8=pixels)
    elif len(layout) != first.dim():
        raise DataError(f"layout {layout} has {len(layout)} axes, but the inputs are {tuple(first.shape)}.")
    raise_wrong(findings)
    tensors = {where: _channels_first(tensor, layout) for where, tensor in tensors.items()}
    findings += _doubts_of_values(next(iter(tensors.values())))
    stored, divisor, whole = _stored(tensors, images="H" in layout)
    stored = {where: tensor.contiguous() for where, tensor in stored.items()}
    return Inputs(stored, layout if padding is None else padding.layout, divisor, whole, padding, tuple(findings))


def _as_tensor(array: Array | Ragged, where: str) -> Tensor:
    """Numbers as a tensor of a type that torch computes with."""
    assert not isinstance(array, Ragged)
    if array.dtype.kind == "O":
        array = _of_numbers_and_gaps(array, where)
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{where} holds values of type {array.dtype}; allowed are whole numbers and floating-point numbers."
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        # Beyond int64 there is only float64, whose rounding is looked at like any other.
        array = array.astype(np.float64 if array.size and array.max() > np.iinfo(np.int64).max else np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # A copy where torch could not share the memory: reversed, of foreign byte order, or read-only.
    array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "W"])
    return torch.from_numpy(array)


def _of_numbers_and_gaps(array: Array, where: str) -> Array:
    """An array of objects as floats. Raises where something is missing, or is no number."""
    flat = array.ravel().tolist()
    foreign = next((value for value in flat if not is_missing(value) and not isinstance(value, int | float)), None)
    if foreign is not None:
        raise DataError(
            f"{where} holds values of type {array.dtype}, among them {str(foreign)[:40]!r}; allowed are whole numbers "
            "and floating-point numbers."
        )
    missing = [index for index, value in enumerate(flat) if is_missing(value)]
    if missing:
        raise DataError(_gaps(where, array.shape, missing, "missing"))
    return array.astype(np.float64)


def _gaps(where: str, shape: Sequence[int], flat: Sequence[int], what: str) -> str:
    """A sentence about values that are missing or not finite, at places in the flattened array."""
    first = ", ".join(str(int(axis)) for axis in np.unravel_index(flat[0], tuple(shape)))
    size = max(1, int(np.prod(shape[1:])))
    samples = len({index // size for index in flat})
    return (
        f"{where} holds {len(flat):,} values that are {what}, in {samples:,} samples; the first is at index [{first}]. "
        "Fill them in, or remove those samples."
    )


def _are_pixels(tensor: Tensor) -> bool:
    """Whether all values are whole and in 0..255, and some above 1."""
    if tensor.numel() == 0 or tensor.dtype in (torch.uint8, torch.bool):
        return True
    low, high = float(tensor.min()), float(tensor.max())
    whole = not tensor.is_floating_point() or bool(torch.equal(tensor, tensor.round()))
    return low >= 0 and 1 < high <= 255 and whole


def _wrong_values(parts: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Values that are not finite, of every split, or that are not as float32."""
    for where, tensor in parts.items():
        if not tensor.is_floating_point():
            continue
        wrong = ~torch.isfinite(tensor)
        count = int(wrong.sum())
        if count:
            first = [int(axis) for axis in wrong.nonzero()[0]]
            kind = "NaN" if bool(torch.isnan(tensor[tuple(first)])) else "infinite"
            samples = int(wrong.flatten(1).any(1).sum())
            yield Finding(
                "wrong",
                "not-finite",
                f"{where} holds {count} values that are not finite, in {samples} samples; the first is {kind}, at "
                f"index [{', '.join(str(axis) for axis in first)}]. Remove or repair those samples.",
            )
            continue
        large = tensor.abs() > torch.finfo(torch.float32).max
        if tensor.dtype == torch.float64 and bool(large.any()):
            first = [int(axis) for axis in large.nonzero()[0]]
            yield Finding(
                "wrong",
                "too-large",
                f"{where} holds {int(large.sum())} values that are too large for float32, the first is "
                f"{float(tensor[tuple(first)]):g}, at index [{', '.join(str(axis) for axis in first)}]. Divide all "
                "values by a constant, or take their logarithm.",
            )


def _doubts_of_values(train: Tensor) -> Iterator[Finding]:
    """Channels that are constant, or whose differences get lost in float32."""
    low, high = _extremes(train)
    spread = high - low
    size = torch.maximum(low.abs(), high.abs())
    constant = spread == 0
    exact = train.dtype in (torch.uint8, torch.bool, torch.int8, torch.int16, torch.float16, torch.float32)
    rounded = size * FLOAT32_STEP if not exact else torch.zeros_like(size)
    if train.dtype not in (torch.float64, torch.float32, torch.float16):
        rounded = torch.where(size > 2**24, rounded, 0)
    lost = ~constant & (rounded > DIGITS * spread)
    tiny = ~constant & ~lost & (spread < SMALLEST_DEVIATION)
    count = len(low)
    for which, code, what, advice in (
        (constant, "constant", "the same value in every training sample", "nothing can be learnt of it. Leave it out?"),
        (
            lost,
            "digits",
            "values so large beside their differences that float32 loses those",
            "subtract a constant before, for example the first value (time stamps: count from the first).",
        ),
        (tiny, "tiny", f"differences below {SMALLEST_DEVIATION:g}, which are not scaled up", "multiply by a constant."),
    ):
        channels = which.nonzero().view(-1).tolist()
        if channels:
            names = tuple(f"channel {channel}" for channel in channels)
            example = float(low[channels[0]])
            subject = "the inputs have" if count == 1 else f"{len(channels)} of {count} channels ({some(names)}) have"
            yield Finding("doubtful", code, f"{subject} {what} (the first {example:g}): {advice}", names)


def _extremes(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each channel, float64."""
    step = max(1, CHUNK // max(1, tensor[0].numel()))
    axes = tuple(axis for axis in range(tensor.dim()) if axis != 1)
    chunks = [tensor[start : start + step] for start in range(0, len(tensor), step)]
    low = torch.stack([_over(chunk, axes, torch.amin) for chunk in chunks]).amin(0)
    return low, torch.stack([_over(chunk, axes, torch.amax) for chunk in chunks]).amax(0)


def _over(chunk: Tensor, axes: tuple[int, ...], reduce: Any) -> Tensor:
    values: Tensor = reduce(chunk.to(torch.uint8) if chunk.dtype == torch.bool else chunk, axes)
    return values.double()


def _check_together(parts: Mapping[str, Tensor]) -> None:
    """Same sample shape, same kind of numbers, none empty."""
    first, reference = next(iter(parts.items()))
    for where, tensor in parts.items():
        if tensor.dim() == 0 or len(tensor) == 0 or tensor.numel() == 0:
            raise DataError(f"{where} is empty: its shape is {tuple(tensor.shape)}; every split needs samples.")
        if tensor.shape[1:] != reference.shape[1:]:
            raise DataError(
                f"{where} has samples of shape {tuple(tensor.shape[1:])}, but {first} of "
                f"{tuple(reference.shape[1:])}; all splits must have one shape."
            )
        if tensor.is_floating_point() != reference.is_floating_point():
            raise DataError(
                f"{where} holds {tensor.dtype} values, but {first} {reference.dtype}; give both as whole numbers "
                "(0 to 255) or both as floating-point numbers."
            )
        if (tensor.dtype == torch.bool) != (reference.dtype == torch.bool):
            raise DataError(
                f"{where} holds {tensor.dtype} values, but {first} {reference.dtype}; give both as true and false, or "
                "both as numbers."
            )


def _stored(parts: dict[str, Tensor], *, images: bool) -> tuple[dict[str, Tensor], float, bool]:
    """The values as they are kept: images as uint8 where that is exact, else float32, in [0, 1] where they tell.

    Also by what given values are divided to get there, where uint8 counts as divided by 255, and whether they are kept
    as uint8.
    """
    if images and all(tensor.dtype == torch.uint8 for tensor in parts.values()):
        return parts, 255.0, True
    if images and all(tensor.dtype == torch.bool for tensor in parts.values()):
        return {where: tensor.to(torch.uint8) * 255 for where, tensor in parts.items()}, 1.0, False
    floats = {where: tensor.to(torch.float32) for where, tensor in parts.items()}
    if not images:
        return floats, 1.0, False
    low = min(float(tensor.min()) for tensor in floats.values())
    high = max(float(tensor.max()) for tensor in floats.values())
    whole = all(not tensor.is_floating_point() for tensor in parts.values())
    if low >= 0 and high <= 255 and (whole or high > 1):
        if all(torch.equal(tensor, tensor.round()) for tensor in floats.values()):
            return {where: tensor.to(torch.uint8) for where, tensor in floats.items()}, 255.0, True
        return {where: tensor / 255 for where, tensor in floats.items()}, 255.0, False
    if whole and low >= 0 and high <= 65535:  # 16-bit images
        return {where: tensor / 65535 for where, tensor in floats.items()}, 65535.0, False
    return floats, 1.0, False


def _channels_first(tensor: Tensor, layout: str) -> Tensor:
    if layout in ("NHW", "NL"):
        return tensor.unsqueeze(1)
    if layout == "NLC":
        return tensor.transpose(1, 2)
    return tensor.permute(0, 3, 1, 2) if layout == "NHWC" else tensor
