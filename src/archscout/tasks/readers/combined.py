"""Several sources as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import derive_seed
from archscout.tasks.sources import Source, whole_samples

__all__ = ["CombinedSource"]


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
    def targets(self) -> Tensor | None:
        """The targets of all samples, where every source tells them without reading its inputs."""
        targets = [getattr(source, "targets", None) for source in self.sources]
        known = [part for part in targets if isinstance(part, Tensor)]
        return torch.cat(known) if len(known) == len(targets) else None

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
