"""Regularised evolution (Real et al. 2019, arXiv 1802.01548): the baseline that is hard to beat on small spaces.

fill a population with random architectures
repeat: take the best of a few drawn members, mutate it, score the child, add it, and let the oldest member go
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar

from pydantic import Field

from archscout.methods.base import METHODS, SearchStage
from archscout.methods.queries.search import make_query_search
from archscout.methods.queries.settings import QuerySettings
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Mutable

__all__ = ["Evolution", "EvolutionSettings"]


class EvolutionSettings(QuerySettings):
    """Settings of regularised evolution; defaults of NAS-Bench-201 (docs/methods/dsm.md#settings-of-the-baselines)."""

    population: int = Field(default=10, ge=2)
    tournament: int = Field(default=3, ge=1, description="members of which the best becomes a parent")
    children: int = Field(default=1, ge=1, description="scored together; with real training they run in parallel")


class _Trial:
    def __init__(self, space: Any, settings: EvolutionSettings, draw: Random) -> None:
        self._space, self._settings, self._draw = space, settings, draw
        self._population: deque[tuple[Architecture, float]] = deque(maxlen=settings.population)

    def ask(self) -> Sequence[Architecture]:
        settings, members = self._settings, self._population
        missing = settings.population - len(members)
        if missing:
            return [self._space.random(self._draw) for _ in range(min(missing, settings.children))]
        parents = (
            max(self._draw.choices(list(members), k=settings.tournament), key=lambda member: member[1])
            for _ in range(settings.children)
        )
        return [self._space.mutate(parent, self._draw) for parent, _ in parents]

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        found = zip(architectures, scores, strict=True)
        self._population.extend(member for member in found if member[1] > float("-inf"))


@METHODS.register("evolution")
class Evolution:
    """Regularised evolution."""

    name: ClassVar[str] = "evolution"
    description: ClassVar[str] = "regularised evolution: mutates the best of a few, and lets the oldest go"
    settings_model: ClassVar[type[Settings]] = EvolutionSettings
    requires: ClassVar[tuple[type, ...]] = (Mutable,)

    def stages(self) -> Sequence[SearchStage]:
        """One stage: the search."""
        return [SearchStage("search", lambda context, before: make_query_search(context, self.name, _Trial))]
