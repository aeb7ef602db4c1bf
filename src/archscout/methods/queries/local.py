"""Local search (arXiv 2005.02960): from a random architecture to a better neighbour until there is none; then again.

The neighbours are tried in random order, and the first better one is taken.
"""

from __future__ import annotations

from random import Random
from typing import Any

from pydantic import Field

from archscout.methods.queries.search import Strategy, register_strategy
from archscout.methods.queries.settings import QuerySettings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Enumerable

__all__ = ["LocalSearchSettings", "climb"]


class LocalSearchSettings(QuerySettings):
    """Settings of local search."""

    neighbours: int = Field(default=1, ge=1, description="scored together; with real training they run in parallel")


def climb(space: Any, settings: LocalSearchSettings, draw: Random) -> Strategy:
    """One trial; see the module's docstring."""
    seen: set[Architecture] = set()
    while True:
        asked = [space.random(draw)]
        best: float | None = None  # of where the search stands
        while asked:
            scores = yield asked
            seen.update(asked)
            found = max(range(len(scores)), key=scores.__getitem__)
            if best is None or scores[found] > best:
                best = scores[found]
                untried = [each for each in space.neighbours(asked[found]) if each not in seen]
                draw.shuffle(untried)
            else:
                untried = untried[len(asked) :]
            asked = untried[: settings.neighbours]


register_strategy(
    "local",
    "local search: moves to the first better neighbour, and starts again where there is none",
    LocalSearchSettings,
    (Enumerable,),
    climb,
)
