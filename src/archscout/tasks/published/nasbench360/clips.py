"""Sources of spectrograms: one chunk of each clip for training, every chunk for evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from archscout.seeds import derive_seed, generator

__all__ = ["ChunkSource", "ClipSource"]


class ChunkSource:
    """A sample is a chunk: `(1, 96, 101)`, and its clip's labels followed by the clip's number.

    Args:
        spectrograms: `(chunks, 96, 101)`.
        clips: of each chunk.
        labels: `(clips, labels)`, 0 or 1.
        offset: added to the numbers of the clips.
    """

    def __init__(self, spectrograms: Tensor, clips: Tensor, labels: Tensor, offset: int = 0) -> None:
        self._spectrograms, self._clips, self._labels, self._offset = spectrograms, clips, labels, offset

    def __len__(self) -> int:
        return len(self._clips)

    @property
    def targets(self) -> Tensor:
        """The labels of every sample, without the clip's number."""
        return self._labels[self._clips]

    def _chunks(self, index: Tensor, seed: int | None) -> Tensor:
        return index

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield spectrograms and targets."""
        for index in indices:
            chunks = self._chunks(index, seed)
            clips = self._clips[chunks]
            numbers = (clips + self._offset).to(torch.int32).unsqueeze(1)
            targets = torch.cat([self._labels[clips].to(torch.int32), numbers], dim=1)
            yield self._spectrograms[chunks].unsqueeze(1).to(device), targets.to(device)


class ClipSource(ChunkSource):
    """A sample is a clip: one of its chunks, drawn by seed and clip; without a seed its first one."""

    def __init__(self, spectrograms: Tensor, clips: Tensor, labels: Tensor, offset: int = 0) -> None:
        super().__init__(spectrograms, clips, labels, offset)
        self._order = torch.argsort(clips, stable=True)
        self._counts = torch.bincount(clips, minlength=len(labels))
        self._starts = torch.cumsum(self._counts, 0) - self._counts

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def targets(self) -> Tensor:
        """The labels of every clip."""
        return self._labels

    def _chunks(self, index: Tensor, seed: int | None) -> Tensor:
        if seed is None:
            return self._order[self._starts[index]]
        draws = torch.rand(len(self), generator=generator(derive_seed(seed, "chunk")), dtype=torch.float64)[index]
        return self._order[self._starts[index] + (draws * self._counts[index]).long()]
