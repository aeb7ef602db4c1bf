"""P-DARTS: differentiable search in stages, with fewer operations and more cells from stage to stage.

"Progressive Differentiable Architecture Search" (arXiv 1904.12760); D2NAS finds its cells with it.
Source: docs/methods/pdarts.md#what-the-code-rests-on.

    for each stage, with a new supernet of more cells
        for some epochs                         weights alone
            w     <- SGD along d L_train(w, alpha) / d w
        for the other epochs, batch by batch    both, first order
            alpha <- Adam along d L_val(w, alpha) / d alpha
            w     <- SGD along d L_train(w, alpha) / d w
        keep the most probable operations of each edge
    keep one operation on two edges into each node, and few skip connections

An edge is a softmax over the operations that it has left, `none` among them. Dropout on skip connections of stride 1
falls towards zero, begins anew where the architecture starts to learn, and falls again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor

from archscout.errors import SettingsError, SpaceError
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Candidate, Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.differentiable.bilevel import bilevel_gradient
from archscout.methods.differentiable.relaxed import AlphaSettings, MixtureSettings, RelaxedSearch
from archscout.nn.protocols import DropsSkips
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Relaxed
from archscout.tasks.batch import Batch
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = [
    "PdartsSettings",
    "ProgressiveSearch",
    "ProgressiveStage",
    "StageSettings",
    "check_stages",
    "skip_dropout_rate",
]

DROPOUT_DECAY = 0.2  # per epoch, once the architecture learns; likewise
LEAST_KEPT = 3  # fewer could leave an edge with nothing but `none` and a skip connection that the limit forbids


class StageSettings(Settings):
    """One stage of the search."""

    layers: int | None = Field(default=None, ge=1, description="cells of the supernet; null: supernet.layers")
    init_channels: int | None = Field(default=None, ge=2, description="its width; null: supernet.init_channels")
    skip_dropout: float = Field(default=0.0, ge=0, lt=1, description="rate on skip connections at the start")
    keep: int = Field(
        default=3, ge=LEAST_KEPT, description="operations of an edge that go on; the last stage keeps one"
    )


class PdartsSettings(MixtureSettings):
    """Settings of P-DARTS; the defaults are the published CIFAR-10 search."""

    stages: tuple[StageSettings, ...] = Field(
        default=(
            StageSettings(layers=5, skip_dropout=0.1, keep=5),
            StageSettings(layers=11, skip_dropout=0.4, keep=3),
            StageSettings(layers=17, skip_dropout=0.7),
        ),
        min_length=1,
    )
    epochs: int = Field(default=25, ge=1, description="of each stage")
    warmup_epochs: int = Field(default=10, ge=0, description="first epochs of a stage, in which only the weights learn")
    batch_size: int = Field(default=96, ge=2, description="per process, of both the weights' and the tensors' steps")
    optimizer: SgdSettings = SgdSettings(lr=0.025, schedule=ScheduleSettings(lr_min=0.0))
    alphas: AlphaSettings = AlphaSettings(lr=6e-4, clip=5.0)
    skip_limit: int | None = Field(default=2, ge=0, description="most skip connections in a normal cell; null: any")
    legacy_schedule: bool = Field(
        default=False, description="rates of the next epoch, as the published code: the last one of a stage trains at 0"
    )

    @model_validator(mode="after")
    def _check_warmup(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"epochs = {self.epochs} must exceed warmup_epochs = {self.warmup_epochs}")
        return self


def skip_dropout_rate(start: float, epoch: int, epochs: int, warmup_epochs: int) -> float:
    """The rate in an epoch: linear while only the weights learn, then exponential from the start again."""
    if epoch < warmup_epochs:
        return start * (epochs - epoch - 1) / epochs
    return start * math.exp(-DROPOUT_DECAY * (epoch - warmup_epochs))


class ProgressiveStage(RelaxedSearch):
    """One stage, a search of its own.

    Args:
        context: of the search; its settings are `PdartsSettings`.
        number: of the stage, from 0.
        live: boolean `(K, E, O + 1)`: the operations that are left, `none` first; None: all.
    """

    def __init__(self, context: SearchContext, number: int, live: Tensor | None = None) -> None:
        settings = cast(PdartsSettings, context.settings)
        self.number, self.stage = number, settings.stages[number]
        self._live = live
        self._seed = derive_seed(context.seed, "stage", number)
        size = _stage_size(context.supernet_size, self.stage)
        super().__init__(replace(context, supernet_size=size, seed=self._seed), warmup_epochs=settings.warmup_epochs)
        self.live = self._left().to(context.engine.device)
        if self.stage.skip_dropout and not isinstance(self.network, DropsSkips):
            raise SpaceError(
                f"the space '{context.space.name}' has no dropout on skip connections; set skip_dropout: 0 in all "
                "search.stages."
            )

    def _left(self) -> Tensor:
        tensors, edges, operations = self.relaxation.shape
        shape = (tensors, edges, operations + 1)
        if self._live is None:
            return torch.ones(shape, dtype=torch.bool)
        if self._live.shape != shape:
            raise SpaceError(
                f"stage {self.number + 1} has architecture tensors of shape {shape}, the stage before of "
                f"{tuple(self._live.shape)}: all stages need the same kinds of cells. Check layers in search.stages."
            )
        return self._live

    def make_supernet(self) -> torch.nn.Module:
        """Without the operations that are dropped."""
        return self.relaxation.supernet() if self._live is None else self.relaxation.supernet(self._left()[..., 1:])

    def initial_alphas(self) -> Tensor:
        """A column for `none` before the operations."""
        return self.drawn_alphas()

    def probabilities(self, alphas: Tensor) -> Tensor:
        """The softmax over the operations that an edge has left, `none` first; the others are zero."""
        return alphas.masked_fill(~self.live, -math.inf).softmax(2)

    def mixing(self, alphas: Tensor) -> Tensor:
        """`none` takes its share of the probability and contributes nothing."""
        return self.probabilities(alphas)[..., 1:]

    def set_rates(self, epoch: int) -> None:
        """The learning rates, and the dropout on skip connections."""
        settings = cast(PdartsSettings, self.settings)
        super().set_rates(epoch)
        if settings.legacy_schedule:
            sgd, adam = settings.optimizer, settings.alphas
            self.stepper.set_rate(sgd.schedule.rate(sgd.lr, epoch + 1, settings.epochs, self.context.engine.world_size))
            steps = max(0, epoch + 1 - self.warmup_epochs)
            self.adam.param_groups[0]["lr"] = adam.rate(steps / (settings.epochs - self.warmup_epochs))
        if isinstance(self.network, DropsSkips) and self.stage.skip_dropout:
            rate = skip_dropout_rate(self.stage.skip_dropout, epoch, settings.epochs, self.warmup_epochs)
            self.network.skip_dropout = rate

    def architecture_step(self, train: Batch, validation: Batch) -> None:
        """First order: the weights as they are."""
        loss = self.loss_of(validation)
        with self._seeded("architecture"):
            found = bilevel_gradient("first", loss, loss, self.weights, [self.alphas])
        self.update_alphas(found.gradients[0])

    def weight_step(self, train: Batch) -> tuple[Tensor, Tensor]:
        """One step of the weights."""
        with self._seeded("weights"):
            return super().weight_step(train)

    def _seeded(self, purpose: str) -> AbstractContextManager[None]:
        """For the masks of dropout."""
        if not self.stage.skip_dropout:
            return nullcontext()
        return self.context.engine.seeded(self._seed, purpose, self.stream.step)

    def kept(self) -> Tensor:
        """The operations that go on to the next stage: boolean `(K, E, O + 1)`."""
        ranked = self.probabilities(self.alphas.detach()).sort(dim=2, descending=True, stable=True).indices
        chosen = torch.zeros_like(self.live).scatter(2, ranked[..., : self.stage.keep], True)
        return (chosen & self.live).cpu()

    def architecture(self) -> Architecture:
        """The architecture as it stands, without `none`."""
        found: Architecture = self.relaxation.discretize(
            self.mixing(self.alphas.detach()),
            "progressive",
            0.0,
            skip_limit=cast(PdartsSettings, self.settings).skip_limit,
        )
        return found

    def facts(self) -> dict[str, Any]:
        """What each edge could choose from, and how the stage ended."""
        names = ("none", *self.relaxation.operations)
        live = [[[name for name, left in zip(names, row, strict=True) if left] for row in cell] for cell in self.live]
        return {"operations": live, "score": self.score}


def _stage_size(size: Any, stage: StageSettings) -> Any:
    """The supernet's size with what the stage sets."""
    changes = {"layers": stage.layers, "init_channels": stage.init_channels}
    changes = {name: value for name, value in changes.items() if value is not None}
    unknown = [name for name in changes if name not in type(size).model_fields]
    if unknown:
        raise SettingsError(
            f"search.stages: the networks of this space have no {' and no '.join(unknown)}; leave it out of all stages."
        )
    return size.model_copy(update=changes)


class ProgressiveSearch(Job[SearchResult]):
    """The search: its stages one after the other.

    Args:
        settings: None takes the context's.
    """

    number: State[int]
    live: State[Tensor | None]
    stage: State[ProgressiveStage]
    finished: State[list[dict[str, Any]]]

    def __init__(self, context: SearchContext, settings: PdartsSettings | None = None) -> None:
        self.context = context if settings is None else replace(context, settings=settings)
        self.settings = cast(PdartsSettings, self.context.settings)
        self.finished = []
        self._begin(0, None)

    def _begin(self, number: int, live: Tensor | None) -> None:
        self.number, self.live = number, live
        self.stage = ProgressiveStage(self.context, number, live)

    def run(self) -> Iterator[Metrics]:
        """Stage after stage, each with the operations that the one before has kept."""
        while True:
            for metrics in self.stage.run():
                yield {**metrics, "search_stage": float(self.number + 1)}
            if self.number + 1 == len(self.settings.stages):
                return
            self.finished.append(self.stage.facts())
            self._begin(self.number + 1, self.stage.kept())

    def work(self) -> Iterator[tuple[float, float]]:
        """Stages."""
        yield self.number + self.stage.progress, len(self.settings.stages)

    def architecture(self) -> Architecture:
        """The architecture as it stands."""
        return self.stage.architecture()

    def said(self) -> list[str]:
        """What came up since the last call."""
        return [*super().said(), *self.stage.said()]

    def result(self) -> SearchResult:
        """The architecture of the last stage; its score is that of its supernet, with mixed edges."""
        found = self.stage.architecture()
        facts = {"stages": [*self.finished, self.stage.facts()]}
        return SearchResult(found, [Candidate(found, self.stage.judged, "mixed supernet")], facts=facts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, with the supernet of its stage."""
        if state["number"] != self.number:
            self._begin(int(state["number"]), state["live"])
        super().load_state_dict(state)


def check_stages(context: SearchContext, settings: PdartsSettings | None = None) -> None:
    """Raise an ArchscoutError if a stage's supernet cannot be built."""
    shapes = set()
    for stage in (settings or cast(PdartsSettings, context.settings)).stages:
        size = _stage_size(context.supernet_size, stage)
        shapes.add(cast(Relaxed, context.space).relaxation(context.task.spec, size).shape)
    if len(shapes) > 1:
        raise SettingsError("search.stages: all stages need the same kinds of cells; check their layers.")


register_method(
    Method(
        name="pdarts",
        description="differentiable search in stages: fewer operations and more cells each time",
        settings=PdartsSettings,
        requires=(Relaxed,),
        stages=(SearchStage("search", lambda context, before: ProgressiveSearch(context)),),
        check=check_stages,
    )
)
