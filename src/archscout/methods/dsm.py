"""DSM-NAS: dominative subspace mining (arXiv 2210.17180, spec dsm_nas 1).

A trial keeps K centres. Each stands for a subspace: all architectures within M edits of it. A controller sees the graph
of the centres, picks one, and edits it M times; an edit sets the operation of a layer. A proposal that scores better
than its centre takes its place. REINFORCE teaches the controller to propose improvements.

Many independent trials run as one batch: every tensor below has a leading axis of trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from archscout.errors import SpaceError
from archscout.methods.base import METHODS, SearchContext, SearchResult, SearchStage
from archscout.methods.dsm_controller import Controller
from archscout.methods.dsm_settings import DsmSettings
from archscout.methods.dsm_shape import ControllerShape, Decisions, OptimizerSettings
from archscout.methods.query_result import Book, Course, Trial, query_result
from archscout.methods.query_settings import make_scorer
from archscout.methods.scoring import Preparation, Scorer, as_codes
from archscout.methods.transfer import initial_architectures
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded

__all__ = ["Dsm", "DsmSearch", "DsmSettings"]

STEPS_PER_ADVANCE = 25  # of a quick scorer
MOST_STEPS = 20  # times the budget: where repeats are free, a search could go on for ever
TRIES = 10_000  # random draws for a centre within the limits
GROUP = {"cpu": 16}  # trials that fit a CPU's cache together; a GPU takes all
RUNNING = ("codes", "live", "scores", "baseline")  # tensors of the running group


class DsmSearch:
    """The search as a job.

    Args:
        space: what is searched.
        scorer: judges.
        settings: of the method.
        seed: of everything random.
        device: of controllers and codes.
        admit: whether an architecture keeps the limits; None admits all.
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
        initial: Sequence[Sequence[Architecture]] = (),
    ) -> None:
        self._space, self._scorer, self._settings = space, scorer, settings
        self._codes_scorer = as_codes(space, scorer)
        self._seed, self._device, self._admit, self._initial = seed, torch.device(device), admit, initial
        code = space.layer_code
        self._columns = code.columns or code.operations
        self._shape = ControllerShape(settings.slots, settings.edits, code.allowed, code.width)
        size = settings.group or GROUP.get(self._device.type, settings.trials)
        self._groups = [range(start, min(start + size, settings.trials)) for start in range(0, settings.trials, size)]
        self._trials: list[Trial] = []
        self._course = Course()
        self._started = False  # the group that comes after the finished ones
        self._steps = 0
        self._drawn: tuple[int, Tensor] | None = None
        # Of the running group, made by `_begin`: recorded centres and their scores, what edits start from (the same
        # unless `legacy_drift`), and the graph's nodes.
        self._codes: Tensor
        self._live: Tensor
        self._scores: Tensor
        self._nodes: Tensor
        self._baseline: Tensor
        self._books: list[Book]
        self._controller: Controller

    # -- the algorithm -------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Propose, query, replace, learn: once in every trial."""
        active = [not book.spent for book in self._books]
        decisions = self._controller.propose(self._nodes, self._draws())
        proposals = self._edit(decisions)
        scores, admitted = self._query(proposals, active)
        before = self._scores.gather(1, decisions.slots)
        reward = scores if self._settings.reward == "absolute" else scores - before
        reward = torch.where(admitted, reward, 0.0)
        allowed = admitted & torch.tensor(active, device=self._device)[:, None]
        self._replace(decisions.slots, proposals, scores, allowed)
        mean, decay = reward.mean(1, keepdim=True), self._settings.baseline_decay
        self._baseline = mean if self._steps == 0 else decay * self._baseline + (1 - decay) * mean
        self._controller.learn(reward - self._baseline)
        self._entropy = decisions.entropy.mean()
        self._steps += 1

    def _edit(self, decisions: Decisions) -> Tensor:
        """Codes `(T, B, layers)`: copies of the picked centres, edits applied in order."""
        picked = decisions.slots[:, :, None].expand(-1, -1, self._shape.layers)
        codes = self._live.gather(1, picked)
        for edit in range(self._settings.edits):
            codes.scatter_(2, decisions.layers[:, :, edit, None], decisions.operations[:, :, edit, None])
        codes = self._space.canonical(codes.flatten(0, 1)).view_as(codes)
        if self._settings.legacy_drift:
            self._live.scatter_(1, picked, codes)
        return codes

    def _query(self, codes: Tensor, active: Sequence[bool]) -> tuple[Tensor, Tensor]:
        """Scores `(T, B)` of the proposals, and which of them keep the limits; charges the active trials."""
        trials, proposals, _ = codes.shape
        flat = codes.flatten(0, 1)
        admitted = self._admitted(flat)
        if self._admit is None:
            scores, seconds = self._codes_scorer.score_codes(flat)
        else:
            scores, seconds = torch.zeros(2, len(flat), device=self._device)
            if bool(admitted.any()):
                scores[admitted], seconds[admitted] = self._codes_scorer.score_codes(flat[admitted])
        entries = zip(flat.tolist(), scores.tolist(), seconds.tolist(), admitted.tolist(), strict=True)
        for number, (code, score, cost, within) in enumerate(entries):
            if within and active[number // proposals]:
                self._books[number // proposals].charge(tuple(code), score, cost)
        return scores.view(trials, proposals), admitted.view(trials, proposals)

    def _replace(self, slots: Tensor, codes: Tensor, scores: Tensor, allowed: Tensor) -> None:
        """Proposals that are better than their centre take its place, one after the other."""
        for number in range(codes.shape[1]):
            slot, code, score = slots[:, number, None], codes[:, number, None], scores[:, number, None]
            now = self._scores.gather(1, slot)
            better = (score > now) & allowed[:, number, None]
            wide = slot[:, :, None].expand(-1, -1, self._shape.layers)
            for centres in (self._codes, self._live):
                centres.scatter_(1, wide, torch.where(better[..., None], code, centres.gather(1, wide)))
            self._scores.scatter_(1, slot, torch.where(better, score, now))
            if self._group[0] == 0 and bool(allowed[0, number]):
                self._course.add(self._steps, int(slot[0]), float(score[0]), bool(better[0]))
        self._nodes = self._describe()

    def _describe(self) -> Tensor:
        """The nodes of the graph, `(T, K, features + 1)`: one-hot codes and scores."""
        one_hot = torch.nn.functional.one_hot(self._codes, self._columns).flatten(2)
        return torch.cat([one_hot.float(), self._scores[..., None]], dim=2)

    def _draws(self) -> Tensor:
        """The uniform numbers of a step, `(T, B, 1 + 2 M)`: each trial has its own, however trials are grouped."""
        shape = (self._settings.proposals, 1 + 2 * self._settings.edits)
        block = self._steps // STEPS_PER_ADVANCE
        if self._drawn is None or self._drawn[0] != block:
            numbers = [
                torch.rand(STEPS_PER_ADVANCE, *shape, generator=generator(self._seed, "dsm", trial, "draws", block))
                for trial in self._group
            ]
            self._drawn = block, torch.stack(numbers, dim=1).to(self._device)
        return self._drawn[1][self._steps % STEPS_PER_ADVANCE]

    def _admitted(self, codes: Tensor) -> Tensor:
        """Which codes keep the limits, bool `(N,)`."""
        if self._admit is None:
            return torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        return torch.tensor([self._admit(self._space.decode(code)) for code in codes.tolist()], device=codes.device)

    # -- trials --------------------------------------------------------------------------------------------------

    @property
    def group_size(self) -> int:
        """How many trials run together now."""
        return len(self._group)

    @property
    def _group(self) -> range:
        """The trials that run now."""
        return next(group for group in self._groups if group.start == len(self._trials))

    def _begin(self) -> None:
        """Draw and score the first centres of a group, and make its controllers."""
        settings, group = self._settings, self._group
        self._make_controller()
        self._books = [Book(settings) for _ in group]
        self._steps, self._drawn = 0, None
        self._baseline = torch.zeros(len(group), 1, device=self._device)
        self._codes = torch.tensor([self._first_centres(trial) for trial in group], device=self._device)
        self._live = self._codes.clone()
        self._scores, _ = self._query(self._codes, [True] * len(group))
        if settings.legacy_free_initial:
            for book in self._books:
                book.seconds = 0.0
        if group[0] == 0:
            self._course.centres = self._scores[0].tolist()
        self._nodes = self._describe()
        self._started = True

    def _make_controller(self) -> None:
        settings = self._settings
        self._controller = Controller(
            self._shape,
            [generator(self._seed, "dsm", trial, "controller") for trial in self._group],
            OptimizerSettings(settings.lr, settings.weight_decay, settings.entropy),
            uniform=settings.policy == "uniform",
            device=self._device,
        )

    def _first_centres(self, trial: int) -> list[tuple[int, ...]]:
        """K codes: those to start from, then distinct random ones within the limits. Raises SpaceError."""
        draw = Random(derive_seed(self._seed, "dsm", trial, "centres"))
        given = self._initial[trial % len(self._initial)] if self._initial else ()
        found = [self._space.encode(architecture) for architecture in given if self._admits(architecture)]
        found = list(dict.fromkeys(found))[: self._settings.slots]
        for _ in range(TRIES):
            if len(found) == self._settings.slots:
                return found
            architecture = cast(Any, self._space).random(draw)
            code = self._space.encode(architecture)
            if code not in found and self._admits(architecture):
                found.append(code)
        raise SpaceError(
            f"of {TRIES:,} random architectures only {len(found)} keep the limits {self._settings.limits!r}, but "
            f"{self._settings.slots} centres are needed. Raise search.limits; `archscout estimate` prints the sizes "
            "of the smallest and the largest network."
        )

    def _admits(self, architecture: Architecture) -> bool:
        return self._admit is None or self._admit(architecture)

    def _finish(self) -> None:
        """Note what the group found."""
        codes, scores = self._codes.tolist(), self._scores.tolist()
        live = self._live.tolist() if self._settings.legacy_drift else codes
        for number, book in enumerate(self._books):
            best = max(range(self._shape.slots), key=scores[number].__getitem__)
            self._trials.append(
                Trial(
                    best=self._space.decode(codes[number][best]),
                    score=scores[number][best],
                    centres=[self._space.decode(code) for code in live[number]],
                    centre_scores=scores[number],
                    queries=book.queries,
                    distinct=len(book.seen),
                    seconds=book.seconds,
                    scored=book.scored(self._space.decode) if self._settings.trials == 1 else [],
                )
            )
        self._started = False

    # -- the job -------------------------------------------------------------------------------------------------

    def advance(self) -> dict[str, float]:
        """Some steps of all trials of a group; before them, what the scorer has to prepare."""
        if isinstance(self._scorer, Preparation) and not self._scorer.ready:
            metrics = self._scorer.prepare()
            return {**metrics, "progress": metrics["progress"] / 2}
        if not self._started:
            self._begin()
        for _ in range(STEPS_PER_ADVANCE if self._scorer.quick else 1):
            if self._group_done():
                break
            self._step()
        metrics = {
            "progress": self._progress(),
            "best": float(self._scores.max()),
            "centre": float(self._scores.mean()),
            **({"entropy_share": float(self._entropy) / self._shape.largest_entropy} if self._steps else {}),
        }
        if self._group_done():
            self._finish()
        return metrics

    def _group_done(self) -> bool:
        return all(book.spent for book in self._books) or self._steps >= MOST_STEPS * self._settings.queries

    def _progress(self) -> float:
        share = sum(book.share for book in self._books)
        done = (len(self._trials) + share) / self._settings.trials
        return 0.5 + done / 2 if isinstance(self._scorer, Preparation) else done

    @property
    def done(self) -> bool:
        """Whether all trials have spent their budget."""
        return len(self._trials) == self._settings.trials

    def result(self) -> SearchResult:
        """The best architecture by score; of one trial all that was scored, of many the best of each."""
        return query_result(self._trials, self._scorer, course=self._course)

    def state_dict(self) -> dict[str, Any]:
        """Finished trials, and everything of the running group."""
        state = {
            "scorer": self._scorer.state_dict(),
            "trials": [trial.to_fields() for trial in self._trials],
            "course": self._course.to_fields(),
            "started": self._started,
        }
        if not self._started:
            return state
        tensors = {name: getattr(self, f"_{name}") for name in RUNNING}
        return {
            **state,
            **tensors,
            "steps": self._steps,
            "books": [book.to_fields() for book in self._books],
            "controller": self._controller.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._scorer.load_state_dict(state["scorer"])
        self._trials = [Trial.from_fields(fields) for fields in state["trials"]]
        self._course = Course.from_fields(state["course"])
        self._started = bool(state["started"])
        if not self._started:
            return
        for name in RUNNING:
            setattr(self, f"_{name}", state[name].to(self._device))
        self._nodes = self._describe()
        self._steps, self._drawn = int(state["steps"]), None
        self._books = [Book.from_fields(self._settings, fields) for fields in state["books"]]
        self._make_controller()
        self._controller.load_state_dict(state["controller"])


def _make_search(context: SearchContext, before: Architecture | None) -> DsmSearch:
    settings = cast(DsmSettings, context.settings)
    limits = settings.limits
    bounded = limits.max_parameters is not None or limits.max_madds is not None
    return DsmSearch(
        cast(LayerCoded, context.space),
        make_scorer(context),
        settings,
        seed=context.seed,
        device=context.engine.device,
        admit=(lambda architecture: limits.admit(context, architecture)) if bounded else None,
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
