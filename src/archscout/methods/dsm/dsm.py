"""DSM-NAS: dominative subspace mining (arXiv 2210.17180; docs/methods/dsm.md#what-the-code-rests-on).

A trial keeps K centres. Each stands for a subspace: all architectures within M edits of it. A controller sees the graph
of the centres, picks one, and edits it M times; an edit sets the operation of a layer. A proposal that scores better
than its centre takes its place. REINFORCE teaches the controller to propose improvements.

`trials.py` is the algorithm, for many independent trials as one batch; here is the job that runs them group after
group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch

from archscout.methods.base import METHODS, SearchContext, SearchResult, SearchStage
from archscout.methods.dsm.settings import DsmSettings
from archscout.methods.dsm.trials import DsmTrials, SharedByTrials
from archscout.methods.queries.result import SearchCourse, Trial, query_result
from archscout.methods.queries.scoring import Preparation, Scorer, as_codes
from archscout.methods.queries.settings import make_scorer
from archscout.methods.queries.transfer import initial_architectures
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["Dsm", "DsmSearch", "DsmSettings"]

STEPS_PER_ADVANCE = 25  # of a quick scorer
GROUP = {"cpu": 16}  # trials that fit a CPU's cache together; a GPU takes all


class DsmSearch:
    """The search as a job.

    Args:
        space: what is searched.
        scorer: judges.
        settings: of the method.
        seed: of everything random.
        device: of controllers and codes.
        admit: whether an architecture keeps the limits; None admits all.
        smallest: the smallest architecture, which helps to find centres within narrow limits.
        initial: centres to start from, by trial; what is missing is drawn.
    """

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
        self._scorer, self._settings = scorer, settings
        self._common = SharedByTrials(
            space, as_codes(space, scorer), settings, seed, torch.device(device), admit, smallest, initial
        )
        size = settings.group or GROUP.get(self._common.device.type, settings.trials)
        self._groups = [range(start, min(start + size, settings.trials)) for start in range(0, settings.trials, size)]
        self._finished: list[Trial] = []
        self._course = SearchCourse()
        self._running: DsmTrials | None = None

    def _begin(self, state: dict[str, Any] | None = None) -> DsmTrials:
        """The group after the finished ones."""
        group = next(group for group in self._groups if group.start == len(self._finished))
        self._running = DsmTrials(self._common, group, self._course, state)
        return self._running

    def advance(self) -> dict[str, float]:
        """Some steps of all trials of a group; before them, what the scorer has to prepare."""
        if isinstance(self._scorer, Preparation) and not self._scorer.ready:
            metrics = self._scorer.prepare()
            return {**metrics, "progress": metrics["progress"] / 2}
        trials = self._running or self._begin()
        for _ in range(STEPS_PER_ADVANCE if self._scorer.quick else 1):
            if trials.done:
                break
            trials.step()
        metrics = {"progress": self._progress(), **trials.metrics()}
        if trials.done:
            self._finished += trials.outcomes()
            self._running = None
        return metrics

    @property
    def trials(self) -> DsmTrials | None:
        """The trials that run now; None between groups."""
        return self._running

    def _progress(self) -> float:
        share = 0.0 if self._running is None else self._running.share
        done = (len(self._finished) + share) / self._settings.trials
        return 0.5 + done / 2 if isinstance(self._scorer, Preparation) else done

    @property
    def done(self) -> bool:
        """Whether all trials have spent their budget."""
        return len(self._finished) == self._settings.trials

    def result(self) -> SearchResult:
        """The best architecture by score; of one trial all that was scored, of many the best of each."""
        return query_result(self._finished, self._scorer, course=self._course)

    def close(self) -> None:
        """End the processes that score."""
        self._scorer.close()

    def state_dict(self) -> dict[str, Any]:
        """Finished trials, and everything of the running group."""
        return {
            "scorer": self._scorer.state_dict(),
            "trials": [trial.to_fields() for trial in self._finished],
            "course": self._course.to_fields(),
            "running": None if self._running is None else self._running.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._scorer.load_state_dict(state["scorer"])
        self._finished = [Trial.from_fields(fields) for fields in state["trials"]]
        self._course = SearchCourse.from_fields(state["course"])
        self._running = None
        if state["running"] is not None:
            self._begin(state["running"])


def _make_search(context: SearchContext, before: Architecture | None) -> DsmSearch:
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


@METHODS.register("dsm")
class Dsm:
    """DSM-NAS: subspaces around a few centres, mined by a learned policy."""

    name: ClassVar[str] = "dsm"
    description: ClassVar[str] = "subspace mining: a graph network and an LSTM learn to improve a few centres"
    settings_model: ClassVar[type[Settings]] = DsmSettings
    requires: ClassVar[tuple[type, ...]] = (LayerCoded,)

    def stages(self) -> Sequence[SearchStage]:
        """One stage: the search."""
        return [SearchStage("search", _make_search)]
