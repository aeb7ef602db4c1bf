"""The judge of texts: perplexity by how frequent words are, and the words that cost most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.pipeline.insight.bootstrap import RESAMPLES, interval_of
from archscout.pipeline.insight.content import Interval, WordBand
from archscout.pipeline.insight.judges import Table
from archscout.pipeline.insight.scores import names_of
from archscout.seeds import generator
from archscout.tasks.choices import split_targets
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.task import Task

__all__ = ["WordJudge"]

MOST_COSTLY = 50
LOGITS_AT_ONCE = 2**22
BANDS = ((0, 0), (1, 9), (10, 99), (100, 999), (1000, 9999), (10_000, None))


class WordJudge:
    """Of the words of a text.

    Args:
        task: for its vocabulary, and for how frequent words are in its training text.
    """

    def __init__(self, task: Task) -> None:
        size = task.spec.outputs
        self._names = names_of(task.class_names, size)
        self._frequency = torch.bincount(split_targets(task.train).flatten().long(), minlength=size)
        self._loss = torch.zeros(size, dtype=torch.float64)
        self._count = torch.zeros(size, dtype=torch.float64)
        self._segments: list[Tensor] = []

    def update(self, outputs: Tensor | DeferredLogits, targets: Tensor) -> None:
        """Add segments: logits `(N, T, V)` and words `(N, T)`."""
        costs = _costs(outputs, targets)
        known = targets != IGNORED
        self._loss += torch.bincount(targets[known], costs[known], minlength=len(self._loss))
        self._count += torch.bincount(targets[known], minlength=len(self._count))
        self._segments.append(torch.stack([(costs * known).sum(1), known.double().sum(1)], 1))

    def intervals(self, metric: str, seed: int) -> dict[str, Interval]:
        """That of the perplexity: segments are drawn, since neighbouring words depend on each other."""
        if metric != "perplexity":
            return {}
        sums = torch.cat(self._segments)
        sums = sums[sums[:, 1] > 0]
        if len(sums) < 2:
            return {}
        values = []
        for number in range(RESAMPLES):
            drawn = torch.randint(len(sums), (len(sums),), generator=generator(seed, "bootstrap", number))
            total, words = sums[drawn].sum(0).tolist()
            values.append(math.exp(total / words))
        return {metric: interval_of(torch.tensor(values, dtype=torch.float64), "segments")}

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        bands = []
        for low, high in BANDS:
            inside = (self._frequency >= low) & (self._frequency <= (math.inf if high is None else high))
            words = float(self._count[inside].sum())
            if words:
                bands.append(WordBand(low, high, int(words), math.exp(float(self._loss[inside].sum()) / words)))
        whole = float(self._loss.sum()) or 1.0
        order = torch.argsort(self._loss, descending=True, stable=True)[:MOST_COSTLY]
        costly = tuple(
            (
                self._names[word],
                int(self._count[word]),
                math.exp(float(self._loss[word] / self._count[word])),
                float(self._loss[word]) / whole,
            )
            for word in order.tolist()
            if self._count[word]
        )
        return {"class_names": (), "bands": tuple(bands), "costly": costly}

    def table(self, names: Sequence[str]) -> Table:
        return []


def _costs(outputs: Tensor | DeferredLogits, targets: Tensor) -> Tensor:
    """The negative log-likelihood of each word, `(N, T)` float64; logits are made row by row."""
    rows = []
    for place in range(len(targets)):
        if isinstance(outputs, DeferredLogits):
            logits = F.linear(outputs.features[:, place], outputs.weight, outputs.bias)
        else:
            logits = outputs[place]
        truth = targets[place].clamp(min=0).to(logits.device)
        step = max(1, LOGITS_AT_ONCE // max(1, logits.shape[-1]))
        parts = [
            F.cross_entropy(part.float(), words, reduction="none").double().cpu()
            for part, words in zip(torch.split(logits, step), torch.split(truth, step), strict=True)
        ]
        rows.append(torch.cat(parts))
    return torch.stack(rows)
