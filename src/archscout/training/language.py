"""Training of language models: SGD on random segments, then averaged SGD.

Source: Merity et al. 2018, "Regularizing and optimizing LSTM language models" (arXiv 1708.02182), in the form that
DARTS and EDNAS use (docs/methods/darts_recurrent.md#settings-of-search-and-training):

    repeat for each epoch
        for each segment of the training text, of a random length
            loss = mean negative log-likelihood + penalties on the states;  rate = lr * length / usual length
            clip the gradient, one SGD step; once averaging has begun: mean of the weights since then
        validate, with the mean weights once there are any; keep the best
        begin averaging when the validation loss is worse than the best before the last 5 epochs, or where settings say
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Engine, Stepper
from archscout.jobs import Job, Metrics, State
from archscout.nn.recurrent.carry import Carry
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.tasks.batch import Batch
from archscout.tasks.segments import SegmentSettings, SegmentStream
from archscout.tasks.streams import chunks
from archscout.tasks.task import Task
from archscout.training.evaluation import evaluate_network
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = ["LanguageTrainSettings", "LanguageTrainingJob", "TextSgdSettings"]

STEPS_PER_YIELD = 20


class TextSgdSettings(SgdSettings):
    """Plain stochastic gradient descent with the large steps and the tight clip that language models take."""

    lr: float = Field(default=20.0, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=8e-7, ge=0)
    clip: float | None = Field(default=0.25, gt=0, description="largest global gradient norm; null clips nothing")
    schedule: ScheduleSettings = ScheduleSettings(kind="constant")


class LanguageTrainSettings(Settings):
    """How a language model is trained. The defaults are the published Penn Treebank recipe."""

    epochs: int = Field(default=1600, ge=1)
    batch_size: int = Field(default=64, ge=1, description="columns of the text, per process")
    segments: SegmentSettings = SegmentSettings(deviation=5)
    optimizer: TextSgdSettings = TextSgdSettings()
    patience: int | None = Field(
        default=5, ge=0, description="epochs without a better validation loss before averaging begins; null: never"
    )
    average_from: int | None = Field(
        default=None, ge=1, description="epochs after which averaging begins at the latest; short trainings gain by it"
    )
    validation_batch_size: int = Field(default=10, ge=1, description="columns of the validation text")
    split: Literal["train"] = Field(default="train", description="validation decides when averaging begins")

    def job(self, network: nn.Module, task: Task, engine: Engine, seed: int) -> LanguageTrainingJob:
        """The job that trains a network."""
        return LanguageTrainingJob(network, task, self, engine, seed)


class LanguageTrainingJob(Job[nn.Module]):
    """Trains a recurrent network; its result is the network as it was best on validation, in evaluation mode.

    Args:
        network: freshly initialised, with `unroll`; trained in place.
        task: of kind language.
        seed: of segment lengths and dropouts.
    """

    network: State[nn.Module]
    best: State[list[Tensor]]
    mean: State[list[Tensor] | None]  # of the weights since averaging has begun
    averaged: State[int]  # steps in the mean
    losses: State[list[float]]  # on validation, after each epoch
    stepper: State[Stepper]
    carry: State[Carry]
    stream: State[SegmentStream]

    def __init__(
        self, network: nn.Module, task: Task, settings: LanguageTrainSettings, engine: Engine, seed: int
    ) -> None:
        self._task, self._settings, self._engine, self._seed = task, settings, engine, seed
        self.network = engine.place(network)
        self.carry = Carry(network, engine)
        self._parameters: list[Tensor] = list(network.parameters())
        self.stepper = Stepper(engine, settings.optimizer.create(network.parameters()), settings.optimizer.clip)
        self.stream = SegmentStream(
            task.train,
            settings.batch_size,
            engine.device,
            derive_seed(seed, "train"),
            settings.segments,
            rank=engine.rank,
            world_size=engine.world_size,
        )
        self.losses = []
        self.best = [weight.detach().clone() for weight in self._parameters]
        self.mean, self.averaged = None, 0

    def run(self) -> Iterator[Metrics]:
        """Epoch after epoch over the segments of the text; each ends with a validation."""
        for epoch in range(self.stream.epoch, self._settings.epochs):
            for segments in chunks(self.stream, STEPS_PER_YIELD):
                self.network.train()
                losses = [self._train_step(segment, epoch) for segment in segments]
                metrics = {
                    "epoch": float(epoch),
                    "steps": float(len(losses)),
                    "loss": self._engine.average(float(torch.stack(losses).mean())),
                    "learning_rate": self._rate(epoch),
                }
                if self.stream.epoch != epoch:
                    metrics |= self._validate()
                yield metrics

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        yield self.stream.passed, self._settings.epochs

    def _rate(self, epoch: int) -> float:
        optimizer = self._settings.optimizer
        return optimizer.schedule.rate(optimizer.lr, epoch, self._settings.epochs, self._engine.world_size)

    def _train_step(self, batch: Batch, epoch: int) -> Tensor:
        number = self.stream.step - 1
        self.stepper.set_rate(self._rate(epoch) * batch.rate_scale)
        with self._engine.seeded(self._seed, "step", number), self._engine.autocast():
            outputs = self.carry(batch.inputs, starts=batch.starts)
            loss = self._task.loss(outputs, batch.targets)
        self.stepper.step(loss, list(self.network.parameters()))
        if self.mean is not None:
            self.averaged += 1
            with torch.no_grad():
                torch._foreach_lerp_(self.mean, self._parameters, 1 / self.averaged)
        return loss.detach()

    def _validate(self) -> dict[str, float]:
        """Validate after an epoch; begin averaging where it is time."""
        with self._weights(self.mean):
            values = evaluate_network(
                self.network, self._task, self._task.validation, self._engine, self._settings.validation_batch_size
            )
            loss = values["loss"]
            if not self.losses or loss < min(self.losses):
                torch._foreach_copy_(self.best, [weight.detach() for weight in self._parameters])
        if self.mean is None and self._is_time(loss):
            self.mean = [weight.detach().clone() for weight in self._parameters]
        self.losses.append(loss)
        return {
            **{f"validation_{name}": value for name, value in values.items()},
            "best_validation_perplexity": math.exp(min(self.losses)),
            "averaging": float(self.mean is not None),
        }

    def _is_time(self, loss: float) -> bool:
        """Whether averaging begins, after an epoch that ended with this validation loss."""
        settings, epochs = self._settings, len(self.losses)
        if settings.average_from is not None and epochs + 1 >= settings.average_from:
            return True
        patience = settings.patience
        return patience is not None and epochs > patience and loss > min(self.losses[: epochs - patience])

    @contextmanager
    def _weights(self, weights: list[Tensor] | None) -> Iterator[None]:
        """Put other weights into the network for a while."""
        if weights is None:
            yield
            return
        own = [weight.detach().clone() for weight in self._parameters]
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, weights)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._parameters, own)

    def result(self) -> nn.Module:
        """The network with its best weights, in evaluation mode."""
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, self.best)
        return self.network.eval()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        if state["mean"] is not None:
            self.mean = [torch.empty_like(weight) for weight in self._parameters]  # where the saved one goes
        super().load_state_dict(state)
