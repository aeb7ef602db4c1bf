"""Which axis of an array is which, and how its values are stored.

Images become `(N, C, H, W)`, uint8 where that is exact; series become `(N, C, L)`, float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError

__all__ = ["LAYOUTS", "read_inputs", "recognise_layout"]

LAYOUTS = {
    "NCHW": "images, channels first",
    "NHWC": "images, channels last",
    "NHW": "grey images",
    "NCL": "series: channels, then time",
    "NL": "series of one channel",
}
IMAGE_CHANNELS = (1, 3, 4)


def recognise_layout(shape: Sequence[int], *, is_uint8: bool) -> str:
    """The layout that an array's shape tells.

    - Two axes: `NL`, series of one channel.
    - Three axes: `NHW`, grey images, where the values are uint8 or both axes are equally long; else `NCL`.
    - Four axes: images. The channel axis is the one of the second and the last that has 1, 3 or 4 entries; where
      both or neither have, the one that differs from the other two, if those are equal.

    Raises:
        DataError: another number of axes, or no way to tell; the caller can name the layout.
    """
    seen = "(" + ", ".join(str(size) for size in shape) + ")"
    if len(shape) == 2:
        return "NL"
    if len(shape) == 3:
        return "NHW" if is_uint8 or shape[1] == shape[2] else "NCL"
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


def _as_tensor(values: Any, where: str) -> Tensor:
    """Numbers as a tensor of a type that torch computes with."""
    if isinstance(values, Tensor):
        tensor = values.detach().cpu()
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "buif":
            raise DataError(
                f"{where} holds values of type {array.dtype}; allowed are whole numbers and floating-point numbers."
            )
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        # A copy where torch could not share the memory: reversed, of foreign byte order, or read-only.
        array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "W"])
        tensor = torch.from_numpy(array)
    if tensor.is_complex():
        raise DataError(f"{where} holds complex numbers; allowed are whole numbers and floating-point numbers.")
    return tensor


def _check_finite(tensor: Tensor, where: str) -> None:
    wrong = ~torch.isfinite(tensor)
    count = int(wrong.sum())
    if count:
        first = [int(axis) for axis in wrong.nonzero()[0]]
        kind = "NaN" if bool(torch.isnan(tensor[tuple(first)])) else "infinite"
        samples = int(wrong.flatten(1).any(1).sum())
        raise DataError(
            f"{where} holds {count} values that are not finite, in {samples} samples; the first is {kind}, at index "
            f"[{', '.join(str(axis) for axis in first)}]. Remove or repair those samples."
        )


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


def _stored(parts: dict[str, Tensor], *, images: bool) -> dict[str, Tensor]:
    """The values as they are kept: images as uint8 where that is exact, else float32, in [0, 1] where they tell."""
    if images and all(tensor.dtype == torch.uint8 for tensor in parts.values()):
        return parts
    if all(tensor.dtype == torch.bool for tensor in parts.values()):
        scale = 255 if images else 1
        return _stored({where: tensor.to(torch.uint8) * scale for where, tensor in parts.items()}, images=images)
    floats = {where: tensor.to(torch.float32) for where, tensor in parts.items()}
    for where, tensor in floats.items():
        _check_finite(tensor, where)
    if not images:
        return floats
    low = min(float(tensor.min()) for tensor in floats.values())
    high = max(float(tensor.max()) for tensor in floats.values())
    whole = all(not tensor.is_floating_point() for tensor in parts.values())
    if low >= 0 and high <= 255 and (whole or high > 1):
        if all(torch.equal(tensor, tensor.round()) for tensor in floats.values()):
            return {where: tensor.to(torch.uint8) for where, tensor in floats.items()}
        return {where: tensor / 255 for where, tensor in floats.items()}
    if whole and low >= 0 and high <= 65535:  # 16-bit images
        return {where: tensor / 65535 for where, tensor in floats.items()}
    return floats


def _channels_first(tensor: Tensor, layout: str) -> Tensor:
    if layout in ("NHW", "NL"):
        return tensor.unsqueeze(1)
    return tensor.permute(0, 3, 1, 2).contiguous() if layout == "NHWC" else tensor


def read_inputs(parts: Mapping[str, Any], layout: str = "auto") -> tuple[dict[str, Tensor], str]:
    """Checked inputs of all splits, channels first, and their layout.

    Images are kept as uint8 where their values are whole and in 0..255; else as float32: values up to 255 are divided
    by 255, whole ones up to 65,535 by that, others stay. Series are kept as float32, unscaled.

    Args:
        parts: name (for messages) to array or tensor, for all splits.
        layout: one of `LAYOUTS`, or "auto" (see `recognise_layout`).

    Raises:
        DataError: empty, of different shapes or kinds, not numbers, not finite, or of no known layout.
    """
    tensors = {where: _as_tensor(values, where) for where, values in parts.items()}
    _check_together(tensors)
    first = next(iter(tensors.values()))
    if layout == "auto":
        layout = recognise_layout(first.shape, is_uint8=first.dtype in (torch.uint8, torch.bool))
    elif layout not in LAYOUTS:
        raise DataError(f"unknown layout '{layout}'; allowed: auto, {', '.join(LAYOUTS)}.")
    elif len(layout) != first.dim():
        raise DataError(f"layout {layout} has {len(layout)} axes, but the inputs are {tuple(first.shape)}.")
    images = "H" in layout
    stored = _stored(tensors, images=images)
    return {where: _channels_first(tensor, layout) for where, tensor in stored.items()}, layout
