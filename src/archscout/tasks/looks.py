"""One pass over the samples of a split: a digest of each, a coarse copy, and its values in short."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.seeds import generator
from archscout.tasks.sources import InMemory, Overview, Source, overview_of
from archscout.tasks.statistics import ChannelStatistics
from archscout.tasks.task import Split
from archscout.tasks.transforms import uint8_to_float

__all__ = ["Look", "is_in_memory", "look_at", "sample_digests"]

BATCH = 256
MOST_VALUES = 2**24  # in a batch
COARSE = {1: (64,), 2: (16, 16)}  # positions of a coarse copy, by the number of dimensions
COARSE_CHANNELS = 8  # of a coarse copy; more are averaged in groups
DIGEST = 16  # bytes


@dataclass(frozen=True)
class Look:
    """What a pass over a split has seen.

    Attributes:
        positions: in the split, of the samples looked at: all, or a fixed random part of many files.
        digests: of each.
        coarse: `(n, d)` float32, a coarse copy of each; empty where there are no positions.
        mean, deviation: of the values of each, as floats, `(n,)`.
        low, high: of all values as stored.
        dtype: as stored, for example "uint8".
        statistics: of each channel; None where files were looked at by their thumbnails.
    """

    positions: Tensor
    digests: tuple[bytes, ...]
    coarse: Tensor
    mean: Tensor
    deviation: Tensor
    low: float
    high: float
    dtype: str
    statistics: ChannelStatistics | None


def is_in_memory(source: Source) -> bool:
    """Whether samples are read without decoding files."""
    return isinstance(source, InMemory) and source.is_in_memory


def look_at(split: Split, most: int) -> Look:
    """Look at all samples in memory, at thumbnails of files, and else at `most` samples, the same ones each time."""
    known = overview_of(split.source)
    if known is not None and not is_in_memory(split.source):
        return _look_at_overview(split, known)
    positions = torch.arange(len(split))
    if not is_in_memory(split.source) and len(split) > most:
        positions = torch.randperm(len(split), generator=generator(0, "check"))[: max(1, most)].sort().values
    digests: list[bytes] = []
    coarse: list[Tensor] = []
    moments: list[Tensor] = []
    low, high, dtype, statistics = math.inf, -math.inf, "", ChannelStatistics()
    for inputs in _batches(split, positions):
        dtype = str(inputs.dtype).removeprefix("torch.")
        low, high = min(low, float(inputs.min())), max(high, float(inputs.max()))
        digests += [_digest(sample) for sample in inputs]
        values = uint8_to_float(inputs)
        flat = values.flatten(1)
        moments.append(torch.stack([flat.mean(1), flat.std(1, correction=0)]))
        coarse.append(_coarse(values))
        statistics.update(inputs)
    mean, deviation = torch.cat(moments, 1) if moments else torch.zeros(2, 0)
    return Look(
        positions,
        tuple(digests),
        torch.cat(coarse) if coarse else torch.zeros(0, 0),
        mean,
        deviation,
        low,
        high,
        dtype,
        statistics,
    )


def _look_at_overview(split: Split, known: Overview) -> Look:
    grey = known.thumbnails[split.indices]
    flat = grey.flatten(1)
    # A thumbnail of one value may be that of an image with details.
    deviation = flat.std(1, correction=0).clamp(min=1e-6).masked_fill(known.uniform[split.indices], 0.0)
    return Look(
        torch.arange(len(split)),
        tuple(known.digests[index] for index in split.indices.tolist()),
        flat,
        flat.mean(1),
        deviation,
        0.0,
        255.0,
        "uint8",
        None,
    )


def sample_digests(split: Split) -> list[bytes]:
    """A digest of each sample's input: of its file's content where it was looked at, else of its values."""
    overview = overview_of(split.source)
    if overview is not None:
        return [overview.digests[index] for index in split.indices.tolist()]
    return [_digest(sample) for inputs in _batches(split, torch.arange(len(split))) for sample in inputs]


def _digest(sample: Tensor) -> bytes:
    return hashlib.blake2b(sample.numpy().data, digest_size=DIGEST).digest()


def _batches(split: Split, positions: Tensor) -> Iterator[Tensor]:
    """Raw inputs, in batches that are not too large for memory."""
    if len(positions) == 0:
        return
    first, _ = next(iter(split.source.batches([split.indices[positions[:1]]], torch.device("cpu"))))
    size = max(1, min(BATCH, MOST_VALUES // max(1, first.numel())))
    for inputs, _ in split.source.batches(torch.split(split.indices[positions], size), torch.device("cpu")):
        yield inputs.contiguous()


def _coarse(values: Tensor) -> Tensor:
    """Samples `(N, C, *positions)` averaged down to at most 8 channels of 64, or 16 x 16, positions: `(N, d)`."""
    count, channels, *positions = values.shape
    if len(positions) not in COARSE:
        return values.reshape(count, -1)[:, :0]
    if len(positions) == 2:
        values = values.mean(1, keepdim=True)  # grey
    elif channels > COARSE_CHANNELS:
        values = F.adaptive_avg_pool2d(values, (COARSE_CHANNELS, positions[0]))
    size = [min(have, want) for have, want in zip(positions, COARSE[len(positions)], strict=True)]
    if len(positions) == 1:
        return F.adaptive_avg_pool1d(values, size[0]).flatten(1)
    return F.adaptive_avg_pool2d(values, (size[0], size[1])).flatten(1)
