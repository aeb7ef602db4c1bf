"""Random search: the baseline that every method must beat (Li and Talwalkar, arXiv 1902.07638).

With shared weights, paths are drawn uniformly while the weights are trained; then uniformly drawn candidates are
ranked on the whole validation split. With `epochs: 0` and one candidate it hands over a random architecture. Where a
score or a table is named, uniformly drawn architectures are scored by it, within the budget of the methods that query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, ClassVar, cast

from pydantic import Field

from archscout.jobs import Job
from archscout.methods.base import METHODS, SearchContext, SearchResult, SearchStage
from archscout.methods.queries.search import make_query_search
from archscout.methods.queries.settings import QuerySettings
from archscout.methods.shared_weights.path_training import ChildSettings, PathTrainer, Ranking, RankingSettings
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import WeightSharing

__all__ = ["RandomSearch", "RandomSearchJob", "RandomSettings"]


class RandomSettings(QuerySettings):
    """Settings of random search; with `score` or `table` those of `QuerySettings` hold, else those below."""

    epochs: int = Field(default=300, ge=0, description="of the shared weights; 0 trains none")
    child: ChildSettings = ChildSettings()
    ranking: RankingSettings = RankingSettings()


class RandomSearchJob:
    """The search as a job; see the module's docstring."""

    def __init__(self, context: SearchContext) -> None:
        self._context, self._settings = context, cast(RandomSettings, context.settings)
        self._trainer = PathTrainer(context, self._settings.child, max(1, self._settings.epochs))
        self._ranking = Ranking(context, self._settings.ranking, self._trainer)

    def advance(self) -> dict[str, float]:
        """Some steps of the weights, or a group of the ranking."""
        if self._trainer.stream.epoch < self._settings.epochs:
            space = self._context.space
            metrics = self._trainer.train(lambda number: space.random(self._draw("child", number)))
        else:
            if not self._ranking.started:
                self._ranking.start(self._proposals())
            metrics = self._ranking.advance()
        stream = self._trainer.stream
        done = stream.epoch + stream.position / stream.batches_per_epoch + self._ranking.share
        return {"progress": done / (self._settings.epochs + 1), **metrics}

    def _proposals(self) -> Iterator[tuple[Architecture, str]]:
        draw = self._draw("candidates")
        while True:
            yield self._context.space.random(draw), "random"

    def _draw(self, *purpose: str | int) -> Random:
        return Random(derive_seed(self._context.seed, "random search", *purpose))

    @property
    def done(self) -> bool:
        """Whether all candidates are ranked."""
        return self._ranking.done

    def result(self) -> SearchResult:
        """The best candidate, and all of them."""
        return self._ranking.result()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, place in the data, scores."""
        return {"trainer": self._trainer.state_dict(), "ranking": self._ranking.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._trainer.load_state_dict(state["trainer"])
        if state["ranking"]["started"]:
            self._ranking.start(self._proposals())
        self._ranking.load_state_dict(state["ranking"])


class _Trial:
    def __init__(self, space: Any, settings: RandomSettings, draw: Random) -> None:
        self._space, self._draw = space, draw

    def ask(self) -> Sequence[Architecture]:
        return [self._space.random(self._draw)]

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """Nothing is learned."""


def _make_search(context: SearchContext, before: Architecture | None) -> Job:
    settings = cast(RandomSettings, context.settings)
    if settings.score is None and settings.table is None:
        return RandomSearchJob(context)
    return make_query_search(context, "random", _Trial)


@METHODS.register("random")
class RandomSearch:
    """Random search, with shared weights or by any score."""

    name: ClassVar[str] = "random"
    description: ClassVar[str] = "uniform random search, with shared weights or by any score: the baseline to beat"
    settings_model: ClassVar[type[Settings]] = RandomSettings
    requires: ClassVar[tuple[type, ...]] = (WeightSharing,)

    def stages(self) -> Sequence[SearchStage]:
        """One stage: the search."""
        return [SearchStage("search", _make_search)]
