"""DSM-NAS: dominative subspace mining (arXiv 2210.17180; docs/methods/dsm.md#what-the-code-rests-on).

A trial keeps K centres. Each stands for a subspace: all architectures within M edits of it. A controller sees the graph
of the centres, picks one, and edits it M times; an edit sets the operation of a layer. A proposal that scores better
than its centre takes its place. REINFORCE teaches the controller to propose improvements.

The steps of a trial are in `trials.py`, for many independent trials as one batch; here they run group after group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch

from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.dsm.centres import initial_architectures
from archscout.methods.dsm.trials import DsmSettings, DsmTrials, SharedByTrials
from archscout.methods.queries.result import SearchCourse, Trial, query_result
from archscout.methods.queries.scorers import check_scorer, make_scorer
from archscout.methods.queries.scoring import Preparation, Scorer, as_codes
from archscout.methods.queries.search import prepared
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["DsmSearch", "DsmSettings"]

STEPS_PER_YIELD = 25  # of a quick scorer
GROUP = {"cpu": 16}  # trials that fit a CPU's cache together; a GPU takes all


class DsmSearch(Job[SearchResult]):
    """The search; see the module's docstring.

    Args:
        space: what is searched.
        scorer: judges.
        seed: of everything random.
        device: of controllers and codes.
        admit: whether an architecture keeps the limits; None admits all.
        smallest: the smallest architecture, which helps to find centres within narrow limits.
        initial: centres to start from, by trial; what is missing is drawn.
    """

    scorer: State[Scorer]
    trials: State[list[dict[str, Any]]]  # what each finished one found
    course: State[SearchCourse]
    running: State[DsmTrials | None]  # the group that runs now; None between groups

    def __init__(
        self,
        space: LayerCoded,
        scorer: Scorer,
        settings: DsmSettings,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        admit: Callable[[Architecture], bool] | None = None,
        smallest: Architecture | None = None,
        initial: Sequence[Sequence[Architecture]] = (),
    ) -> None:
        self.scorer, self._settings = scorer, settings
        self._common = SharedByTrials(
            space, as_codes(space, scorer), settings, seed, torch.device(device), admit, smallest, initial
        )
        size = settings.group or GROUP.get(self._common.device.type, settings.trials)
        self._groups = [range(start, min(start + size, settings.trials)) for start in range(0, settings.trials, size)]
        self.trials = []
        self.course = SearchCourse()
        self.running = None

    def run(self) -> Iterator[Metrics]:
        """Group after group of trials, until each has spent its budget."""
        yield from prepared(self.scorer)
        while len(self.trials) < self._settings.trials:
            group = self.running or self.begin()
            while not group.done:
                for _ in range(STEPS_PER_YIELD if self.scorer.quick else 1):
                    if not group.done:
                        group.step()
                yield group.metrics()
            self.trials += [trial.to_fields() for trial in group.outcomes()]
            self.running = None

    def begin(self, *, resumed: bool = False) -> DsmTrials:
        """The group after the finished ones."""
        group = next(group for group in self._groups if group.start == len(self.trials))
        self.running = DsmTrials(self._common, group, self.course, resumed=resumed)
        return self.running

    def work(self) -> Iterator[tuple[float, float]]:
        """Trials; what the scorer prepares counts as much as all of them."""
        whole = self._settings.trials
        yield len(self.trials) + (0.0 if self.running is None else self.running.share), whole
        if isinstance(self.scorer, Preparation):
            yield self.scorer.prepared * whole, whole

    def result(self) -> SearchResult:
        """The best architecture by score; of one trial all that was scored, of many the best of each."""
        return query_result([Trial.from_fields(fields) for fields in self.trials], self.scorer, course=self.course)

    def close(self) -> None:
        """End the processes that score."""
        self.scorer.close()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, with the group that ran."""
        self.trials = list(state["trials"])
        self.running = None
        if state["running"] is not None:
            self.begin(resumed=True)
        super().load_state_dict(state)


def _search(context: SearchContext, before: Architecture | None) -> DsmSearch:
    settings = cast(DsmSettings, context.settings)
    limits = settings.limits
    smallest = limits.check(context)
    return DsmSearch(
        cast(LayerCoded, context.space),
        make_scorer(context),
        settings,
        seed=context.seed,
        device=context.engine.device,
        admit=(lambda architecture: limits.admit(context, architecture)) if limits.bounded else None,
        smallest=smallest,
        initial=initial_architectures(settings.initial, context.space),
    )


register_method(
    Method(
        name="dsm",
        description="subspace mining: a graph network and an LSTM learn to improve a few centres",
        settings=DsmSettings,
        requires=(LayerCoded,),
        stages=(SearchStage("search", _search),),
        check=check_scorer,
    )
)
