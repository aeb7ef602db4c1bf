"""The batches that fit a task, for training and for evaluation: samples, or segments of a text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from archscout.tasks.batch import Batch, BatchStream
from archscout.tasks.segments import SegmentSettings, SegmentStream, evaluation_segments
from archscout.tasks.sources import whole_samples
from archscout.tasks.task import Split, Task, Transform

__all__ = ["TrainingStream", "chunks", "evaluation_batches", "training_stream"]


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
    """The stream for the task's kind; `segments` is for texts, `augment`, `extra` and `drop_last` for the others.

    What is not augmented is judged on, not learnt from: such batches are drawn as the samples are, whatever the task's
    sampling.
    """
    if task.spec.is_text:
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
        sampling=None if augment else "natural",
        rank=rank,
        world_size=world_size,
    )


def _in_order(split: Split, batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(split), batch_size):
        yield split.indices[start : start + batch_size]


def evaluation_batches(task: Task, split: Split, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """The whole split once, in order, without augmentation; a text in `batch_size` columns.

    Where training takes crops of its samples, these are whole samples here, and perhaps fewer in a batch.
    """
    if task.spec.is_text:
        yield from evaluation_segments(split, batch_size, device)
        return
    size = min(batch_size, task.evaluation_batch_size or batch_size)
    source = whole_samples(split.source)
    for raw, targets in source.batches(_in_order(split, size), device):
        yield Batch(task.prepare(raw), targets)
