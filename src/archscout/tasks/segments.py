"""Segments of a text: truncated back-propagation through time, with lengths drawn anew for each epoch.

A text is cut into as many columns as the batch has rows, and every batch is the next piece of all columns: what the
network remembers at the end of one segment is where the next one begins. Inputs and targets are `(N, T)`: sample first,
as for any other task; a target is the word that follows.

Source: Merity et al. 2018 (arXiv 1708.02182); docs/methods/darts_recurrent.md#settings-of-search-and-training.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.tasks.batch import Batch, check_processes
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.readers.text import TextSource
from archscout.tasks.task import Split

__all__ = ["SegmentSettings", "SegmentStream", "evaluation_segments", "segment_lengths"]

EVALUATION_LENGTH = 35  # has no influence on the result beyond rounding: the state is carried


class SegmentSettings(Settings):
    """How long the segments of a text are. Tasks other than language have none."""

    length: int = Field(default=35, ge=1, description="words")
    halved: float = Field(default=0.05, ge=0, le=1, description="share of the segments that are half as long")
    deviation: float = Field(default=0.0, ge=0, description="standard deviation of the length around that")
    shortest: int = Field(default=5, ge=1, description="only with a deviation")
    longest: int = Field(default=55, ge=1, description="only with a deviation")


def _words(split: Split) -> Tensor:
    if not isinstance(split.source, TextSource):
        raise DataError("segments are cut from a text; this split holds something else.")
    return split.source.words[split.indices]


def segment_lengths(settings: SegmentSettings, words: int, seed: int) -> list[int]:
    """The lengths of the segments that cover so many words in order; the last one takes what is left."""
    draw, lengths, left = Random(seed), [], words
    while left > 0:
        base = settings.length if draw.random() >= settings.halved else settings.length / 2
        length = int(base)
        if settings.deviation:
            length = min(settings.longest, max(settings.shortest, int(draw.gauss(base, settings.deviation))))
        lengths.append(min(left, max(1, length)))
        left -= lengths[-1]
    return lengths


class SegmentStream:
    """An endless, resumable stream of training segments; the counterpart of `BatchStream` for texts.

    Args:
        split: of a text.
        batch_size: columns, per process. The text is cut to a multiple of all columns, as published.
        seed: of the lengths.
        settings: of the lengths.
        rank, world_size: each process has its own columns.

    Attributes:
        epoch, position: of the next segment.
        step: segments handed out so far.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        device: torch.device,
        seed: int,
        settings: SegmentSettings | None = None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        words, columns = _words(split), batch_size * world_size
        rows = len(words) // columns
        if rows < 2:
            raise DataError(
                f"the text has {len(words):,} words: too few for {columns} columns of at least 2. "
                f"Lower the batch size to at most {len(words) // (2 * world_size)}."
            )
        table = words[: rows * columns].view(columns, rows)
        self._table = table[rank * batch_size : (rank + 1) * batch_size].to(device)
        self._seed, self._settings, self._rows = seed, settings or SegmentSettings(), rows
        self._world_size = world_size
        self.epoch = self.position = self.step = 0
        self._lengths = self._draw_lengths()

    def _draw_lengths(self) -> list[int]:
        return segment_lengths(self._settings, self._rows - 1, derive_seed(self._seed, "lengths", self.epoch))

    @property
    def batches_per_epoch(self) -> int:
        """Segments of the present epoch."""
        return len(self._lengths)

    @property
    def passed(self) -> float:
        """Epochs so far, with the part of the present one."""
        return self.epoch + self.position / self.batches_per_epoch

    def next_batch(self) -> Batch:
        """The next segment; its learning rate is scaled by its length, relative to the usual one."""
        start, length = sum(self._lengths[: self.position]), self._lengths[self.position]
        batch = Batch(
            self._table[:, start : start + length],
            self._table[:, start + 1 : start + length + 1],
            rate_scale=length / self._settings.length,
            starts=self.position == 0,
        )
        self.position, self.step = self.position + 1, self.step + 1
        if self.position == self.batches_per_epoch:
            self.skip_epoch()
        return batch

    def skip_epoch(self) -> None:
        """Leave out the rest of this epoch; the next one has lengths of its own."""
        self.epoch, self.position = self.epoch + 1, 0
        self._lengths = self._draw_lengths()

    def state_dict(self) -> dict[str, Any]:
        """Epoch, position and step, which hold for the saved number of processes only."""
        return {"epoch": self.epoch, "position": self.position, "step": self.step, "world_size": self._world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a saved place. Raises DataError if this stream's epochs do not have that place."""
        check_processes(state.get("world_size"), self._world_size)
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self._lengths = self._draw_lengths()
        position = int(state["position"])
        if not 0 <= position < self.batches_per_epoch:
            raise DataError(
                f"the saved place is segment {position} of epoch {self.epoch}, which has {self.batches_per_epoch}: "
                "text, batch size, segment lengths or number of processes have changed since."
            )
        self.position = position


def evaluation_segments(split: Split, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """The whole text once, in order, in at most `batch_size` columns.

    Every word but the first is a target exactly once: the columns overlap by one word, and the last column is filled up
    with targets that are ignored.
    """
    words = _words(split)
    if len(words) < 2:
        raise DataError(f"the text has {len(words)} words; at least 2 are needed.")
    targets = len(words) - 1
    rows = -(-targets // min(batch_size, targets))
    columns = -(-targets // rows)
    missing = rows * columns - targets
    inputs = torch.cat([words[:-1], words.new_zeros(missing)]).view(columns, rows).to(device)
    following = torch.cat([words[1:], words.new_full((missing,), IGNORED)]).view(columns, rows).to(device)
    for start in range(0, rows, EVALUATION_LENGTH):
        part = slice(start, start + EVALUATION_LENGTH)
        yield Batch(inputs[:, part], following[:, part], starts=start == 0)
