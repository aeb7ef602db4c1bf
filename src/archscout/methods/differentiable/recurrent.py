"""DARTS on recurrent cells: a differentiable mixture of all edges and activations.

What the method `darts` does where the space is one of recurrent cells.

Source: "DARTS: Differentiable Architecture Search" (arXiv 1806.09055), docs/methods/darts.md#second-order:

    repeat for each segment of the training text, beside a segment of the validation text
        alpha: one Adam step on the gradient of the validation loss (methods/differentiable/bilevel.py)
        weights: one clipped SGD step on the training loss of the same segment
    take for each node the edge and the activation of the largest weight
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Stepper
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.differentiable.bilevel import Functional, LossFunction, Order, VirtualStep, bilevel_gradient
from archscout.methods.differentiable.relaxed import AlphaSettings
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import RecurrentMixtureNetwork, RelaxedRecurrence
from archscout.tasks.batch import Batch
from archscout.tasks.segments import SegmentSettings, SegmentStream
from archscout.training.language import TextSgdSettings

__all__ = ["RecurrentDartsSearch", "RecurrentDartsSettings"]

STEPS_PER_ADVANCE = 5


class RecurrentDartsSettings(Settings):
    """Settings of DARTS on recurrent cells; the defaults are the published Penn Treebank search."""

    epochs: int = Field(default=50, ge=1)
    order: Order = Field(default="second", description="finite_difference: the published approximation of second")
    batch_size: int = Field(default=256, ge=1, description="columns of both texts, per process")
    segments: SegmentSettings = SegmentSettings()
    optimizer: TextSgdSettings = TextSgdSettings(weight_decay=5e-7)
    alphas: AlphaSettings = AlphaSettings(lr=3e-3, betas=(0.9, 0.999))


class RecurrentDartsSearch:
    """The search as a job; see the module's docstring."""

    def __init__(self, context: SearchContext) -> None:
        settings = cast(RecurrentDartsSettings, context.settings)
        self._context, self._settings = context, settings
        engine, task, seed = context.engine, context.task, context.seed
        with engine.seeded(seed, "mixture"):
            network = cast(RelaxedRecurrence, context.space).mixture(task.spec, context.supernet_size)
        self.network: nn.Module = engine.place(network)
        self._mixture = cast(RecurrentMixtureNetwork, network)
        self._functional = Functional(network)
        draw = generator(seed, "alphas")
        self.alphas = [
            alpha.detach().to(engine.device).requires_grad_() for alpha in self._mixture.initial_alphas(draw)
        ]
        optimizer = settings.optimizer.create(network.parameters())
        self._stepper = Stepper(engine, optimizer, settings.optimizer.clip)
        self._adam = settings.alphas.create(self.alphas)
        self.train_stream, self._validation_stream = (
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
        self._hidden: dict[str, Tensor | None] = {"train": None, "validation": None}

    def advance(self) -> dict[str, float]:
        """Some steps, at most to the end of the epoch."""
        epoch = self.train_stream.epoch
        losses: list[Tensor] = []
        judged: list[Tensor] = []
        while len(losses) < STEPS_PER_ADVANCE and self.train_stream.epoch == epoch:
            validation_loss, loss = self.step()
            losses.append(loss)
            judged.append(validation_loss)
        probabilities = self.alphas[0].detach().softmax(1)
        entropy = -(probabilities * probabilities.log()).sum(1).mean() / torch.tensor(probabilities.shape[1]).log()
        engine = self._context.engine
        engine.average_buffers(self.network)
        done = self.train_stream.epoch + self.train_stream.position / self.train_stream.batches_per_epoch
        return {
            "progress": min(1.0, done / self._settings.epochs),
            "epoch": float(epoch),
            "steps": float(len(losses)),
            "loss": engine.average(float(torch.stack(losses).mean())),
            "validation_loss": engine.average(float(torch.stack(judged).mean())),
            "entropy": float(entropy),
        }

    def step(self) -> tuple[Tensor, Tensor]:
        """A step of the architecture parameters and one of the weights. Returns validation and training loss."""
        settings, engine = self._settings, self._context.engine
        number, epoch = self.train_stream.step, self.train_stream.epoch
        train, validation = self.train_stream.next_batch(), self._validation_stream.next_batch()
        rate = settings.optimizer.schedule.rate(settings.optimizer.lr, epoch, settings.epochs, engine.world_size)
        self._stepper.set_rate(rate * train.rate_scale)
        self._adam.param_groups[0]["lr"] = settings.alphas.rate(epoch / settings.epochs)
        self.network.train()
        judged = self._alpha_step(train, validation, number)
        with engine.seeded(self._context.seed, "weights", number):
            outputs, hidden = self._mixture(train.inputs, self._start("train", train), self.alphas)
            loss = self._context.task.loss(outputs, train.targets)
        self._hidden["train"] = hidden.detach()
        self._stepper.step(loss, list(self.network.parameters()))
        return judged, loss.detach()

    def _start(self, name: str, batch: Batch) -> Tensor | None:
        return None if batch.starts else self._hidden[name]

    def _loss(
        self, batch: Batch, hidden: Tensor | None, seed: Sequence[str | int], remember: Callable[[Tensor], None]
    ) -> LossFunction:
        """The negative log-likelihood of a batch, without penalties, under one set of masks."""

        def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
            with self._context.engine.seeded(self._context.seed, *seed):
                outputs, after = self._functional(weights, batch.inputs, hidden, alphas)
            remember(after.detach())
            total, words = outputs.negative_log_likelihood(batch.targets)
            return cast(Tensor, total / words)

        return loss

    def _alpha_step(self, train: Batch, validation: Batch, number: int) -> Tensor:
        kept: list[Tensor] = []
        found = bilevel_gradient(
            self._settings.order,
            self._loss(train, self._start("train", train), ("alpha train", number), lambda hidden: None),
            self._loss(validation, self._start("validation", validation), ("alpha", number), kept.append),
            self._functional.weights,
            self.alphas,
            VirtualStep.of(self._stepper.optimizer, self._functional.weights, clip=self._settings.optimizer.clip),
        )
        self._hidden["validation"] = kept[-1]
        for alpha, gradient in zip(self.alphas, found.gradients, strict=True):
            alpha.grad = gradient
        self._context.engine.average_gradients(cast(list[nn.Parameter], self.alphas))
        self._adam.step()
        return found.validation_loss

    @property
    def done(self) -> bool:
        """Whether all epochs are over."""
        return self.train_stream.epoch >= self._settings.epochs

    def architecture(self) -> Architecture:
        """The cell of the largest weights, as it stands."""
        found: Architecture = self._mixture.discretize(self.alphas)
        return found

    def result(self) -> SearchResult:
        """The cell of the largest weights."""
        architecture = self.architecture()
        return SearchResult(architecture, [Candidate(architecture, 0.0, "arg-max")])

    def state_dict(self) -> dict[str, Any]:
        """Weights, architecture parameters, both optimisers, hidden states, places in the texts."""
        engine = self._context.engine
        return {
            "network": self.network.state_dict(),
            "alphas": self.alphas,
            "stepper": self._stepper.state_dict(),
            "adam": self._adam.state_dict(),
            "hidden": {name: engine.join_rows(state) for name, state in self._hidden.items()},
            "train": self.train_stream.state_dict(),
            "validation": self._validation_stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.network.load_state_dict(state["network"])
        with torch.no_grad():
            for alpha, saved in zip(self.alphas, state["alphas"], strict=True):
                alpha.copy_(saved)
        self._stepper.load_state_dict(state["stepper"])
        self._adam.load_state_dict(state["adam"])
        engine = self._context.engine
        self._hidden = {name: engine.own_rows(saved) for name, saved in state["hidden"].items()}
        self.train_stream.load_state_dict(state["train"])
        self._validation_stream.load_state_dict(state["validation"])
