"""Searchers: they propose architectures, which the predictor scores. `SEARCHERS` has a maker for each name.

A searcher is a function of a space, a scorer, a test whether an architecture is admitted, the smallest architecture,
and a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol, cast, runtime_checkable

from archscout.errors import SpaceError
from archscout.methods.base import Candidate, SearchResult
from archscout.methods.dsm.dsm import DsmSearch
from archscout.methods.dsm.trials import DsmSettings
from archscout.methods.queries.scoring import FunctionScorer
from archscout.registry import Registry
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded, SearchSpace

__all__ = ["SEARCHERS", "Admit", "Scorer", "Searcher"]


class Scorer(Protocol):
    """Scores architectures; higher is better."""

    def __call__(self, architectures: Sequence[Architecture]) -> Sequence[float]:
        """One score for each architecture."""
        ...


@runtime_checkable
class Scales(Protocol):
    """A scorer that tells what its scores are to be multiplied with where settings are meant for percent."""

    scale: float


Admit = Callable[[Architecture], bool]
"""Whether an architecture keeps the limits."""

Searcher = Callable[[SearchSpace, Scorer, Admit, Architecture, int], SearchResult]
"""`(space, scorer, admit, smallest, seed)` to the best architecture and everything that was scored, best first. All of
them are admitted, as the smallest architecture is."""

SEARCHERS: Registry[Callable[[int], Searcher]] = Registry("searcher", "archscout.methods")
"""Makers of searchers: from the number of architectures that may be scored to the searcher."""

ADMISSION_TRIES = 200  # draws for each architecture that is wanted, before a searcher gives up
PERCENT = 100.0
# Of DSM-NAS in the MobileNet space (docs/methods/dsm.md#published-settings): centres and edits.
SLOTS, EDITS = 10, 2
PROPOSALS = 8  # for each update: the predictor scores them together


@SEARCHERS.register("random")
def random_searcher(budget: int) -> Searcher:
    """The best of `budget` random admitted architectures."""

    def search(space: SearchSpace, scorer: Scorer, admit: Admit, smallest: Architecture, seed: int) -> SearchResult:
        draw = Random(derive_seed(seed, "random searcher"))
        found: dict[Architecture, None] = {}
        for _ in range(ADMISSION_TRIES * budget):
            architecture = space.random(draw)
            if admit(architecture):
                found[architecture] = None
            if len(found) == budget:
                break
        if not found:
            raise SpaceError(
                f"none of {ADMISSION_TRIES * budget} random architectures keeps search.limits. Raise the limits, or "
                "choose a searcher that starts from small architectures: search.search.searcher=dsm"
            )
        scores = scorer(list(found))
        candidates = [Candidate(each, score, "random") for each, score in zip(found, scores, strict=True)]
        candidates.sort(key=lambda candidate: -candidate.score)
        return SearchResult(candidates[0].architecture, candidates)

    return search


@SEARCHERS.register("dsm")
def dsm_searcher(budget: int) -> Searcher:
    """DSM-NAS with ten centres and two edits; repeats cost a query, as published."""

    def search(space: SearchSpace, scorer: Scorer, admit: Admit, smallest: Architecture, seed: int) -> SearchResult:
        slots = max(2, min(SLOTS, budget // 2))
        settings = DsmSettings(slots=slots, edits=EDITS, proposals=PROPOSALS, queries=max(budget, slots + 1))
        scale = scorer.scale if isinstance(scorer, Scales) else PERCENT
        in_percent = FunctionScorer(
            lambda architectures: [scale * score for score in scorer(architectures)], name="predictor", quick=True
        )
        job = DsmSearch(cast(LayerCoded, space), in_percent, settings, seed=seed, admit=admit, smallest=smallest)
        found = job.complete()
        candidates = [Candidate(each.architecture, each.score / scale, "dsm") for each in found.candidates]
        return SearchResult(found.architecture, candidates)

    return search
