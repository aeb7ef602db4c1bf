"""Stage two: the validation score of some networks, cut out of the supernet, each with batch norms of its own."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import cast

from pydantic import Field

from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.shared_weights.judge import JudgeSettings, SubnetJudge
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["ScoringSettings", "SubnetScoring"]


class ScoringSettings(JudgeSettings):
    """How many networks are scored, and how."""

    subnets: int = Field(default=1000, ge=4, description="distinct networks, the smallest and the largest among them")


class SubnetScoring(Job[SearchResult]):
    """The scoring of random networks, drawn anew from the seed; its artifact is their codes and scores."""

    scores: State[list[float]]

    def __init__(self, context: SearchContext, settings: ScoringSettings) -> None:
        self._context, self._settings = context, settings
        self._judge = SubnetJudge(context, settings)
        self._subnets = self._drawn()
        self.scores = []

    def _drawn(self) -> dict[Architecture, str]:
        """Distinct networks and their origins."""
        context = self._context
        smallest, largest = context.space.extremes(context.task.spec, context.supernet_size)
        found: dict[Architecture, str] = {smallest: "smallest", largest: "largest"}
        draw = Random(derive_seed(context.seed, "scored networks"))
        while len(found) < self._settings.subnets:
            found.setdefault(context.space.random(draw), "random")
        return found

    def run(self) -> Iterator[Metrics]:
        """Network after network."""
        for architecture in list(self._subnets)[len(self.scores) :]:
            score = self._judge.score(architecture)
            self.scores.append(score)
            yield {"scored": float(len(self.scores)), "score": score, "best": max(self.scores)}

    def work(self) -> Iterator[tuple[float, float]]:
        """Networks."""
        yield len(self.scores), len(self._subnets)

    def result(self) -> SearchResult:
        """The networks, best first; the artifact has codes and scores in the order of drawing."""
        candidates = [
            Candidate(architecture, score, origin)
            for (architecture, origin), score in zip(self._subnets.items(), self.scores, strict=True)
        ]
        candidates.sort(key=lambda candidate: -candidate.score)
        space = cast(LayerCoded, self._context.space)
        codes = [list(space.encode(architecture)) for architecture in self._subnets]
        return SearchResult(
            candidates[0].architecture, candidates, artifact={"codes": codes, "scores": list(self.scores)}
        )
