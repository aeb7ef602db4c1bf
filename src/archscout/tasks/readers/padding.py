"""Series of unequal length as one array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from archscout.errors import DataError
from archscout.tasks.containers import Array, Ragged, shape_text
from archscout.tasks.findings import Finding

__all__ = ["Padding", "padded"]

Parts = dict[str, Array | Ragged]


@dataclass(frozen=True)
class Padding:
    """How series were padded.

    Attributes:
        layout: of the series that were given: NL, NCL or NLC.
        length: of all of them now.
        fill: for each channel, what follows shorter ones.
        findings: what to say of it.
    """

    layout: str
    length: int
    fill: tuple[float, ...]
    findings: tuple[Finding, ...]


def padded(parts: Mapping[str, Array | Ragged], layout: str) -> tuple[Parts, Padding]:
    """All samples with the length of the longest, over all parts; channels first.

    The values behind the end of a series are the mean of its channel over the first part, which is 0 after
    normalisation.

    Args:
        parts: some of them ragged: one array for each sample.
        layout: "auto", or that of series: NL, NCL or NLC.

    Raises:
        DataError: images, or samples that differ in more than their length; the message names two of them.
    """
    samples = {where: list(array) for where, array in parts.items()}
    everything = [(f"{where}[{index}]", one) for where, each in samples.items() for index, one in enumerate(each)]
    layout = _layout(everything, layout)
    findings = []
    if layout == "NLC":
        samples = {where: [one.T for one in each] for where, each in samples.items()}
    elif layout == "NL":
        samples = {where: [one[None] for one in each] for where, each in samples.items()}
    lengths = [one.shape[1] for each in samples.values() for one in each]
    short, long = min(lengths), max(lengths)
    if short == 0:
        name = next(name for (name, _), length in zip(everything, lengths, strict=True) if length == 0)
        raise DataError(f"{name} is empty: a series without values. Remove it, and its target.")
    train = next(iter(samples.values()))
    values = np.concatenate(train, axis=1).astype(np.float64)
    known = np.isfinite(values)  # others are told by whoever checks the result
    fill = np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
    findings.append(
        Finding(
            "note",
            "padded",
            f"the series have {short:,} to {long:,} steps; the shorter ones are followed by the mean of their "
            f"channel, up to {long:,} steps.",
        )
    )
    channels = len(train[0])
    if channels > short:
        findings.append(
            Finding(
                "doubtful",
                "layout",
                f"the series have more channels ({channels}) than the shortest has steps ({short}). If that axis is "
                "not the one of the channels, say layout=NCL or layout=NLC.",
            )
        )
    return {where: _stacked(each, long, fill) for where, each in samples.items()}, Padding(
        layout, long, tuple(fill.tolist()), tuple(findings)
    )


def _layout(samples: list[tuple[str, Array]], layout: str) -> str:
    """NL, NCL or NLC: of two axes, the one that all samples share is that of the channels."""
    first, reference = samples[0]
    for name, one in samples:
        if one.dtype.kind not in "buif":
            raise DataError(f"{name} holds values of type {one.dtype}; allowed are numbers.")
        if one.ndim != reference.ndim:
            raise DataError(
                f"{name} has the shape {shape_text(one.shape)}, but {first} {shape_text(reference.shape)}; all samples "
                "need as many axes."
            )
    if reference.ndim == 1 and layout in ("auto", "NL"):
        return "NL"
    equal = [axis for axis in range(reference.ndim) if len({one.shape[axis] for _, one in samples}) == 1]
    as_series = reference.ndim == 2 and layout in ("auto", "NCL", "NLC") and len(equal) == 1
    if as_series and layout == "auto" and not all(one.dtype == np.uint8 for _, one in samples):
        return "NCL" if equal == [0] else "NLC"
    if as_series and layout == ("NCL" if equal == [0] else "NLC"):
        return layout
    name, other = next((name, one) for name, one in samples if one.shape != reference.shape)
    hint = ""
    if reference.ndim == 2:
        hint = " Series of unequal length share the number of channels: say layout=NCL (channels first) or layout=NLC."
    raise DataError(
        f"{first} has the shape {shape_text(reference.shape)}, but {name} {shape_text(other.shape)}; all samples "
        "need one shape. Resize images before, or keep them as files in a folder with one folder for each class: "
        f"those are brought to one size.{hint}"
    )


def _stacked(samples: list[Array], length: int, fill: Array) -> Array:
    dtype = np.result_type(np.float32, *{one.dtype for one in samples})
    whole = np.empty((len(samples), len(fill), length), dtype)
    whole[:] = fill[:, None]
    for row, one in zip(whole, samples, strict=True):
        row[:, : one.shape[1]] = one
    return whole
