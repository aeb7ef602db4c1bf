"""The training job: a network from scratch, with the published recipe of the cell family.

Source: docs/methods/ednas.md#final-training.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Engine, Stepper
from archscout.errors import SettingsError
from archscout.seeds import derive_seed
from archscout.tasks.batch import BatchStream
from archscout.tasks.task import Task, Transform
from archscout.tasks.transforms import cutout
from archscout.training.augmentation import AugmentationSettings, augmented, is_images
from archscout.training.evaluation import evaluate_network
from archscout.training.optimizers import SgdSettings

__all__ = ["TrainSettings", "TrainingJob"]

STEPS_PER_ADVANCE = 20  # some seconds on a CPU: how long a signal waits, and what a kill can lose at most


class TrainSettings(AugmentationSettings):
    """How a network is trained. The defaults are the published CIFAR recipe."""

    epochs: int = Field(default=600, ge=0, description="0 keeps the weights that the search hands over")
    batch_size: int = Field(default=128, ge=2, description="per process")
    epoch_share: float | None = Field(
        default=None, gt=0, le=1, description="only the first floor(share * n) + 1 of an epoch's n batches; null: all"
    )
    optimizer: SgdSettings = SgdSettings()
    drop_path: float = Field(default=0.2, ge=0, lt=1, description="reached linearly over the epochs")
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="rate of the network's dropout layers; null: as they are"
    )
    auxiliary_weight: float = Field(default=0.4, ge=0, description="of the auxiliary head's loss, if it has one")
    cutout: int = Field(default=16, ge=0, description="side of the hole in pixels; 0: none. Classes of images only")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    average_decay: float | None = Field(
        default=None, gt=0, lt=1, description="exponential average of the weights, which is then the result"
    )
    split: Literal["development", "train"] = Field(
        default="development", description="train: leaves validation out, and reports it while training"
    )
    validation_epochs: int = Field(
        default=1, ge=0, description="with split: train, epochs between two validations; 0: never"
    )

    def job(self, network: nn.Module, task: Task, engine: Engine, seed: int) -> TrainingJob:
        """The job that trains a network."""
        return TrainingJob(network, task, self, engine, seed)


class TrainingJob:
    """Trains a network; its result is the network in evaluation mode, with averaged weights if asked for.

    Args:
        network: freshly initialised; trained in place.
        task: what to learn.
        settings: the recipe.
        engine: where to compute.
        seed: of order, augmentation and drop path.
    """

    def __init__(self, network: nn.Module, task: Task, settings: TrainSettings, engine: Engine, seed: int) -> None:
        task = augmented(task, settings, "train")
        self._task, self._settings, self._engine, self._seed = task, settings, engine, seed
        self._network = engine.place(network)
        self._set_dropout(settings.dropout)
        self._parameters = list(network.parameters())
        self._stepper = Stepper(engine, settings.optimizer.create(self._parameters), settings.optimizer.clip)
        self._average = copy.deepcopy(network) if settings.average_decay is not None else None
        self._stream = BatchStream(
            task,
            task.split(settings.split),
            settings.batch_size,
            engine.device,
            derive_seed(seed, "train"),
            extra=self._extra_transforms(),
            drop_last=True,
            share=settings.epoch_share,
            rank=engine.rank,
            world_size=engine.world_size,
        )
        self._step = 0

    def _set_dropout(self, rate: float | None) -> None:
        layers = [module for module in self._network.modules() if isinstance(module, nn.Dropout)]
        if rate and not layers:
            raise SettingsError(
                f"train.dropout = {rate}: the network has no dropout layers. Leave it out, here and in "
                "tuning.parameters; networks of cells have train.drop_path."
            )
        if rate is not None:
            for layer in layers:
                layer.p = rate

    def _extra_transforms(self) -> tuple[Transform, ...]:
        wanted = self._settings.cutout and is_images(self._task)
        return (cutout(self._settings.cutout),) if wanted else ()

    @property
    def done(self) -> bool:
        """Whether all epochs are over."""
        return self._stream.epoch >= self._settings.epochs

    def advance(self) -> dict[str, float]:
        """Some steps, at most to the end of the epoch."""
        self._network.train()
        epoch = self._stream.epoch
        self._begin_epoch(epoch)
        loss, counted = (torch.zeros((), dtype=torch.float64, device=self._engine.device) for _ in range(2))
        accumulator = self._task.metric.create().to(self._engine.device)
        steps = 0
        while steps < STEPS_PER_ADVANCE and self._stream.epoch == epoch:
            outputs, targets, batch_loss = self._train_step()
            total, count = self._task.pool_loss(batch_loss, targets)
            loss += total
            counted += count
            accumulator.update(outputs, targets)
            steps += 1
        engine = self._engine
        engine.average_buffers(self._network)
        if self._average is not None:
            engine.average_buffers(self._average)
        metrics = {
            "progress": self._progress(),
            "epoch": float(epoch),
            "steps": float(steps),
            "loss": engine.average(float(loss / counted)),
            f"train_{self._task.metric.name}": engine.average(float(accumulator.compute())),
            "learning_rate": float(self._stepper.optimizer.param_groups[0]["lr"]),
        }
        every = self._settings.validation_epochs
        if self._settings.split == "train" and self._stream.epoch != epoch and every and (epoch + 1) % every == 0:
            values = evaluate_network(self._current(), self._task, self._task.validation, self._engine)
            metrics |= {f"validation_{name}": value for name, value in values.items()}
        return metrics

    def _begin_epoch(self, epoch: int) -> None:
        settings = self._settings
        schedule = settings.optimizer.schedule
        self._stepper.set_rate(schedule.rate(settings.optimizer.lr, epoch, settings.epochs, self._engine.world_size))
        if hasattr(self._network, "drop_path_rate"):
            self._network.drop_path_rate = settings.drop_path * epoch / settings.epochs  # type: ignore[assignment]

    def _train_step(self) -> tuple[Tensor, Tensor, Tensor]:
        settings, task = self._settings, self._task
        batch = self._stream.next_batch()
        with self._engine.seeded(self._seed, "step", self._step), self._engine.autocast():
            outputs = self._network(self._engine.arrange(batch.inputs))
            main, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = task.loss(main, batch.targets, label_smoothing=settings.label_smoothing)
            for other in auxiliary:
                extra = task.loss(other, batch.targets, label_smoothing=settings.label_smoothing)
                loss = loss + settings.auxiliary_weight * extra
        self._stepper.step(loss, self._parameters)
        self._step += 1
        self._update_average()
        return main.detach().float(), batch.targets, loss.detach()

    def _update_average(self) -> None:
        if self._average is None or self._settings.average_decay is None:
            return
        # The first steps count more: the decay rises to its value, so that the random start is forgotten.
        decay = min(self._settings.average_decay, (1 + self._step) / (10 + self._step))
        with torch.no_grad():
            pairs = zip(self._average.state_dict().values(), self._network.state_dict().values(), strict=True)
            for mean, value in pairs:
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)

    def _current(self) -> nn.Module:
        return self._network if self._average is None else self._average

    def _progress(self) -> float:
        done = self._stream.epoch + self._stream.position / self._stream.batches_per_epoch
        return done / self._settings.epochs

    def result(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return self._current().eval()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, place in the data."""
        return {
            "network": self._network.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "stepper": self._stepper.state_dict(),
            "stream": self._stream.state_dict(),
            "step": self._step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._stepper.load_state_dict(state["stepper"])
        self._stream.load_state_dict(state["stream"])
        self._step = int(state["step"])
