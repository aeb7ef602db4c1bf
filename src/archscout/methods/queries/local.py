"""Local search (arXiv 2005.02960): from a random architecture to a better neighbour until there is none; then again.

The neighbours are tried in random order, and the first better one is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar

from pydantic import Field

from archscout.methods.base import METHODS, SearchStage
from archscout.methods.queries.search import make_query_search
from archscout.methods.queries.settings import QuerySettings
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Enumerable

__all__ = ["LocalSearch", "LocalSearchSettings"]


class LocalSearchSettings(QuerySettings):
    """Settings of local search."""

    neighbours: int = Field(default=1, ge=1, description="scored together; with real training they run in parallel")


class _Trial:
    def __init__(self, space: Any, settings: LocalSearchSettings, draw: Random) -> None:
        self._space, self._settings, self._draw = space, settings, draw
        self._seen: set[Architecture] = set()
        self._score: float | None = None  # of where the search stands; None before the first
        self._open: list[Architecture] = []

    def ask(self) -> Sequence[Architecture]:
        if not self._open:
            self._score = None
            return [self._space.random(self._draw)]
        return self._open[: self._settings.neighbours]

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        self._seen.update(architectures)
        best = max(range(len(scores)), key=scores.__getitem__, default=None)
        if best is None:
            return
        if self._score is None or scores[best] > self._score:
            self._score = scores[best]
            self._open = [each for each in self._space.neighbours(architectures[best]) if each not in self._seen]
            self._draw.shuffle(self._open)
        else:
            self._open = self._open[len(architectures) :]


@METHODS.register("local")
class LocalSearch:
    """Local search with random restarts."""

    name: ClassVar[str] = "local"
    description: ClassVar[str] = (
        "local search: moves to the first better neighbour, and starts again where there is none"
    )
    settings_model: ClassVar[type[Settings]] = LocalSearchSettings
    requires: ClassVar[tuple[type, ...]] = (Enumerable,)

    def stages(self) -> Sequence[SearchStage]:
        """One stage: the search."""
        return [SearchStage("search", lambda context, before: make_query_search(context, self.name, _Trial))]
