"""Where samples come from: tensors in memory, or files read by worker processes.

A source knows only how to hand over the samples of given indices. Splits, order, batches and augmentation are decided
elsewhere, so that every source behaves alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import derive_seed

__all__ = [
    "ArraySource",
    "CombinedSource",
    "CropsSamples",
    "InMemory",
    "KnowsTargets",
    "NamesSamples",
    "Overview",
    "Source",
    "known_targets",
    "overview_of",
    "sample_names",
    "whole_samples",
]


@runtime_checkable
class Source(Protocol):
    """Samples by index.

    `batches` yields `(inputs, targets)` on the device for every tensor of indices, in order. `seed` is None for
    evaluation; else it seeds whatever a source draws for each sample while decoding (a random crop of a large
    image), as a function of seed and index only, so that the result does not depend on the number of workers.
    """

    def __len__(self) -> int: ...

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]: ...


@runtime_checkable
class CropsSamples(Source, Protocol):
    """A source that gives crops of its samples for training."""

    @property
    def whole(self) -> Source:
        """The same samples, under the same indices, as evaluation reads them."""
        ...


@runtime_checkable
class InMemory(Source, Protocol):
    """A source that says whether its samples are read without decoding files."""

    @property
    def is_in_memory(self) -> bool: ...


@runtime_checkable
class KnowsTargets(Source, Protocol):
    """A source that knows all targets without reading any input; None where it does not after all."""

    @property
    def targets(self) -> Tensor | None: ...


@runtime_checkable
class NamesSamples(Source, Protocol):
    """A source whose samples have names of their own, for example paths of files; None where they do not after all."""

    @property
    def names(self) -> Sequence[str] | None: ...


@dataclass(frozen=True, eq=False)
class Overview:
    """What is known of the files of all samples, since they were looked at when they were listed.

    Attributes:
        digests: of each file's content.
        thumbnails: `(N, 16, 16)` float32, grey, 0 black to 1 white.
        uniform: `(N,)` bool, whether all pixels have one colour.
        changed: the names of the files that have changed since, or are gone.
    """

    digests: Sequence[bytes]
    thumbnails: Tensor
    uniform: Tensor
    changed: Callable[[], list[str]]


@runtime_checkable
class KnowsOverview(Source, Protocol):
    """A source of files that were looked at when they were listed; None where they were not after all."""

    @property
    def overview(self) -> Overview | None: ...


def whole_samples(source: Source) -> Source:
    """The source that evaluation reads: the same samples whole, where training takes crops of them."""
    return source.whole if isinstance(source, CropsSamples) else source


def known_targets(source: Source) -> Tensor | None:
    """The targets of all samples, where the source knows them without reading any input."""
    return source.targets if isinstance(source, KnowsTargets) else None


def sample_names(source: Source) -> Sequence[str] | None:
    """The names of all samples, where they have some."""
    return source.names if isinstance(source, NamesSamples) else None


def overview_of(source: Source) -> Overview | None:
    """What is known of the files of all samples, where they were looked at when they were listed."""
    return source.overview if isinstance(source, KnowsOverview) else None


class ArraySource:
    """Samples in memory; they move to the device once, on first use.

    Args:
        inputs: `(N, ...)`, any dtype; images are kept as uint8 `(N, C, H, W)`.
        targets: `(N, ...)`.
        names: of the samples, where they have some, for example paths of files.
        overview: of those files.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, names: Sequence[str] | None = None, overview: Overview | None = None
    ) -> None:
        if len(inputs) != len(targets):
            raise DataError(
                f"there are {len(inputs)} samples but {len(targets)} targets; give one target for each sample."
            )
        self.inputs = inputs
        self.targets = targets
        self.names = names
        self.overview = overview
        self._resident: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def is_in_memory(self) -> bool:
        """Always."""
        return True

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `(inputs[i], targets[i])` for every index tensor; `seed` is not used."""
        if device not in self._resident:
            self._resident[device] = (self.inputs.to(device), self.targets.to(device))
        inputs, targets = self._resident[device]
        for index in indices:
            where = index.to(device)
            yield inputs[where], targets[where]


class CombinedSource:
    """The samples of several sources, one source after the other.

    Index `i` of the second source is `i + len(first)` here, and so on. A batch may mix sources; it comes in the order
    of its indices.

    Args:
        sources: with samples of one shape and type.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise DataError("there is no source to combine; give at least one.")
        self.sources = tuple(sources)
        sizes = torch.tensor([len(source) for source in sources])
        self._ends = torch.cumsum(sizes, 0)
        self._starts = self._ends - sizes

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def is_in_memory(self) -> bool:
        """Whether all sources are."""
        return all(isinstance(source, InMemory) and source.is_in_memory for source in self.sources)

    @property
    def targets(self) -> Tensor | None:
        """The targets of all samples, where every source tells them without reading its inputs."""
        known = [part for part in map(known_targets, self.sources) if part is not None]
        return torch.cat(known) if len(known) == len(self.sources) else None

    @property
    def names(self) -> Sequence[str] | None:
        """The names of all samples, where every source has them."""
        known = [part for part in map(sample_names, self.sources) if part is not None]
        return [name for part in known for name in part] if len(known) == len(self.sources) else None

    @property
    def whole(self) -> CombinedSource:
        """The same samples as evaluation reads them, see `whole_samples`."""
        return CombinedSource([whole_samples(source) for source in self.sources])

    def _positions(self, index: Tensor, number: int) -> Tensor:
        """Where in a batch the samples of a source stand."""
        return ((index >= self._starts[number]) & (index < self._ends[number])).nonzero().view(-1)

    def _own_indices(self, indices: Iterable[Tensor], number: int) -> Iterator[Tensor]:
        """What a source is asked for: its share of every batch, batches without a share left out."""
        for index in indices:
            positions = self._positions(index, number)
            if len(positions):
                yield index[positions] - self._starts[number]

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches; each source streams its shares, so that its prefetching goes on."""
        own, *copies = tee(indices, len(self.sources) + 1)
        streams = [
            source.batches(
                self._own_indices(copy, number),
                device,
                # The same index means another sample in another source: it must not draw the same augmentation.
                seed=None if seed is None else derive_seed(seed, "source", number),
            )
            for number, (source, copy) in enumerate(zip(self.sources, copies, strict=True))
        ]
        for index in own:
            places, inputs, targets = [], [], []
            for number, stream in enumerate(streams):
                positions = self._positions(index, number)
                if len(positions):
                    x, y = next(stream)
                    places.append(positions)
                    inputs.append(x)
                    targets.append(y)
            if len(places) == 1:
                yield inputs[0], targets[0]
                continue
            order = torch.argsort(torch.cat(places)).to(device)
            yield torch.cat(inputs)[order], torch.cat(targets)[order]
