"""DARTS on recurrent cells: a differentiable mixture of all edges and activations.

What the method `darts` does where the space is one of recurrent cells.

Source: "DARTS: Differentiable Architecture Search" (arXiv 1806.09055), docs/methods/darts.md#second-order:

    repeat for each segment of the training text, beside a segment of the validation text
        alpha: one Adam step on the gradient of the validation loss (methods/differentiable/bilevel.py)
        weights: one clipped SGD step on the training loss of the same segment
    take for each node the edge and the activation of the largest weight
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Engine, Stepper
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.differentiable.bilevel import Functional, LossFunction, Order, VirtualStep, bilevel_gradient
from archscout.methods.differentiable.relaxed import AlphaSettings
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import RecurrentMixtureNetwork, RelaxedRecurrence
from archscout.tasks.batch import Batch
from archscout.tasks.segments import SegmentSettings, SegmentStream
from archscout.tasks.streams import chunks
from archscout.training.language import TextSgdSettings

__all__ = ["RecurrentDartsSearch", "RecurrentDartsSettings"]

STEPS_PER_YIELD = 5


class RecurrentDartsSettings(Settings):
    """Settings of DARTS on recurrent cells; the defaults are the published Penn Treebank search."""

    epochs: int = Field(default=50, ge=1)
    order: Order = Field(default="second", description="finite_difference: the published approximation of second")
    batch_size: int = Field(default=256, ge=1, description="columns of both texts, per process")
    segments: SegmentSettings = SegmentSettings()
    optimizer: TextSgdSettings = TextSgdSettings(weight_decay=5e-7)
    alphas: AlphaSettings = AlphaSettings(lr=3e-3, betas=(0.9, 0.999))


class _Hidden:
    """The hidden states that training and validation go on from; those of all processes are saved together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.states: dict[str, Tensor | None] = {"train": None, "validation": None}

    def state_dict(self) -> dict[str, Any]:
        return {name: self._engine.join_rows(state) for name, state in self.states.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.states = {name: self._engine.own_rows(saved) for name, saved in state.items()}


class RecurrentDartsSearch(Job[SearchResult]):
    """The search; see the module's docstring."""

    network: State[nn.Module]
    alphas: State[list[Tensor]]
    stepper: State[Stepper]
    adam: State[torch.optim.Adam]
    hidden: State[_Hidden]
    train: State[SegmentStream]
    validation: State[SegmentStream]

    def __init__(self, context: SearchContext) -> None:
        settings = cast(RecurrentDartsSettings, context.settings)
        self.context, self.settings = context, settings
        engine, task, seed = context.engine, context.task, context.seed
        with engine.seeded(seed, "mixture"):
            network = cast(RelaxedRecurrence, context.space).mixture(task.spec, context.supernet_size)
        self.network = engine.place(network)
        self._mixture = cast(RecurrentMixtureNetwork, network)
        self._functional = Functional(network)
        draw = generator(seed, "alphas")
        self.alphas = [
            alpha.detach().to(engine.device).requires_grad_() for alpha in self._mixture.initial_alphas(draw)
        ]
        optimizer = settings.optimizer.create(network.parameters())
        self.stepper = Stepper(engine, optimizer, settings.optimizer.clip)
        self.adam = settings.alphas.create(self.alphas)
        self.train, self.validation = (
            SegmentStream(
                split,
                settings.batch_size,
                engine.device,
                derive_seed(seed, name),
                lengths,
                rank=engine.rank,
                world_size=engine.world_size,
            )
            for name, split, lengths in (
                ("train", task.train, settings.segments),
                ("validation", task.validation, SegmentSettings(length=settings.segments.length, halved=0)),
            )
        )
        self.hidden = _Hidden(engine)

    def run(self) -> Iterator[Metrics]:
        """Segment by segment a step of the architecture parameters, then one of the weights."""
        for epoch in range(self.train.epoch, self.settings.epochs):
            for segments in chunks(self.train, STEPS_PER_YIELD):
                losses = [self.step(segment, self.validation.next_batch(), epoch) for segment in segments]
                yield {"epoch": float(epoch), **self._metrics(losses)}

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        yield self.train.passed, self.settings.epochs

    def _metrics(self, losses: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        judged, learnt = (torch.stack(each) for each in zip(*losses, strict=True))
        probabilities = self.alphas[0].detach().softmax(1)
        entropy = -(probabilities * probabilities.log()).sum(1).mean() / torch.tensor(probabilities.shape[1]).log()
        engine = self.context.engine
        engine.average_buffers(self.network)
        return {
            "steps": float(len(losses)),
            "loss": engine.average(float(learnt.mean())),
            "validation_loss": engine.average(float(judged.mean())),
            "entropy": float(entropy),
        }

    def step(self, train: Batch, validation: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        """A step of the architecture parameters and one of the weights. Returns validation and training loss."""
        settings, engine, number = self.settings, self.context.engine, self.train.step - 1
        rate = settings.optimizer.schedule.rate(settings.optimizer.lr, epoch, settings.epochs, engine.world_size)
        self.stepper.set_rate(rate * train.rate_scale)
        self.adam.param_groups[0]["lr"] = settings.alphas.rate(epoch / settings.epochs)
        self.network.train()
        judged = self._alpha_step(train, validation, number)
        with engine.seeded(self.context.seed, "weights", number):
            outputs, hidden = self._mixture(train.inputs, self._start("train", train), self.alphas)
            loss = self.context.task.loss(outputs, train.targets)
        self.hidden.states["train"] = hidden.detach()
        self.stepper.step(loss, list(self.network.parameters()))
        return judged, loss.detach()

    def _start(self, name: str, batch: Batch) -> Tensor | None:
        return None if batch.starts else self.hidden.states[name]

    def _loss(
        self, batch: Batch, hidden: Tensor | None, seed: Sequence[str | int], remember: Callable[[Tensor], None]
    ) -> LossFunction:
        """The negative log-likelihood of a batch, without penalties, under one set of masks."""

        def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
            with self.context.engine.seeded(self.context.seed, *seed):
                outputs, after = self._functional(weights, batch.inputs, hidden, alphas)
            remember(after.detach())
            total, words = outputs.negative_log_likelihood(batch.targets)
            return cast(Tensor, total / words)

        return loss

    def _alpha_step(self, train: Batch, validation: Batch, number: int) -> Tensor:
        kept: list[Tensor] = []
        found = bilevel_gradient(
            self.settings.order,
            self._loss(train, self._start("train", train), ("alpha train", number), lambda hidden: None),
            self._loss(validation, self._start("validation", validation), ("alpha", number), kept.append),
            self._functional.weights,
            self.alphas,
            VirtualStep.of(self.stepper.optimizer, self._functional.weights, clip=self.settings.optimizer.clip),
        )
        self.hidden.states["validation"] = kept[-1]
        for alpha, gradient in zip(self.alphas, found.gradients, strict=True):
            alpha.grad = gradient
        self.context.engine.average_gradients(cast(list[nn.Parameter], self.alphas))
        self.adam.step()
        return found.validation_loss

    def architecture(self) -> Architecture:
        """The cell of the largest weights, as it stands."""
        found: Architecture = self._mixture.discretize(self.alphas)
        return found

    def result(self) -> SearchResult:
        """The cell of the largest weights."""
        architecture = self.architecture()
        return SearchResult(architecture, [Candidate(architecture, 0.0, "arg-max")])
