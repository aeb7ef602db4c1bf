"""Where samples come from: tensors in memory, or files read by worker processes.

A source knows only how to hand over the samples of given indices. Splits, order, batches and augmentation are decided
elsewhere, so that every source behaves alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from archscout.errors import DataError

__all__ = ["ArraySource", "Source", "whole_samples"]


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


def whole_samples(source: Source) -> Source:
    """The source that evaluation reads: the same samples whole, where training takes crops of them.

    A source that crops says so by an attribute `whole`, a source with the same indices.
    """
    whole: Source = getattr(source, "whole", source)
    return whole


class ArraySource:
    """Samples in memory; they move to the device once, on first use.

    Args:
        inputs: `(N, ...)`, any dtype; images are kept as uint8 `(N, C, H, W)`.
        targets: `(N, ...)`.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        if len(inputs) != len(targets):
            raise DataError(
                f"there are {len(inputs)} samples but {len(targets)} targets; give one target for each sample."
            )
        self.inputs = inputs
        self.targets = targets
        self._resident: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.inputs)

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
