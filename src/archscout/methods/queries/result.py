"""What a search by queries keeps: the ledger of each trial, what it found, and the result over all trials."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from archscout.jobs import State, Stored
from archscout.methods.base import Candidate, SearchResult
from archscout.methods.queries.scoring import Scorer
from archscout.methods.queries.settings import QuerySettings
from archscout.spaces.architecture import Architecture, architecture_from_json, architecture_to_json

__all__ = ["TrialLedger", "SearchCourse", "Trial", "query_result"]

Code = tuple[int, ...]


class TrialLedger:
    """The budget of one trial, and what it has scored, by code.

    Attributes:
        queries: charged so far.
        seconds: charged so far, of the table's.
        seen: scores by code.
    """

    def __init__(self, settings: QuerySettings) -> None:
        self._settings = settings
        self.queries, self.seconds = 0, 0.0
        self.seen: dict[Code, float] = {}

    def charge(self, code: Code, score: float, seconds: float) -> None:
        """Enter a query; a repeated one is free where the settings say so."""
        if code in self.seen and not self._settings.charge_repeats:
            return
        self.seen[code] = score
        self.queries += 1
        self.seconds += seconds

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        limit = self._settings.seconds
        return self.queries >= self._settings.queries or (limit is not None and self.seconds > limit)

    @property
    def share(self) -> float:
        """The share of the budget that is used up."""
        limit = self._settings.seconds
        share = self.queries / self._settings.queries
        return min(1.0, share if limit is None else max(share, self.seconds / limit))

    def scored(self, decode: Callable[[Code], Architecture]) -> list[tuple[Architecture, float]]:
        """Everything that was scored, best first."""
        return [(decode(code), score) for code, score in sorted(self.seen.items(), key=lambda item: -item[1])]

    def state_dict(self) -> dict[str, Any]:
        """As JSON types."""
        seen = [[list(code), score] for code, score in self.seen.items()]
        return {"queries": self.queries, "seconds": self.seconds, "seen": seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.queries, self.seconds = int(state["queries"]), float(state["seconds"])
        self.seen = {tuple(code): float(score) for code, score in state["seen"]}


class SearchCourse(Stored):
    """How the first trial went: scores of its first centres; of each step number, slot, score, and if it replaced."""

    centres: State[list[float]]
    steps: State[list[list[float]]]

    def __init__(self) -> None:
        self.centres, self.steps = [], []

    def add(self, step: int, slot: int, score: float, replaced: bool) -> None:
        """Note a step."""
        self.steps.append([step, slot, round(score, 4), int(replaced)])


@dataclass(frozen=True)
class Trial:
    """The outcome of one trial.

    Attributes:
        best: the architecture with the highest score.
        score: its score.
        centres: where the search ended, for methods that have such; what a later search can start from.
        centre_scores: of these.
        queries, seconds: charged.
        distinct: architectures that were scored.
        scored: all of them with score, best first; left empty where there are many trials.
    """

    best: Architecture
    score: float
    queries: int
    distinct: int
    seconds: float = 0.0
    centres: Sequence[Architecture] = ()
    centre_scores: Sequence[float] = ()
    scored: Sequence[tuple[Architecture, float]] = ()

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "best": _plain(self.best),
            "score": self.score,
            "queries": self.queries,
            "distinct": self.distinct,
            "seconds": self.seconds,
            "centres": [_plain(each) for each in self.centres],
            "centre_scores": list(self.centre_scores),
            "scored": [[_plain(each), score] for each, score in self.scored],
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_fields`."""
        return cls(
            best=_read(fields["best"]),
            score=float(fields["score"]),
            queries=int(fields["queries"]),
            distinct=int(fields["distinct"]),
            seconds=float(fields["seconds"]),
            centres=[_read(each) for each in fields["centres"]],
            centre_scores=[float(score) for score in fields["centre_scores"]],
            scored=[(_read(each), float(score)) for each, score in fields["scored"]],
        )


def _plain(architecture: Architecture) -> Any:
    return json.loads(architecture_to_json(architecture))


def _read(content: Any) -> Architecture:
    return architecture_from_json(json.dumps(content))


def query_result(trials: Sequence[Trial], scorer: Scorer, *, course: SearchCourse | None = None) -> SearchResult:
    """The result over all trials.

    Its facts have `mean` and `std` over trials of the reported value of each trial's best architecture (of the score,
    where nothing else is reported), `trials`, `queries` (mean of a trial), and one record for each trial.
    """
    reported = scorer.report([trial.best for trial in trials])
    values = [trial.score for trial in trials] if reported is None else reported
    facts: dict[str, Any] = {
        "score": scorer.name,
        "report": scorer.name if reported is None else scorer.report_name,
        "mean": round(statistics.fmean(values), 6),
        "std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
        "trials": len(trials),
        "queries": round(statistics.fmean(trial.queries for trial in trials), 3),
        "distinct": round(statistics.fmean(trial.distinct for trial in trials), 3),
        "seconds": round(statistics.fmean(trial.seconds for trial in trials), 3),
        "score_mean": round(statistics.fmean(trial.score for trial in trials), 6),
    }
    records = []
    for trial, value in zip(trials, values, strict=True):
        record = trial.to_fields()
        del record["scored"]
        records.append({**record, "value": value})
    facts["each"] = records
    if course is not None and course.steps:
        facts["course"] = course.state_dict()
    if len(trials) == 1 and trials[0].scored:
        candidates = [Candidate(architecture, score, "searched") for architecture, score in trials[0].scored]
    else:
        candidates = [Candidate(trial.best, trial.score, f"trial {number}") for number, trial in enumerate(trials)]
        candidates.sort(key=lambda candidate: -candidate.score)
    best = max(trials, key=lambda trial: trial.score)
    return SearchResult(best.best, candidates, facts=facts)
