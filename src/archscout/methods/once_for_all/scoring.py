"""Stage two: the validation score of some networks, cut out of the supernet, each with batch norms of its own."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from pydantic import Field

from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.shared_weights.judge import JudgeSettings, SubnetJudge
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["ScoringSettings", "SubnetScoring"]


class ScoringSettings(JudgeSettings):
    """How many networks are scored, and how."""

    subnets: int = Field(default=1000, ge=4, description="distinct networks, the smallest and the largest among them")


class SubnetScoring:
    """The scoring of random networks as a job; its artifact is their codes and scores."""

    def __init__(self, context: SearchContext, settings: ScoringSettings) -> None:
        self._context, self._settings = context, settings
        self._judge = SubnetJudge(context, settings)
        self._subnets = self._drawn()
        self._scores: list[float] = []

    def _drawn(self) -> dict[Architecture, str]:
        """Distinct networks and their origins."""
        context = self._context
        smallest, largest = context.space.extremes(context.task.spec, context.supernet_size)
        found: dict[Architecture, str] = {smallest: "smallest", largest: "largest"}
        draw = Random(derive_seed(context.seed, "scored networks"))
        while len(found) < self._settings.subnets:
            found.setdefault(context.space.random(draw), "random")
        return found

    def advance(self) -> dict[str, float]:
        """Score the next network."""
        architecture = list(self._subnets)[len(self._scores)]
        score = self._judge.score(architecture)
        self._scores.append(score)
        return {
            "progress": len(self._scores) / len(self._subnets),
            "scored": float(len(self._scores)),
            "score": score,
            "best": max(self._scores),
        }

    @property
    def done(self) -> bool:
        """Whether every network has its score."""
        return len(self._scores) == len(self._subnets)

    def result(self) -> SearchResult:
        """The networks, best first; the artifact has codes and scores in the order of drawing."""
        candidates = [
            Candidate(architecture, score, origin)
            for (architecture, origin), score in zip(self._subnets.items(), self._scores, strict=True)
        ]
        candidates.sort(key=lambda candidate: -candidate.score)
        space = cast(LayerCoded, self._context.space)
        codes = [list(space.encode(architecture)) for architecture in self._subnets]
        return SearchResult(
            candidates[0].architecture, candidates, artifact={"codes": codes, "scores": list(self._scores)}
        )

    def state_dict(self) -> dict[str, Any]:
        """Scores; the networks are drawn again from the seed."""
        return {"scores": list(self._scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._scores = [float(score) for score in state["scores"]]
