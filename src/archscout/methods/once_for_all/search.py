"""Stage four: search under limits with the predictor, and check the best proposals with the shared weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from pydantic import Field, field_validator

from archscout.errors import closest
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.limits import Limits
from archscout.methods.once_for_all.predictor import PredictorScorer
from archscout.methods.once_for_all.searchers import SEARCHERS
from archscout.methods.shared_weights.judge import JudgeSettings, SubnetJudge
from archscout.seeds import derive_seed
from archscout.spaces.architecture import architecture_from_json, architecture_to_json
from archscout.spaces.base import LayerCoded

__all__ = ["LimitedSearch", "LimitedSearchSettings"]


class LimitedSearchSettings(JudgeSettings):
    """How the architecture is searched."""

    searcher: str = Field(default="dsm", description="who proposes: dsm or random")
    budget: int = Field(default=5000, ge=1, description="architectures that the predictor may score")
    limits: Limits = Limits()
    verify: int = Field(
        default=10, ge=0, description="best proposals to score with shared weights; the best of them wins"
    )

    @field_validator("searcher")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SEARCHERS:
            near = closest(name, SEARCHERS) or list(SEARCHERS)
            raise ValueError(f"unknown searcher; allowed: {', '.join(near)}")
        return name


class LimitedSearch(Job[SearchResult]):
    """The search: one step for the searcher, then one for each proposal that is checked.

    Args:
        context: of the search; the stages before are over.
        inherit_weights: hand the shared weights of the result to the final training.
    """

    proposals: State[list[dict[str, Any]]]  # architecture as JSON text, predicted score, origin
    scores: State[list[float]]

    def __init__(self, context: SearchContext, settings: LimitedSearchSettings, *, inherit_weights: bool) -> None:
        self._context, self._settings, self._inherit = context, settings, inherit_weights
        self._judge = SubnetJudge(context, settings)
        self.proposals, self.scores = [], []

    def run(self) -> Iterator[Metrics]:
        """Let the searcher propose, then check the best proposals."""
        if not self.proposals:
            found = self._propose()
            self.proposals = [
                {"architecture": architecture_to_json(each.architecture), "score": each.score, "origin": each.origin}
                for each in found.candidates[: max(1, self._settings.verify)]
            ]
            yield {"predicted": found.candidates[0].score, "proposed": float(len(found.candidates))}
        while len(self.scores) < self._verified:
            candidate = self._candidates()[len(self.scores)]
            self.scores.append(self._judge.score(candidate.architecture))
            yield {"predicted": candidate.score, "score": self.scores[-1], "best": max(self.scores)}

    def work(self) -> Iterator[tuple[float, float]]:
        """The searcher, and each check, count the same."""
        yield (1.0 if self.proposals else 0.0) + len(self.scores), 1 + self._verified

    def _candidates(self) -> list[Candidate]:
        """The proposals with their predicted scores."""
        return [
            Candidate(architecture_from_json(each["architecture"]), float(each["score"]), each["origin"])
            for each in self.proposals
        ]

    def _propose(self) -> SearchResult:
        context, limits = self._context, self._settings.limits
        scorer = PredictorScorer(cast(LayerCoded, context.space), context.artifact("predictor"))
        searcher = SEARCHERS.get(self._settings.searcher)(self._settings.budget)
        return searcher(
            context.space,
            scorer,
            lambda architecture: limits.admit(context, architecture),
            context.space.extremes(context.task.spec, context.network_size)[0],
            derive_seed(context.seed, "searcher"),
        )

    @property
    def _verified(self) -> int:
        """How many proposals are checked in all."""
        return len(self.proposals) if self._settings.verify else 0

    def result(self) -> SearchResult:
        """The best checked proposal, and all of them; without checks the best prediction."""
        candidates = self._candidates()
        if self._settings.verify:
            candidates = [replace(each, score=score) for each, score in zip(candidates, self.scores, strict=True)]
            candidates.sort(key=lambda candidate: -candidate.score)
        best = candidates[0].architecture
        weights = self._judge.network(best).state_dict() if self._inherit else None
        return SearchResult(best, candidates, weights=weights)
