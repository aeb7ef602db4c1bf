"""A decoupled policy: independent categorical distributions over structure and operations.

Source: docs/methods/ednas.md#policy and docs/methods/ednas.md#policy-gradient.

The policy is a flat vector of logits on the host, one row of softmax logits for each choice. Sampling uses plain
integers, and the gradient of the log-probability is known in closed form: autograd has no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from archscout.jobs import State, Stored
from archscout.seeds import generator
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Factorization

__all__ = ["DecoupledPolicy", "Sample"]

INITIAL_DEVIATION = 1e-3  # logits start at 1e-3 N(0, 1); docs/methods/ednas.md#policy


@dataclass(frozen=True)
class Sample:
    """A drawn architecture and the draws that made it: `(row, option)`, in the policy's row numbers."""

    architecture: Architecture
    draws: tuple[tuple[int, int], ...]


class DecoupledPolicy(Stored):
    """The distributions over one factorized space.

    Args:
        choices: the space's factorization. Structure rows come first, then operation rows.
        seed: of the initial logits.

    Attributes:
        logits: float64 `(number of parameters,)`, on the CPU; an optimiser may hold it.
    """

    logits: State[Tensor]

    def __init__(self, choices: Factorization, seed: int) -> None:
        self._choices = choices
        self._sizes = [*choices.structure, *(len(names) for names in choices.operations)]
        self._starts = [sum(self._sizes[:row]) for row in range(len(self._sizes))]
        count = sum(self._sizes)
        self.logits = INITIAL_DEVIATION * torch.randn(count, generator=generator(seed, "policy"), dtype=torch.float64)
        self._cache: dict[int, list[float]] = {}
        self._cached = -1  # the version of the logits that the cache is of

    def probabilities(self, row: int) -> list[float]:
        """The distribution of one choice."""
        if self._cached != self.logits._version:  # counted by torch: one more after each change in place
            self._cache.clear()
            self._cached = self.logits._version
        if row not in self._cache:
            start = self._starts[row]
            logits = self.logits[start : start + self._sizes[row]].tolist()
            highest = max(logits)
            weights = [math.exp(logit - highest) for logit in logits]
            total = sum(weights)
            self._cache[row] = [weight / total for weight in weights]
        return self._cache[row]

    def _operation_row(self, row: int) -> int:
        return len(self._choices.structure) + row

    def sample(self, draw: Random) -> Sample:
        """Draw the structure, then an operation for each edge that the structure uses."""
        structure = [self._draw(row, draw) for row in range(len(self._choices.structure))]
        rows = [self._operation_row(row) for row in self._choices.active(structure)]
        operations = [self._draw(row, draw) for row in rows]
        draws = (*enumerate(structure), *zip(rows, operations, strict=True))
        return Sample(self._choices.assemble(structure, operations), draws)

    def _draw(self, row: int, draw: Random) -> int:
        return draw.choices(range(self._sizes[row]), self.probabilities(row))[0]

    def mode(self) -> Architecture:
        """The arg-max of every distribution."""
        structure = [self._most_likely(row) for row in range(len(self._choices.structure))]
        rows = [self._operation_row(row) for row in self._choices.active(structure)]
        architecture: Architecture = self._choices.assemble(structure, [self._most_likely(row) for row in rows])
        return architecture

    def _most_likely(self, row: int) -> int:
        probabilities = self.probabilities(row)
        return probabilities.index(max(probabilities))

    def share_of(self, operation: str, sample: Sample) -> float:
        """The share of a sample's operation draws that are of that name."""
        first = len(self._choices.structure)
        names = [self._choices.operations[row - first][option] for row, option in sample.draws if row >= first]
        return names.count(operation) / max(1, len(names))

    def log_probability(self, sample: Sample) -> float:
        """Log-probability of the draws."""
        return sum(math.log(self.probabilities(row)[option]) for row, option in sample.draws)

    def entropy(self) -> float:
        """Mean over all rows of the entropy, as a share of its maximum: 1 is uniform, 0 is decided."""
        shares = []
        for row, size in enumerate(self._sizes):
            if size > 1:
                terms = (p * math.log(p) for p in self.probabilities(row) if p > 0)
                shares.append(-sum(terms) / math.log(size))
        return sum(shares) / len(shares)

    def gradient(
        self, samples: Sequence[Sample], advantages: Sequence[float], *, double_softmax: bool = False
    ) -> Tensor:
        """Gradient of `-mean(advantage * log-probability)` with respect to the logits.

        On each row that a sample used it is `advantage * (p - onehot(option))`; on the other rows zero.

        Args:
            samples, advantages: one advantage for each sample.
            double_softmax: the published code's surrogate instead, which applies softmax to probabilities:
                `advantage * (diag(p) - p p^T) (softmax(p) - onehot(option))`. It is not the gradient of an expected
                reward (docs/methods/ednas.md#policy-gradient).
        """
        flat = [0.0] * len(self.logits)
        for sample, advantage in zip(samples, advantages, strict=True):
            scale = advantage / len(samples)
            for row, option in sample.draws:
                probabilities = self.probabilities(row)
                terms = _published_term(probabilities, option) if double_softmax else _score(probabilities, option)
                for index, term in enumerate(terms, start=self._starts[row]):
                    flat[index] += scale * term
        return torch.tensor(flat, dtype=torch.float64)


def _score(probabilities: Sequence[float], option: int) -> list[float]:
    return [p - (index == option) for index, p in enumerate(probabilities)]


def _published_term(probabilities: Sequence[float], option: int) -> list[float]:
    weights = [math.exp(p) for p in probabilities]
    total = sum(weights)
    outer = _score([weight / total for weight in weights], option)
    mean = sum(p * value for p, value in zip(probabilities, outer, strict=True))
    return [p * (value - mean) for p, value in zip(probabilities, outer, strict=True)]
