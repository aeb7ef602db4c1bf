"""Regularised evolution (Real et al. 2019, arXiv 1802.01548): the baseline that is hard to beat on small spaces.

fill a population with random architectures
repeat: take the best of a few drawn members, mutate it, score the child, add it, and let the oldest member go
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from pydantic import Field

from archscout.methods.queries.search import Strategy, register_strategy
from archscout.methods.queries.settings import QuerySettings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Mutable

__all__ = ["EvolutionSettings", "evolve"]


class EvolutionSettings(QuerySettings):
    """Settings of regularised evolution; defaults of NAS-Bench-201 (docs/methods/dsm.md#settings-of-the-baselines)."""

    population: int = Field(default=10, ge=2)
    tournament: int = Field(default=3, ge=1, description="members of which the best becomes a parent")
    children: int = Field(default=1, ge=1, description="scored together; with real training they run in parallel")


def evolve(space: Any, settings: EvolutionSettings, draw: Random) -> Strategy:
    """One trial; see the module's docstring."""
    population: deque[tuple[Architecture, float]] = deque(maxlen=settings.population)
    while True:
        missing = settings.population - len(population)
        if missing:
            children = [space.random(draw) for _ in range(min(missing, settings.children))]
        else:
            parents = (
                max(draw.choices(list(population), k=settings.tournament), key=lambda member: member[1])
                for _ in range(settings.children)
            )
            children = [space.mutate(parent, draw) for parent, _ in parents]
        scores = yield children
        scored = zip(children, scores, strict=True)
        population.extend(member for member in scored if member[1] > float("-inf"))  # the oldest ones leave


register_strategy(
    "evolution",
    "regularised evolution: mutates the best of a few, and lets the oldest go",
    EvolutionSettings,
    (Mutable,),
    evolve,
)
