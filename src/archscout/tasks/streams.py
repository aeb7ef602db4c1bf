"""The stream of training batches that fits a task: shuffled samples, or segments of a text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from archscout.tasks.batch import Batch, BatchStream
from archscout.tasks.segments import SegmentSettings, SegmentStream
from archscout.tasks.task import Split, Task, Transform

__all__ = ["TrainingStream", "chunks", "training_stream"]


class TrainingStream(Protocol):
    """An endless, resumable stream of training batches; see `BatchStream` and `SegmentStream`."""

    epoch: int
    position: int

    @property
    def batches_per_epoch(self) -> int: ...

    @property
    def step(self) -> int: ...

    @property
    def passed(self) -> float: ...

    def next_batch(self) -> Batch: ...

    def skip_epoch(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def chunks(stream: TrainingStream, size: int, last: int | None = None) -> Iterator[Iterator[Batch]]:
    """The rest of a stream's epoch, in groups of at most `size` batches; each group is to be used up.

    Args:
        stream: to take from.
        size: batches of a group.
        last: how many batches of an epoch are taken; the others are skipped. None takes all.
    """
    epoch = stream.epoch

    def group() -> Iterator[Batch]:
        for _ in range(size):
            if stream.epoch != epoch:
                return
            batch = stream.next_batch()
            ended = stream.epoch == epoch and stream.position == last
            yield batch
            if ended:
                stream.skip_epoch()

    while stream.epoch == epoch:
        yield group()


def training_stream(
    task: Task,
    split: Split,
    batch_size: int,
    device: torch.device,
    seed: int,
    *,
    segments: SegmentSettings | None = None,
    augment: bool = True,
    extra: tuple[Transform, ...] = (),
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> TrainingStream:
    """The stream for the task's kind; `segments` is for texts, `augment`, `extra` and `drop_last` for the others."""
    if task.spec.kind == "language":
        return SegmentStream(split, batch_size, device, seed, segments, rank=rank, world_size=world_size)
    return BatchStream(
        task,
        split,
        batch_size,
        device,
        seed,
        augment=augment,
        extra=extra,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
    )
