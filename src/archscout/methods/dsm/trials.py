"""The trials of DSM-NAS that run together: the algorithm (docs/methods/dsm.md#algorithm).

Every tensor has a leading axis of T trials; each has K centres, and makes B proposals at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from archscout.errors import SpaceError
from archscout.jobs import State, Stored
from archscout.methods.dsm.centres import first_centres, initial_architectures
from archscout.methods.dsm.controller import Controller, ControllerShape, Decisions, OptimizerSettings
from archscout.methods.queries.result import SearchCourse, Trial, TrialLedger
from archscout.methods.queries.scoring import CodeScorer
from archscout.methods.queries.settings import QuerySettings
from archscout.seeds import derive_seed, generator
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCoded, SearchSpace

__all__ = ["DsmSettings", "DsmTrials", "SharedByTrials"]

DRAWN_STEPS = 25  # whose random numbers are drawn together
MOST_STEPS = 20  # times the budget: where repeats are free, a search could go on for ever


class DsmSettings(QuerySettings):
    """Settings of DSM-NAS; the defaults are those for NAS-Bench-201 (docs/methods/dsm.md#published-settings)."""

    slots: int = Field(default=3, ge=2, description="centres (K)")
    edits: int = Field(default=4, ge=1, description="edits of a proposal (M)")
    proposals: int = Field(default=1, ge=1, description="for each update; with real training they run in parallel")
    lr: float = Field(default=0.009446763714621489, gt=0)
    weight_decay: float = Field(default=2.3740059139364297e-5, ge=0)
    entropy: float = Field(default=0.0005049559768158195, ge=0, description="weight of the entropy in the objective")
    baseline_decay: float = Field(default=0.9, ge=0, lt=1)
    policy: Literal["learned", "uniform"] = Field(default="learned", description="uniform: hill climbing, to compare")
    reward: Literal["improvement", "absolute"] = "improvement"
    initial: tuple[str, ...] = Field(
        default=(), description="start from these: runs of earlier searches, or architectures (DSM-NAS+)"
    )
    group: int | None = Field(default=None, ge=1, description="trials that are computed together; null chooses")
    legacy_drift: bool = Field(
        default=False, description="edits reach the centre itself, as in the published code: subspaces wander"
    )
    legacy_free_initial: bool = Field(default=False, description="initial centres take no simulated seconds")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.queries <= self.slots:
            raise ValueError(f"queries = {self.queries} must be more than the {self.slots} first centres")
        if self.legacy_drift and self.proposals > 1:
            raise ValueError("legacy_drift goes with one proposal for each update")
        return self

    def check_space(self, space: SearchSpace) -> None:
        """Raise an ArchscoutError if table, columns, first centres and space contradict each other."""
        super().check_space(space)
        initial_architectures(self.initial, space)


@dataclass(frozen=True)
class SharedByTrials:
    """What all trials of a search share.

    Attributes:
        space: what is searched.
        scorer: judges codes.
        settings: of the method.
        seed: of everything random.
        device: of controllers and codes.
        admit: whether an architecture keeps the limits; None admits all.
        smallest: from which centres start where random architectures hardly keep the limits; None: nothing is known.
        initial: centres to start from, by trial; what is missing is drawn.
    """

    space: LayerCoded
    scorer: CodeScorer
    settings: DsmSettings
    seed: int
    device: torch.device
    admit: Callable[[Architecture], bool] | None = None
    smallest: Architecture | None = None
    initial: Sequence[Sequence[Architecture]] = ()

    def admits(self, architecture: Architecture) -> bool:
        """Whether an architecture keeps the limits."""
        return self.admit is None or self.admit(architecture)

    def admitted(self, codes: Tensor) -> Tensor:
        """Which codes `(N, layers)` keep the limits, bool `(N,)`."""
        if self.admit is None:
            return torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        return torch.tensor([self.admit(self.space.decode(code)) for code in codes.tolist()], device=codes.device)

    def score(self, codes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and seconds `(N,)` of the wanted ones among codes `(N, layers)`; zeros for the others."""
        if bool(wanted.all()):
            return self.scorer.score_codes(codes)
        scores, seconds = torch.zeros(2, len(codes), device=codes.device)
        if bool(wanted.any()):
            scores[wanted], seconds[wanted] = self.scorer.score_codes(codes[wanted])
        return scores, seconds

    def first_centres(self, trial: int) -> list[tuple[int, ...]]:
        """K codes. Raises SpaceError where there are not so many within the limits."""
        slots = self.settings.slots
        draw = Random(derive_seed(self.seed, "dsm", trial, "centres"))
        given = self.initial[trial % len(self.initial)] if self.initial else ()
        found = first_centres(self.space, slots, given, self.admits, self.smallest, draw)
        if len(found) < slots:
            raise SpaceError(
                f"only {len(found)} architectures were found that keep the limits {self.settings.limits!r}, but "
                f"{slots} centres are needed. Raise search.limits; `archscout estimate` prints the sizes of the "
                "smallest and the largest network."
            )
        return found


class DsmTrials(Stored):
    """Some trials, from the scores of their first centres on.

    Args:
        trials: their numbers.
        course: gets the steps of trial 0.
        resumed: a state will be loaded: no first centres are drawn and scored.

    Attributes:
        codes, scores: of the centres, `(T, K, layers)` and `(T, K)`.
        live: what edits start from; the codes, unless `legacy_drift`.
        controller: all trials' controllers.
        steps: made so far.
    """

    codes: State[Tensor]
    live: State[Tensor]
    scores: State[Tensor]
    baseline: State[Tensor]
    steps: State[int]
    books: State[list[TrialLedger]]
    controller: State[Controller]

    def __init__(self, common: SharedByTrials, trials: range, course: SearchCourse, *, resumed: bool = False) -> None:
        self._common, self._settings, self._trials, self._course = common, common.settings, trials, course
        settings, code = common.settings, common.space.layer_code
        self._columns = code.columns or code.operations
        self._shape = ControllerShape(settings.slots, settings.edits, code.allowed, code.width)
        self.controller = Controller(
            self._shape,
            [generator(common.seed, "dsm", trial, "controller") for trial in trials],
            OptimizerSettings(settings.lr, settings.weight_decay, settings.entropy),
            uniform=settings.policy == "uniform",
            device=common.device,
        )
        self.steps, self._drawn = 0, (-1, torch.empty(0))
        self._entropy: Tensor | None = None
        self.books = [TrialLedger(self._settings) for _ in trials]
        self.codes = torch.zeros(
            len(trials), settings.slots, self._shape.layers, dtype=torch.int64, device=common.device
        )
        self.live = self.codes.clone()
        self.scores = torch.zeros(len(trials), settings.slots, device=common.device)
        self.baseline = torch.zeros(len(trials), 1, device=common.device)
        if not resumed:
            self._begin()
        self._nodes = self._describe()

    def _begin(self) -> None:
        """Draw and score the first centres."""
        common, trials = self._common, self._trials
        self.codes = torch.tensor([common.first_centres(trial) for trial in trials], device=common.device)
        self.live = self.codes.clone()
        flat = self.codes.flatten(0, 1)
        scores, seconds = common.score(flat, torch.ones(len(flat), dtype=torch.bool, device=common.device))
        self.scores = scores.view(len(trials), -1)
        entries = zip(flat.tolist(), scores.tolist(), seconds.tolist(), strict=True)
        for number, (code, score, cost) in enumerate(entries):
            charged = 0.0 if self._settings.legacy_free_initial else cost
            self.books[number // self._shape.slots].charge(tuple(code), score, charged)
        if trials[0] == 0:
            self._course.centres = self.scores[0].tolist()

    # -- the algorithm -------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Propose, query, replace, learn: once in every trial."""
        decisions = self.controller.propose(self._nodes, self._draws())
        proposals = self._edit(decisions)
        scores, scored, charged = self._query(proposals)
        before = self.scores.gather(1, decisions.slots)
        reward = scores if self._settings.reward == "absolute" else scores - before
        reward = torch.where(scored, reward, 0.0)
        self._replace(decisions.slots, proposals, scores, charged)
        mean, decay = reward.mean(1, keepdim=True), self._settings.baseline_decay
        self.baseline = mean if self.steps == 0 else decay * self.baseline + (1 - decay) * mean
        self.controller.learn(reward - self.baseline)
        self._entropy = decisions.entropy.mean()
        self.steps += 1

    def _edit(self, decisions: Decisions) -> Tensor:
        """Codes `(T, B, layers)`: copies of the picked centres, edits applied in order."""
        picked = decisions.slots[:, :, None].expand(-1, -1, self._shape.layers)
        codes = self.live.gather(1, picked)
        for edit in range(self._settings.edits):
            codes.scatter_(2, decisions.layers[:, :, edit, None], decisions.operations[:, :, edit, None])
        codes = self._common.space.canonical(codes.flatten(0, 1)).view_as(codes)
        if self._settings.legacy_drift:
            self.live.scatter_(1, picked, codes)
        return codes

    def _query(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores `(T, B)` of the proposals, which were scored, and which count.

        Scored are those within the limits, of trials with budget left; the last ones of a step can lie beyond it.
        """
        trials, proposals, _ = codes.shape
        flat = codes.flatten(0, 1)
        active = torch.tensor([not book.spent for book in self.books], device=codes.device)
        wanted = self._common.admitted(flat) & active.repeat_interleave(proposals)
        scores, seconds = self._common.score(flat, wanted)
        charged = [False] * len(flat)
        entries = zip(flat.tolist(), scores.tolist(), seconds.tolist(), wanted.tolist(), strict=True)
        for number, (code, score, cost, scored) in enumerate(entries):
            book = self.books[number // proposals]
            if scored and not book.spent:
                book.charge(tuple(code), score, cost)
                charged[number] = True
        shape = (trials, proposals)
        return scores.view(shape), wanted.view(shape), torch.tensor(charged, device=codes.device).view(shape)

    def _replace(self, slots: Tensor, codes: Tensor, scores: Tensor, charged: Tensor) -> None:
        """Proposals that are better than their centre take its place, one after the other."""
        for number in range(codes.shape[1]):
            slot, code, score = slots[:, number, None], codes[:, number, None], scores[:, number, None]
            now = self.scores.gather(1, slot)
            better = (score > now) & charged[:, number, None]
            wide = slot[:, :, None].expand(-1, -1, self._shape.layers)
            for centres in (self.codes, self.live):
                centres.scatter_(1, wide, torch.where(better[..., None], code, centres.gather(1, wide)))
            self.scores.scatter_(1, slot, torch.where(better, score, now))
            if self._trials[0] == 0 and bool(charged[0, number]):
                self._course.add(self.steps, int(slot[0]), float(score[0]), bool(better[0]))
        self._nodes = self._describe()

    def _describe(self) -> Tensor:
        """The nodes of the graph, `(T, K, features + 1)`: one-hot codes and scores."""
        one_hot = torch.nn.functional.one_hot(self.codes, self._columns).flatten(2)
        return torch.cat([one_hot.float(), self.scores[..., None]], dim=2)

    def _draws(self) -> Tensor:
        """The uniform numbers of a step, `(T, B, 1 + 2 M)`: each trial has its own, however trials are grouped."""
        shape = (self._settings.proposals, 1 + 2 * self._settings.edits)
        block = self.steps // DRAWN_STEPS
        if self._drawn[0] != block:
            seed = self._common.seed
            numbers = [
                torch.rand(DRAWN_STEPS, *shape, generator=generator(seed, "dsm", trial, "draws", block))
                for trial in self._trials
            ]
            self._drawn = block, torch.stack(numbers, dim=1).to(self._common.device)
        return self._drawn[1][self.steps % DRAWN_STEPS]

    # -- what a search asks --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def done(self) -> bool:
        """Whether all trials have spent their budget."""
        return all(book.spent for book in self.books) or self.steps >= MOST_STEPS * self._settings.queries

    @property
    def share(self) -> float:
        """The share of the budget that is used up, summed over the trials."""
        return sum(book.share for book in self.books)

    def metrics(self) -> dict[str, float]:
        """Best and mean centre over all trials, and the entropy of the last step as a share of the largest."""
        found = {"best": float(self.scores.max()), "centre": float(self.scores.mean())}
        if self._entropy is not None:
            found["entropy_share"] = float(self._entropy) / self._shape.largest_entropy
        return found

    def outcomes(self) -> list[Trial]:
        """What each trial found."""
        space, scores, codes = self._common.space, self.scores.tolist(), self.codes.tolist()
        live = self.live.tolist() if self._settings.legacy_drift else codes
        trials = []
        for number, book in enumerate(self.books):
            best = max(range(self._shape.slots), key=scores[number].__getitem__)
            trials.append(
                Trial(
                    best=space.decode(codes[number][best]),
                    score=scores[number][best],
                    centres=[space.decode(code) for code in live[number]],
                    centre_scores=scores[number],
                    queries=book.queries,
                    distinct=len(book.seen),
                    seconds=book.seconds,
                    scored=book.scored(space.decode) if self._settings.trials == 1 else [],
                )
            )
        return trials

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state)
        self._nodes = self._describe()
