"""Several networks as one: the mean of their probabilities, or of their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.deployment.card import ModelCard
from archscout.errors import DataError

__all__ = ["Ensemble", "card_of_ensemble"]


class Ensemble(nn.Module):
    """Networks of one task, averaged.

    It gives what a single network of the task gives, so that all that works with one works with it: for classes the
    logarithms of the mean probabilities, whose softmax are the mean probabilities; for labels the logits of the mean
    probabilities; for numbers their mean.

    Args:
        members: networks in evaluation mode, all for the inputs and outputs of the card.
        card: of the ensemble.
        temperatures: by which each member's logits are divided.
    """

    def __init__(self, members: Sequence[nn.Module], card: ModelCard, temperatures: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.kind = card.spec.kind
        self.tells_classes = card.spec.kind == "classification" or card.is_map_of_classes
        self.temperatures = tuple(temperatures)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = [
            member(inputs).float() / temperature
            for member, temperature in zip(self.members, self.temperatures, strict=True)
        ]
        if self.tells_classes:
            return _log_mean([F.log_softmax(each, dim=1) for each in outputs])
        if self.kind == "multilabel":
            yes, no = ([F.logsigmoid(sign * each) for each in outputs] for sign in (1, -1))
            return _log_mean(yes) - _log_mean(no)
        return torch.stack(outputs).mean(0)


def _log_mean(logarithms: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of what the logarithms are of."""
    return torch.logsumexp(torch.stack(list(logarithms)), dim=0) - math.log(len(logarithms))


def card_of_ensemble(cards: Sequence[ModelCard], names: Sequence[str]) -> ModelCard:
    """The card of an ensemble of networks with these cards; its metrics are not known yet.

    Raises:
        DataError: the networks do not take and give the same.
    """
    first = cards[0]
    if first.spec.kind == "language":
        raise DataError(
            f"{names[0]} is a language model, which keeps a state from word to word; ensembles are for other tasks."
        )
    for (name, card), (other, after) in pairwise(zip(names, cards, strict=True)):
        for what in ("spec", "preparation", "mean", "std", "class_names", "scale", "metric"):
            if getattr(card, what) != getattr(after, what):
                raise DataError(
                    f"{name} and {other} do not do the same: their {_WORDS[what]} differ. An ensemble needs runs on "
                    "the same data, read in the same way."
                )
    return replace(first, values={}, temperature=1.0, thresholds=())


_WORDS = {
    "spec": "kinds of task, shapes or numbers of outputs",
    "preparation": "ways to read samples",
    "mean": "normalisations",
    "std": "normalisations",
    "class_names": "class names",
    "scale": "units of the targets",
    "metric": "metrics",
}
