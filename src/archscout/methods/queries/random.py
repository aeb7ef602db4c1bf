"""Random search: the baseline that every method must beat (Li and Talwalkar, arXiv 1902.07638).

With shared weights, paths are drawn uniformly while the weights are trained; then uniformly drawn candidates are
ranked on the whole validation split. With `epochs: 0` and one candidate it hands over a random architecture. Where a
score or a table is named, uniformly drawn architectures are scored by it, within the budget of the methods that query.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, cast

from pydantic import Field

from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.queries.scorers import check_scorer
from archscout.methods.queries.search import Strategy, make_query_search
from archscout.methods.queries.settings import QuerySettings
from archscout.methods.shared_weights.path_training import ChildSettings, PathTrainer, Ranking, RankingSettings
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import WeightSharing

__all__ = ["RandomSearch", "RandomSettings"]


class RandomSettings(QuerySettings):
    """Settings of random search; with `score` or `table` those of `QuerySettings` hold, else those below."""

    epochs: int = Field(default=300, ge=0, description="of the shared weights; 0 trains none")
    child: ChildSettings = ChildSettings()
    ranking: RankingSettings = RankingSettings()


class RandomSearch(Job[SearchResult]):
    """The search with shared weights; see the module's docstring."""

    trainer: State[PathTrainer]
    ranking: State[Ranking]

    def __init__(self, context: SearchContext) -> None:
        self.context, self.settings = context, cast(RandomSettings, context.settings)
        self.trainer = PathTrainer(context, self.settings.child, max(1, self.settings.epochs))
        self.ranking = Ranking(context, self.settings.ranking, self.trainer)

    def run(self) -> Iterator[Metrics]:
        """The weights, then the ranking."""
        while self.trainer.stream.epoch < self.settings.epochs:
            yield self.trainer.train(lambda number: self.context.space.random(self._draw("child", number)))
        yield from self.ranking.run(self.proposals())

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs; scoring the candidates counts as one."""
        yield self.trainer.stream.passed, self.settings.epochs
        yield self.ranking.share, 1

    def result(self) -> SearchResult:
        """The best candidate, and all of them."""
        return self.ranking.result()

    def proposals(self) -> Iterator[tuple[Architecture, str]]:
        """Uniform draws without end."""
        draw = self._draw("candidates")
        while True:
            yield self.context.space.random(draw), "random"

    def _draw(self, *purpose: str | int) -> Random:
        return Random(derive_seed(self.context.seed, "random search", *purpose))


def draw_one(space: Any, settings: RandomSettings, draw: Random) -> Strategy:
    """One trial by any score; nothing is learned."""
    while True:
        yield [space.random(draw)]


def _search(context: SearchContext, before: Architecture | None) -> Job[SearchResult]:
    settings = cast(RandomSettings, context.settings)
    if settings.score is None and settings.table is None:
        return RandomSearch(context)
    return make_query_search(context, "random", draw_one)


def _check(context: SearchContext) -> None:
    settings = cast(RandomSettings, context.settings)
    if settings.score is not None or settings.table is not None:
        check_scorer(context)


register_method(
    Method(
        name="random",
        description="uniform random search, with shared weights or by any score: the baseline to beat",
        settings=RandomSettings,
        requires=(WeightSharing,),
        stages=(SearchStage("search", _search),),
        check=_check,
    )
)
