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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Engine, Stepper
from archscout.nn.recurrent.carry import Carry
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.tasks.segments import SegmentSettings, SegmentStream
from archscout.tasks.task import Task
from archscout.training.evaluation import evaluate_network
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = ["LanguageTrainSettings", "LanguageTrainingJob", "TextSgdSettings"]

STEPS_PER_ADVANCE = 20


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


class LanguageTrainingJob:
    """Trains a recurrent network; its result is the network as it was best on validation, in evaluation mode.

    Args:
        network: freshly initialised, with `unroll`; trained in place.
        task: of kind language.
        settings: the recipe.
        engine: where to compute.
        seed: of segment lengths and dropouts.
    """

    def __init__(
        self, network: nn.Module, task: Task, settings: LanguageTrainSettings, engine: Engine, seed: int
    ) -> None:
        self._task, self._settings, self._engine, self._seed = task, settings, engine, seed
        self._network = engine.place(network)
        self._carry = Carry(network, engine)
        self._parameters: list[Tensor] = list(network.parameters())
        self._stepper = Stepper(engine, settings.optimizer.create(network.parameters()), settings.optimizer.clip)
        self._stream = SegmentStream(
            task.train,
            settings.batch_size,
            engine.device,
            derive_seed(seed, "train"),
            settings.segments,
            rank=engine.rank,
            world_size=engine.world_size,
        )
        self._losses: list[float] = []  # on validation, after each epoch
        self._best = [weight.detach().clone() for weight in self._parameters]
        self._mean: list[Tensor] | None = None
        self._averaged = 0  # steps in the mean

    @property
    def done(self) -> bool:
        """Whether all epochs are over."""
        return self._stream.epoch >= self._settings.epochs

    def advance(self) -> dict[str, float]:
        """Some steps, at most to the end of the epoch, which ends with a validation."""
        self._network.train()
        epoch = self._stream.epoch
        losses: list[Tensor] = []
        while len(losses) < STEPS_PER_ADVANCE and self._stream.epoch == epoch:
            losses.append(self._train_step())
        metrics = {
            "epoch": float(epoch),
            "steps": float(len(losses)),
            "loss": self._engine.average(float(torch.stack(losses).mean())),
            "learning_rate": self._rate(epoch),
        }
        if self._stream.epoch != epoch:
            metrics |= self._validate()
        done = self._stream.epoch + self._stream.position / self._stream.batches_per_epoch
        return {"progress": done / self._settings.epochs, **metrics}

    def _rate(self, epoch: int) -> float:
        optimizer = self._settings.optimizer
        return optimizer.schedule.rate(optimizer.lr, epoch, self._settings.epochs, self._engine.world_size)

    def _train_step(self) -> Tensor:
        number, epoch, batch = self._stream.step, self._stream.epoch, self._stream.next_batch()
        self._stepper.set_rate(self._rate(epoch) * batch.rate_scale)
        with self._engine.seeded(self._seed, "step", number), self._engine.autocast():
            outputs = self._carry(batch.inputs, starts=batch.starts)
            loss = self._task.loss(outputs, batch.targets)
        self._stepper.step(loss, list(self._network.parameters()))
        if self._mean is not None:
            self._averaged += 1
            with torch.no_grad():
                torch._foreach_lerp_(self._mean, self._parameters, 1 / self._averaged)
        return loss.detach()

    def _validate(self) -> dict[str, float]:
        """Validate after an epoch; begin averaging where it is time."""
        with self._weights(self._mean):
            values = evaluate_network(
                self._network, self._task, self._task.validation, self._engine, self._settings.validation_batch_size
            )
            loss = values["loss"]
            if not self._losses or loss < min(self._losses):
                torch._foreach_copy_(self._best, [weight.detach() for weight in self._parameters])
        if self._mean is None and self._is_time(loss):
            self._mean = [weight.detach().clone() for weight in self._parameters]
        self._losses.append(loss)
        return {
            **{f"validation_{name}": value for name, value in values.items()},
            "best_validation_perplexity": math.exp(min(self._losses)),
            "averaging": float(self._mean is not None),
        }

    def _is_time(self, loss: float) -> bool:
        """Whether averaging begins, after an epoch that ended with this validation loss."""
        settings, epochs = self._settings, len(self._losses)
        if settings.average_from is not None and epochs + 1 >= settings.average_from:
            return True
        patience = settings.patience
        return patience is not None and epochs > patience and loss > min(self._losses[: epochs - patience])

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
            torch._foreach_copy_(self._parameters, self._best)
        return self._network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Weights, their mean and the best of them, optimiser, hidden state, place in the text, losses."""
        return {
            "network": self._network.state_dict(),
            "best": self._best,
            "mean": self._mean,
            "averaged": self._averaged,
            "losses": self._losses,
            "stepper": self._stepper.state_dict(),
            "carry": self._carry.state_dict(),
            "stream": self._stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        device = self._engine.device
        self._network.load_state_dict(state["network"])
        self._best = [weight.to(device) for weight in state["best"]]
        self._mean = None if state["mean"] is None else [weight.to(device) for weight in state["mean"]]
        self._averaged = int(state["averaged"])
        self._losses = [float(loss) for loss in state["losses"]]
        self._stepper.load_state_dict(state["stepper"])
        self._carry.load_state_dict(state["carry"])
        self._stream.load_state_dict(state["stream"])
