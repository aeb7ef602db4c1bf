"""Searches that ask for the score of a few architectures and then decide what to ask next.

A `Strategy` is one trial of such a method: a loop that yields the architectures whose scores it wants, and is sent
them. `QuerySearch` runs the trials of any strategy as one job, so that the scorer gets the questions of all trials
together, and ends each when its budget is spent. A strategy is deterministic given its seed and the scores: a stopped
search goes on by sending it the old scores again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from random import Random
from typing import Any, cast

from archscout.errors import SpaceError
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.queries.result import Trial, query_result
from archscout.methods.queries.scorers import check_scorer, make_scorer
from archscout.methods.queries.scoring import Preparation, Scorer
from archscout.methods.queries.settings import QuerySettings
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture

__all__ = ["QuerySearch", "Strategy", "StrategyMaker", "make_query_search", "prepared", "register_strategy"]

ROUNDS_PER_YIELD = 20  # of a quick scorer
TRIES = 10_000  # proposals in a row that are free or beyond the limits, after which a trial ends

Strategy = Generator[Sequence[Architecture], Sequence[float], None]
"""One trial: yields what to score next, at least one, and gets the scores; minus infinity for those beyond the limits.
It never ends by itself: the budget ends it."""

StrategyMaker = Callable[[Any, Any, Random], Strategy]
"""Makes a trial from the space, the method's settings and a generator of its own."""


class _Running:
    """A trial with its budget.

    Attributes:
        asked: what it wants to know now.
    """

    def __init__(self, strategy: Strategy, settings: QuerySettings) -> None:
        self._strategy, self._settings = strategy, settings
        self.asked = list(next(strategy))
        self.seen: dict[Architecture, float] = {}
        self.history: list[tuple[float, float]] = []
        self.queries, self.seconds, self.idle = 0, 0.0, 0

    @property
    def spent(self) -> bool:
        limit = self._settings.seconds
        over = limit is not None and self.seconds > limit
        return self.queries >= self._settings.queries or over or self.idle >= TRIES

    def tell(self, answers: Sequence[tuple[float, float]]) -> None:
        """Charge the answers, up to the budget, and hand them on."""
        scores: list[float] = []
        for architecture, (score, seconds) in zip(self.asked, answers, strict=False):
            if self.spent:
                break
            self.history.append((score, seconds))
            scores.append(score)
            free = score == float("-inf") or (architecture in self.seen and not self._settings.charge_repeats)
            self.idle = self.idle + 1 if free else 0
            if not free:
                self.seen[architecture] = score
                self.queries += 1
                self.seconds += seconds
        if not self.spent:
            self.asked = list(self._strategy.send(scores))

    def trial(self, keep: bool) -> Trial:
        """What was found."""
        best = max(self.seen, key=self.seen.__getitem__)
        ranked = sorted(self.seen.items(), key=lambda item: -item[1]) if keep else []
        return Trial(best, self.seen[best], self.queries, len(self.seen), self.seconds, scored=ranked)


class QuerySearch(Job[SearchResult]):
    """The trials of a strategy.

    Args:
        strategies: one for each trial.
        scorer: judges.
        settings: budget and trials.
        admit: whether an architecture keeps the limits; None admits all.
    """

    scorer: State[Scorer]

    def __init__(
        self,
        strategies: Sequence[Strategy],
        scorer: Scorer,
        settings: QuerySettings,
        admit: Callable[[Architecture], bool] | None = None,
    ) -> None:
        self.scorer, self._settings, self._admit = scorer, settings, admit
        self._trials = [_Running(strategy, settings) for strategy in strategies]

    def run(self) -> Iterator[Metrics]:
        """Rounds of questions and answers, until every trial has spent its budget."""
        yield from prepared(self.scorer)
        while running := [trial for trial in self._trials if not trial.spent]:
            for _ in range(ROUNDS_PER_YIELD if self.scorer.quick else 1):
                self._round(running)
                running = [trial for trial in running if not trial.spent]
            best = [max(trial.seen.values()) for trial in self._trials if trial.seen]
            yield {"best": max(best), "mean_best": sum(best) / len(best)} if best else {}

    def _round(self, running: Sequence[_Running]) -> None:
        """Score the questions of all trials together, and tell the answers."""
        wanted = [each for trial in running for each in trial.asked if self._admit is None or self._admit(each)]
        found = self.scorer.score(wanted)
        answers = dict(zip(wanted, zip(found.values, found.seconds, strict=True), strict=True))
        for trial in running:
            trial.tell([answers.get(each, (float("-inf"), 0.0)) for each in trial.asked])
            if trial.spent and not trial.seen:
                raise SpaceError(
                    f"none of {TRIES:,} proposed architectures keeps the limits {self._settings.limits!r}. Raise "
                    "search.limits; `archscout estimate` prints the sizes of the smallest and the largest network."
                )

    def work(self) -> Iterator[tuple[float, float]]:
        """Queries; what the scorer prepares counts as much as all of them."""
        budget = self._settings.queries
        for trial in self._trials:
            yield budget if trial.spent else min(budget, trial.queries), budget
        if isinstance(self.scorer, Preparation):
            whole = budget * len(self._trials)
            yield self.scorer.prepared * whole, whole

    def result(self) -> SearchResult:
        """The best architecture by score; of one trial all that was scored, of many the best of each."""
        return query_result([trial.trial(len(self._trials) == 1) for trial in self._trials], self.scorer)

    def close(self) -> None:
        """End the processes that score."""
        self.scorer.close()

    def state_dict(self) -> dict[str, Any]:
        """The answers that every trial has got; minus infinity is no JSON, and is kept as None."""
        history = [
            [[None if score == float("-inf") else score, seconds] for score, seconds in trial.history]
            for trial in self._trials
        ]
        return {**super().state_dict(), "history": history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Send the strategies once more what they were sent."""
        super().load_state_dict(state)
        for trial, history in zip(self._trials, state["history"], strict=True):
            answers = [(float("-inf") if score is None else float(score), float(cost)) for score, cost in history]
            while answers:
                count = len(trial.asked)
                trial.tell(answers[:count])
                answers = answers[count:]


def prepared(scorer: Scorer) -> Iterator[Metrics]:
    """What a scorer has to do before its first score."""
    if isinstance(scorer, Preparation):
        while scorer.prepared < 1:
            yield scorer.prepare()


def make_query_search(context: SearchContext, name: str, strategy: StrategyMaker) -> QuerySearch:
    """The job of a method of that name, whose seeds depend on it."""
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


def register_strategy(
    name: str, description: str, settings: type[QuerySettings], requires: tuple[Any, ...], strategy: StrategyMaker
) -> Method:
    """Register a method of one stage that runs a strategy."""
    stage = SearchStage("search", lambda context, before: make_query_search(context, name, strategy))
    return register_method(Method(name, description, settings, requires, (stage,), check=check_scorer))
