"""Searches that ask for the score of a few architectures and then decide what to ask next.

A `Strategy` is one trial of such a method: `ask` names architectures, `tell` gives it their scores. `QuerySearch` runs
the trials of any strategy as one job, so that the scorer gets the questions of all trials together. A strategy is
deterministic given its seed and the scores: a stopped search goes on by telling it the old scores again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol, cast

from archscout.errors import SpaceError
from archscout.methods.base import SearchContext, SearchResult
from archscout.methods.queries.result import Trial, query_result
from archscout.methods.queries.scoring import Preparation, Scorer
from archscout.methods.queries.settings import QuerySettings, make_scorer
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import SearchSpace

__all__ = ["QuerySearch", "Strategy", "make_query_search"]

ROUNDS_PER_ADVANCE = 20  # of a quick scorer
TRIES = 10_000  # proposals in a row that are free or beyond the limits, after which a trial ends


class Strategy(Protocol):
    """One trial of a method."""

    def ask(self) -> Sequence[Architecture]:
        """What to score next; at least one."""
        ...

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """The scores of what was asked; minus infinity for those beyond the limits."""
        ...


class _Running:
    """A trial with its budget."""

    def __init__(self, strategy: Strategy, settings: QuerySettings) -> None:
        self.strategy, self._settings = strategy, settings
        self.seen: dict[Architecture, float] = {}
        self.history: list[tuple[float, float]] = []
        self.queries, self.seconds, self.idle = 0, 0.0, 0

    @property
    def spent(self) -> bool:
        limit = self._settings.seconds
        over = limit is not None and self.seconds > limit
        return self.queries >= self._settings.queries or over or self.idle >= TRIES

    def tell(self, asked: Sequence[Architecture], answers: Sequence[tuple[float, float]]) -> None:
        """Charge the answers, up to the budget, and hand them on."""
        told: list[tuple[Architecture, float]] = []
        for architecture, (score, seconds) in zip(asked, answers, strict=True):
            if self.spent:
                break
            self.history.append((score, seconds))
            told.append((architecture, score))
            free = score == float("-inf") or (architecture in self.seen and not self._settings.charge_repeats)
            self.idle = self.idle + 1 if free else 0
            if not free:
                self.seen[architecture] = score
                self.queries += 1
                self.seconds += seconds
        self.strategy.tell([architecture for architecture, _ in told], [score for _, score in told])

    def trial(self, keep: bool) -> Trial:
        """What was found."""
        best = max(self.seen, key=self.seen.__getitem__)
        ranked = sorted(self.seen.items(), key=lambda item: -item[1]) if keep else []
        return Trial(best, self.seen[best], self.queries, len(self.seen), self.seconds, scored=ranked)


class QuerySearch:
    """The trials of a strategy as a job.

    Args:
        strategies: one for each trial.
        scorer: judges.
        settings: budget and trials.
        admit: whether an architecture keeps the limits; None admits all.
    """

    def __init__(
        self,
        strategies: Sequence[Strategy],
        scorer: Scorer,
        settings: QuerySettings,
        admit: Callable[[Architecture], bool] | None = None,
    ) -> None:
        self._scorer, self._settings, self._admit = scorer, settings, admit
        self._trials = [_Running(strategy, settings) for strategy in strategies]

    def advance(self) -> dict[str, float]:
        """Some rounds of all trials; before them, what the scorer has to prepare."""
        if isinstance(self._scorer, Preparation) and not self._scorer.ready:
            metrics = self._scorer.prepare()
            return {**metrics, "progress": metrics["progress"] / 2}
        for _ in range(ROUNDS_PER_ADVANCE if self._scorer.quick else 1):
            if self.done:
                break
            self._round()
        best = [max(trial.seen.values()) for trial in self._trials if trial.seen]
        if not best:
            return {"progress": self._progress()}
        return {"progress": self._progress(), "best": max(best), "mean_best": sum(best) / len(best)}

    def _round(self) -> None:
        """Ask every trial, score all questions together, tell the answers."""
        running = [trial for trial in self._trials if not trial.spent]
        asked = [list(trial.strategy.ask()) for trial in running]
        wanted = [each for group in asked for each in group if self._admit is None or self._admit(each)]
        found = self._scorer.score(wanted)
        answers = dict(zip(wanted, zip(found.values, found.seconds, strict=True), strict=True))
        for trial, group in zip(running, asked, strict=True):
            trial.tell(group, [answers.get(each, (float("-inf"), 0.0)) for each in group])
            if trial.spent and not trial.seen:
                raise SpaceError(
                    f"none of {TRIES:,} proposed architectures keeps the limits {self._settings.limits!r}. Raise "
                    "search.limits; `archscout estimate` prints the sizes of the smallest and the largest network."
                )

    def _progress(self) -> float:
        done = sum(
            min(1.0, trial.queries / self._settings.queries) if not trial.spent else 1.0 for trial in self._trials
        )
        share = done / len(self._trials)
        return 0.5 + share / 2 if isinstance(self._scorer, Preparation) else share

    @property
    def done(self) -> bool:
        """Whether all trials have spent their budget."""
        return all(trial.spent for trial in self._trials)

    def result(self) -> SearchResult:
        """The best architecture by score; of one trial all that was scored, of many the best of each."""
        return query_result([trial.trial(len(self._trials) == 1) for trial in self._trials], self._scorer)

    def close(self) -> None:
        """End the processes that score."""
        self._scorer.close()

    def state_dict(self) -> dict[str, Any]:
        """The answers that every trial has got; minus infinity is no JSON, and is kept as None."""
        return {
            "scorer": self._scorer.state_dict(),
            "history": [
                [[None if score == float("-inf") else score, seconds] for score, seconds in trial.history]
                for trial in self._trials
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Ask the strategies again, and tell them what they were told."""
        self._scorer.load_state_dict(state["scorer"])
        for trial, history in zip(self._trials, state["history"], strict=True):
            answers = [(float("-inf") if score is None else float(score), float(cost)) for score, cost in history]
            while answers:
                asked = list(trial.strategy.ask())
                trial.tell(asked[: len(answers)], answers[: len(asked)])
                answers = answers[len(asked) :]


def make_query_search(
    context: SearchContext, name: str, strategy: Callable[[SearchSpace, Any, Random], Strategy]
) -> QuerySearch:
    """The job of a method.

    Args:
        context: of the search.
        name: of the method, for its seeds.
        strategy: makes a trial from space, settings and a generator of its own.
    """
    settings = cast(QuerySettings, context.settings)
    limits = settings.limits
    limits.check(context)
    return QuerySearch(
        [
            strategy(context.space, settings, Random(derive_seed(context.seed, name, trial)))
            for trial in range(settings.trials)
        ],
        make_scorer(context),
        settings,
        (lambda architecture: limits.admit(context, architecture)) if limits.bounded else None,
    )
