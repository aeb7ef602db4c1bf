"""The training job: a network from scratch, with the published recipe of the cell family.

Source: docs/methods/ednas.md#final-training.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Engine, Stepper
from archscout.errors import SettingsError
from archscout.jobs import Job, Metrics, State
from archscout.nn.protocols import DropsPaths
from archscout.seeds import derive_seed
from archscout.tasks.batch import Batch, BatchStream
from archscout.tasks.streams import chunks
from archscout.tasks.task import Task, Transform
from archscout.tasks.transforms import cutout
from archscout.training.augmentation import AugmentationSettings, augmented, is_images
from archscout.training.evaluation import evaluate_network
from archscout.training.optimizers import SgdSettings

__all__ = ["TrainSettings", "TrainingJob"]

STEPS_PER_YIELD = 20  # some seconds on a CPU: how long a signal waits, and what a kill can lose at most


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


class TrainingJob(Job[nn.Module]):
    """Trains a network; its result is the network in evaluation mode, with averaged weights if asked for.

    Args:
        network: freshly initialised; trained in place.
        task: what to learn.
        seed: of order, augmentation and drop path.
    """

    network: State[nn.Module]
    average: State[nn.Module | None]
    stepper: State[Stepper]
    stream: State[BatchStream]
    step: State[int]

    def __init__(self, network: nn.Module, task: Task, settings: TrainSettings, engine: Engine, seed: int) -> None:
        task = augmented(task, settings, "train")
        self._task, self._settings, self._engine, self._seed = task, settings, engine, seed
        self.network = engine.place(network)
        self._set_dropout(settings.dropout)
        self._parameters = list(network.parameters())
        self.stepper = Stepper(engine, settings.optimizer.create(self._parameters), settings.optimizer.clip)
        self.average = copy.deepcopy(network) if settings.average_decay is not None else None
        self.stream = BatchStream(
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
        self.step = 0

    def _set_dropout(self, rate: float | None) -> None:
        layers = [module for module in self.network.modules() if isinstance(module, nn.Dropout)]
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

    def run(self) -> Iterator[Metrics]:
        """Epoch after epoch over the batches of the split; validation in between, where it is held out."""
        for epoch in range(self.stream.epoch, self._settings.epochs):
            self._begin_epoch(epoch)
            for batches in chunks(self.stream, STEPS_PER_YIELD):
                metrics = {"epoch": float(epoch), **self._train(batches)}
                if self.stream.epoch != epoch and self._validates(epoch):
                    values = evaluate_network(self.current, self._task, self._task.validation, self._engine)
                    metrics |= {f"validation_{name}": value for name, value in values.items()}
                yield metrics

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        yield self.stream.passed, self._settings.epochs

    def result(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return self.current.eval()

    @property
    def current(self) -> nn.Module:
        """The network whose weights count: the averaged one, if there is one."""
        return self.network if self.average is None else self.average

    def _validates(self, epoch: int) -> bool:
        every = self._settings.validation_epochs
        return self._settings.split == "train" and every > 0 and (epoch + 1) % every == 0

    def _train(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Some steps."""
        self.network.train()
        loss, counted = (torch.zeros((), dtype=torch.float64, device=self._engine.device) for _ in range(2))
        accumulator = self._task.metric.create().to(self._engine.device)
        steps = 0
        for batch in batches:
            outputs, batch_loss = self._train_step(batch)
            total, count = self._task.pool_loss(batch_loss, batch.targets)
            loss += total
            counted += count
            accumulator.update(outputs, batch.targets)
            steps += 1
        engine = self._engine
        engine.average_buffers(self.network)
        if self.average is not None:
            engine.average_buffers(self.average)
        return {
            "steps": float(steps),
            "loss": engine.average(float(loss / counted)),
            f"train_{self._task.metric.name}": engine.average(float(accumulator.compute())),
            "learning_rate": float(self.stepper.optimizer.param_groups[0]["lr"]),
        }

    def _begin_epoch(self, epoch: int) -> None:
        settings = self._settings
        schedule = settings.optimizer.schedule
        self.stepper.set_rate(schedule.rate(settings.optimizer.lr, epoch, settings.epochs, self._engine.world_size))
        if isinstance(self.network, DropsPaths):
            self.network.drop_path_rate = settings.drop_path * epoch / settings.epochs

    def _train_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        settings, task = self._settings, self._task
        with self._engine.seeded(self._seed, "step", self.step), self._engine.autocast():
            outputs = self.network(self._engine.arrange(batch.inputs))
            main, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = task.loss(main, batch.targets, label_smoothing=settings.label_smoothing)
            for other in auxiliary:
                extra = task.loss(other, batch.targets, label_smoothing=settings.label_smoothing)
                loss = loss + settings.auxiliary_weight * extra
        self.stepper.step(loss, self._parameters)
        self.step += 1
        self._update_average()
        return main.detach().float(), loss.detach()

    def _update_average(self) -> None:
        if self.average is None or self._settings.average_decay is None:
            return
        # The first steps count more: the decay rises to its value, so that the random start is forgotten.
        decay = min(self._settings.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)
            for mean, value in pairs:
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)
