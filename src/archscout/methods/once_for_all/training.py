"""Stage one: the shared weights of a supernet with elastic kernel, width and depth.

In the sandwich rule (arXiv 1903.05134) every step runs the largest network, the smallest and some random ones on one
batch, and the largest one's outputs can teach the others. Otherwise every step runs one random network, as the
published loop does (docs/methods/once-for-all.md#supernet).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from archscout.jobs import Job, Metrics, State
from archscout.methods.base import SearchContext, SearchResult
from archscout.methods.shared_weights.path_training import ChildSettings, PathTrainer
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import ElasticSupernet
from archscout.tasks.spec import TaskKind
from archscout.training.optimizers import SgdSettings

__all__ = ["ElasticTrainer", "SupernetSettings", "SupernetTraining"]


class SupernetSettings(ChildSettings):
    """How the supernet is trained."""

    epochs: int = Field(default=120, ge=1)
    optimizer: SgdSettings = SgdSettings(lr=0.08, nesterov=True, weight_decay=3e-5)
    subnets: Literal["sandwich", "single"] = Field(
        default="sandwich", description="a step: largest, smallest and random networks; or one random network"
    )
    random_subnets: int = Field(default=2, ge=0, description="of a sandwich step")
    distillation: float = Field(
        default=1.0, ge=0, le=1, description="share of the largest network's outputs among the other ones' targets"
    )
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    largest_epochs: int = Field(
        default=0, ge=0, description="first train the largest network alone, then sort channels by importance"
    )


def soft_cross_entropy(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross-entropy of logits `(N, K)` against the softmax of a teacher's logits."""
    return -(teacher.softmax(1) * F.log_softmax(outputs.float(), 1)).sum(1).mean()


def soft_binary_cross_entropy(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits `(N, K)` of labels against the probabilities of a teacher's logits."""
    return F.binary_cross_entropy_with_logits(outputs.float(), teacher.sigmoid())


def squared_difference(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of numbers `(N, K)` to a teacher's, both standardised, as networks give them."""
    return F.mse_loss(outputs.float(), teacher)


DISTILLATION: Mapping[TaskKind, Callable[[Tensor, Tensor], Tensor]] = {
    "classification": soft_cross_entropy,
    "multilabel": soft_binary_cross_entropy,
    "regression": squared_difference,
}
"""How networks learn from the largest one's outputs, by the kind of task."""


class ElasticTrainer(PathTrainer):
    """Trains several networks on one batch; the gradients add up, one network's graph held at a time."""

    def __init__(self, context: SearchContext, settings: SupernetSettings, largest: Architecture) -> None:
        super().__init__(context, settings, settings.epochs)
        self._elastic = settings
        self._largest = largest

    def step(self, architecture: Any) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the weights for a sequence of networks.

        Returns:
            Outputs, targets and loss of the first network.
        """
        networks: Sequence[Architecture] = architecture
        step, batch = self._next()
        inputs = self._context.engine.arrange(batch.inputs)
        self.network.train()
        first: list[Tensor] = []

        def losses() -> Iterator[Tensor]:
            teacher: Tensor | None = None
            if self._elastic.distillation > 0 and networks[0] != self._largest:
                with torch.no_grad():
                    teacher = self._forward(inputs, self._largest, step, -1).float()
            for number, each in enumerate(networks):
                outputs = self._forward(inputs, each, step, number)
                loss = self._loss(outputs, batch.targets, teacher)
                if number == 0:
                    first.extend((outputs.detach().float(), loss.detach()))
                    if self._elastic.distillation > 0 and teacher is None:
                        teacher = first[0]
                yield loss

        used = {id(p): p for each in networks for p in self.paths.path_parameters(each)}
        self._stepper.step(losses(), list(used.values()), dense=self._settings.legacy_dense_updates)
        return first[0], batch.targets, first[1]

    def _forward(self, inputs: Tensor, architecture: Architecture, step: int, number: int) -> Tensor:
        engine = self._context.engine
        with engine.seeded(self._context.seed, "supernet step", step, number), engine.autocast():
            return self.paths(inputs, architecture)

    def _loss(self, outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        settings = self._elastic
        share = 0.0 if teacher is None else settings.distillation
        loss: Tensor = torch.zeros((), device=outputs.device)
        if share < 1:
            hard = self._context.task.loss(outputs, targets, label_smoothing=settings.label_smoothing)
            loss = loss + (1 - share) * hard
        if teacher is not None:
            loss = loss + share * DISTILLATION[self._context.task.spec.kind](outputs, teacher)
        return loss

    def sort_channels(self) -> None:
        """Sort the supernet's channels; momentum, which belongs to the old order, starts again."""
        cast(ElasticSupernet, self.network).sort_channels()
        for state in self._stepper.optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()


class SupernetTraining(Job[SearchResult]):
    """The training of the supernet; its artifact is the weights."""

    trainer: State[ElasticTrainer]
    sorted: State[bool]

    def __init__(self, context: SearchContext, settings: SupernetSettings) -> None:
        self._context, self._settings = context, settings
        self._smallest, self._largest = context.space.extremes(context.task.spec, context.supernet_size)
        self.trainer = ElasticTrainer(context, settings, self._largest)
        self.sorted = False

    def run(self) -> Iterator[Metrics]:
        """The largest network alone, if asked for; then its channels are sorted, and all networks learn."""
        for epoch in range(self.trainer.stream.epoch, self._settings.epochs):
            if self._settings.largest_epochs and not self.sorted and epoch >= self._settings.largest_epochs:
                self.trainer.sort_channels()
                self.sorted = True
            while self.trainer.stream.epoch == epoch:
                yield self.trainer.train(self._networks)

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        yield self.trainer.stream.passed, self._settings.epochs

    def _networks(self, number: int) -> list[Architecture]:
        """The networks of a step, the one that teaches first."""
        settings, space = self._settings, self._context.space
        if self.trainer.stream.epoch < settings.largest_epochs:
            return [self._largest]
        draw = Random(derive_seed(self._context.seed, "supernet networks", number))
        if settings.subnets == "single":
            return [space.random(draw)]
        return [self._largest, self._smallest, *(space.random(draw) for _ in range(settings.random_subnets))]

    def result(self) -> SearchResult:
        """The largest network so far; the artifact has the supernet's weights."""
        return SearchResult(self._largest, artifact={"network": self.trainer.network.state_dict()})
