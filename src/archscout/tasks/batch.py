"""Batches of shuffled samples for training, from any split.

The order of an epoch and the augmentation of a batch follow from the seed, the epoch and the position alone. The state
of a stream is therefore a few integers, and a resumed job sees exactly the batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import derive_seed, generator
from archscout.tasks.sources import known_targets
from archscout.tasks.task import Split, Task, Transform

__all__ = ["Batch", "BatchStream", "check_processes"]


class Batch(NamedTuple):
    """What a step learns from.

    `rate_scale` multiplies the learning rate of the step, by the length of a text's segment. Where a text begins,
    `starts` is true, and nothing is remembered from the batch before.
    """

    inputs: Tensor
    targets: Tensor
    rate_scale: float = 1.0
    starts: bool = False


class BatchStream:
    """An endless, resumable stream of training batches.

    Args:
        task: for preparation and augmentation.
        split: what to draw from; reshuffled each epoch.
        batch_size: per process.
        seed: of order and augmentation.
        extra: transforms after normalisation.
        drop_last: leave out the last batch of an epoch where it is smaller; always kept if it is the only one.
        sampling: "balanced" draws every class that the split has equally often, each class's samples equally often, in
            epochs of the usual length; None takes the task's, "natural" every sample once.
        share: of an epoch's n batches the first floor(share * n) + 1 (docs/methods/d2nas.md#tuning); None takes all.
        rank, world_size: with several processes each takes its own share of every epoch.
    """

    def __init__(
        self,
        task: Task,
        split: Split,
        batch_size: int,
        device: torch.device,
        seed: int,
        *,
        augment: bool = True,
        extra: tuple[Transform, ...] = (),
        drop_last: bool = False,
        sampling: Literal["natural", "balanced"] | None = None,
        share: float | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(split) < max(1, world_size):
            raise DataError(f"the split has {len(split)} samples; at least {max(1, world_size)} are needed.")
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}; it must be at least 1.")
        self._task, self._split, self._device = task, split, device
        self._batch_size, self._seed, self._augment, self._extra = batch_size, seed, augment, extra
        self._rank, self._world_size = rank, world_size
        self._classes = _classes_of(split) if (sampling or task.sampling) == "balanced" else None
        self._samples = len(split) // world_size
        whole, rest = divmod(self._samples, batch_size)
        batches = max(1, whole if drop_last or rest == 0 else whole + 1)
        self.batches_per_epoch = batches if share is None else min(batches, int(share * batches) + 1)
        self.epoch = 0
        self.position = 0
        self._iterator: Iterator[tuple[Tensor, Tensor]] | None = None

    @property
    def step(self) -> int:
        """Batches handed out so far."""
        return self.epoch * self.batches_per_epoch + self.position

    @property
    def passed(self) -> float:
        """Epochs so far, with the part of the present one."""
        return self.epoch + self.position / self.batches_per_epoch

    def _epoch_indices(self, start: int) -> Iterator[Tensor]:
        draw = generator(self._seed, "order", self.epoch)
        if self._classes is None:
            order = torch.randperm(len(self._split), generator=draw)
        else:
            order = _balanced_order(self._classes, draw)
        mine = self._split.indices[order[self._rank :: self._world_size][: self._samples]]
        for position in range(start, self.batches_per_epoch):
            yield mine[position * self._batch_size : (position + 1) * self._batch_size]

    def next_batch(self) -> Batch:
        """The next batch, prepared on the device."""
        if self._iterator is None:
            self._iterator = self._split.source.batches(
                self._epoch_indices(self.position),
                self._device,
                seed=derive_seed(self._seed, "decode", self.epoch) if self._augment else None,
            )
        raw, targets = next(self._iterator)
        seed = derive_seed(self._seed, "batch", self.epoch, self.position, self._rank) if self._augment else None
        self.position += 1
        if self.position == self.batches_per_epoch:
            self.epoch, self.position, self._iterator = self.epoch + 1, 0, None
        return Batch(self._task.prepare(raw, seed=seed, extra=self._extra), targets)

    def skip_epoch(self) -> None:
        """Leave out the rest of this epoch; the next one has an order of its own."""
        self.epoch, self.position, self._iterator = self.epoch + 1, 0, None

    def state_dict(self) -> dict[str, Any]:
        """Epoch and position, which hold for the saved number of processes only."""
        return {"epoch": self.epoch, "position": self.position, "world_size": self._world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a saved place. Raises DataError if this stream's epochs do not have that place."""
        check_processes(state.get("world_size"), self._world_size)
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position < self.batches_per_epoch:
            raise DataError(
                f"the saved place is batch {position} of epoch {epoch}, but an epoch has {self.batches_per_epoch} "
                "batches: data or batch size have changed since."
            )
        self.epoch, self.position, self._iterator = epoch, position, None


def _classes_of(split: Split) -> Tensor:
    """The class of each sample of a split. Raises DataError where they are not known, or there are none."""
    targets = known_targets(split.source)
    if targets is None or targets.dim() != 1:
        raise DataError("samples cannot be drawn by class: their classes are not known, or they have none.")
    return targets[split.indices].long()


def _balanced_order(classes: Tensor, draw: torch.Generator) -> Tensor:
    """As many positions as there are samples, every class that occurs equally often (to within one), shuffled.

    A class that is drawn oftener than it has samples repeats them all before it takes one again.
    """
    present = torch.unique(classes)
    whole, rest = divmod(len(classes), len(present))
    one_more = torch.randperm(len(present), generator=draw)[:rest]
    parts = []
    for number, label in enumerate(present.tolist()):
        members = (classes == label).nonzero().view(-1)
        wanted = whole + int((one_more == number).any())
        rounds = -(-wanted // len(members))
        drawn = [members[torch.randperm(len(members), generator=draw)] for _ in range(rounds)]
        parts.append(torch.cat(drawn)[:wanted] if drawn else members[:0])
    order = torch.cat(parts)
    return order[torch.randperm(len(order), generator=draw)]


def check_processes(before: int | None, now: int) -> None:
    """Raise DataError if a saved place in a stream is that of another number of processes; None: it was not noted."""
    if before not in (None, now):
        raise DataError(
            f"the saved place is that of {before} process{'es' * (before != 1)}, but {now} run now; every process has "
            "its share of each epoch. Start as many as before."
        )
