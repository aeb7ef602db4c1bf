"""REINFORCE with one independent distribution for each layer: the baseline of NAS-Bench-201.

repeat: draw the operation of every layer from its softmax, score the architecture,
        one Adam step along (score - baseline) * grad log p, and move the baseline
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from archscout.methods.base import METHODS, SearchStage
from archscout.methods.queries.search import make_query_search
from archscout.methods.queries.settings import QuerySettings
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["Reinforce", "ReinforceSettings"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class ReinforceSettings(QuerySettings):
    """Settings of REINFORCE; the defaults are those of NATS-Bench (docs/methods/dsm.md#settings-of-the-baselines)."""

    lr: float = Field(default=0.01, gt=0, description="NATS-Bench's; NAS-Bench-201's script has 0.5")
    baseline_decay: float = Field(default=0.9, ge=0, lt=1)
    samples: int = Field(default=1, ge=1, description="for each step; with real training they run in parallel")


class _Trial:
    def __init__(self, space: Any, settings: ReinforceSettings, draw: Random) -> None:
        self._space, self._settings, self._draw = space, settings, draw
        blocked = ~np.array(space.layer_code.allowed)
        self._logits = np.where(blocked, -np.inf, 1e-3 * np.array([[draw.gauss(0, 1) for _ in row] for row in blocked]))
        self._moments = np.zeros((2, *blocked.shape))
        self._baseline: float | None = None
        self._step = 0
        self._codes: list[list[int]] = []

    def _probabilities(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        odds = np.exp(self._logits - self._logits.max(1, keepdims=True))
        shares: np.ndarray[Any, np.dtype[np.float64]] = odds / odds.sum(1, keepdims=True)
        return shares

    def ask(self) -> Sequence[Architecture]:
        rows = self._probabilities().tolist()
        choices = range(len(rows[0]))
        self._codes = [
            [self._draw.choices(choices, weights=row)[0] for row in rows] for _ in range(self._settings.samples)
        ]
        return [self._space.decode(code) for code in self._codes]

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        known = [(code, score) for code, score in zip(self._codes, scores, strict=False) if score > float("-inf")]
        if not known:
            return
        mean = float(np.mean([score for _, score in known]))
        decay = self._settings.baseline_decay
        self._baseline = mean if self._baseline is None else decay * self._baseline + (1 - decay) * mean
        probabilities = self._probabilities()
        gradient = np.zeros_like(probabilities)
        for code, score in known:
            towards = -probabilities
            towards[range(len(code)), code] += 1
            gradient -= (score - self._baseline) * towards / len(known)
        self._adam(gradient)

    def _adam(self, gradient: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        self._step += 1
        for moment, beta, value in zip(self._moments, BETAS, (gradient, gradient**2), strict=True):
            moment *= beta
            moment += (1 - beta) * value
        first, second = (m / (1 - beta**self._step) for m, beta in zip(self._moments, BETAS, strict=True))
        self._logits = self._logits - self._settings.lr * first / (np.sqrt(second) + EPSILON)


@METHODS.register("reinforce")
class Reinforce:
    """REINFORCE with one independent distribution for each layer."""

    name: ClassVar[str] = "reinforce"
    description: ClassVar[str] = "policy gradient on one independent distribution for each layer"
    settings_model: ClassVar[type[Settings]] = ReinforceSettings
    requires: ClassVar[tuple[type, ...]] = (LayerCoded,)

    def stages(self) -> Sequence[SearchStage]:
        """One stage: the search."""
        return [SearchStage("search", lambda context, before: make_query_search(context, self.name, _Trial))]
