"""REINFORCE with one independent distribution for each layer: the baseline of NAS-Bench-201.

repeat: draw the operation of every layer from its softmax, score the architecture,
        one Adam step along (score - baseline) * grad log p, and move the baseline
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

import torch
from pydantic import Field
from torch.nn import functional

from archscout.methods.queries.search import Strategy, register_strategy
from archscout.methods.queries.settings import QuerySettings
from archscout.spaces.base import LayerCoded

__all__ = ["ReinforceSettings", "reinforce"]


class ReinforceSettings(QuerySettings):
    """Settings of REINFORCE; the defaults are those of NATS-Bench (docs/methods/dsm.md#settings-of-the-baselines)."""

    lr: float = Field(default=0.01, gt=0, description="NATS-Bench's; NAS-Bench-201's script has 0.5")
    baseline_decay: float = Field(default=0.9, ge=0, lt=1)
    samples: int = Field(default=1, ge=1, description="for each step; with real training they run in parallel")


def reinforce(space: Any, settings: ReinforceSettings, draw: Random) -> Strategy:
    """One trial; see the module's docstring."""
    allowed = torch.tensor(space.layer_code.allowed)
    start = torch.tensor([[draw.gauss(0, 1) for _ in row] for row in allowed], dtype=torch.float64)
    logits = (1e-3 * start).masked_fill(~allowed, -math.inf)
    adam = torch.optim.Adam([logits], lr=settings.lr)
    baseline: float | None = None
    while True:
        probabilities = logits.softmax(1)
        rows = probabilities.tolist()
        codes = [[draw.choices(range(len(row)), weights=row)[0] for row in rows] for _ in range(settings.samples)]
        scores = yield [space.decode(code) for code in codes]
        known = [(code, score) for code, score in zip(codes, scores, strict=True) if score > -math.inf]
        if not known:
            continue
        mean = sum(score for _, score in known) / len(known)
        decay = settings.baseline_decay
        baseline = mean if baseline is None else decay * baseline + (1 - decay) * mean
        gradient = torch.zeros_like(logits)
        for code, score in known:
            towards = functional.one_hot(torch.tensor(code), len(rows[0])) - probabilities
            gradient -= (score - baseline) * towards / len(known)
        logits.grad = gradient
        adam.step()


register_strategy(
    "reinforce",
    "policy gradient on one independent distribution for each layer",
    ReinforceSettings,
    (LayerCoded,),
    reinforce,
)
