"""The validation score of networks cut out of a supernet, each with batch norms of its own.

Source: docs/methods/once-for-all.md#supernet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.methods.base import SearchContext
from archscout.seeds import generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Extractable
from archscout.tasks.streams import evaluation_batches
from archscout.tasks.task import Split
from archscout.training.calibration import recalibrate
from archscout.training.evaluation import evaluate_network

__all__ = ["JudgeSettings", "SubnetJudge"]


class JudgeSettings(Settings):
    """How one network is judged."""

    calibration_samples: int = Field(default=2000, ge=2, description="training samples for the batch norms")
    validation_samples: int | None = Field(default=None, ge=1, description="null: the whole validation split")
    batch_size: int = Field(default=250, ge=2)


class SubnetJudge:
    """Cuts networks out of a trained supernet and scores them on the validation split.

    Args:
        settings: how to judge.
        supernet: the shared weights; None takes those that the stage `supernet` has left.
    """

    def __init__(self, context: SearchContext, settings: JudgeSettings, supernet: nn.Module | None = None) -> None:
        self._context, self._settings = context, settings
        self._engine = context.engine.alone()  # processes may judge different networks
        task = context.task
        self._supernet = supernet or self._left(context)
        self._calibration = self._part(task.train, settings.calibration_samples, "calibration")
        self._validation = task.validation
        if settings.validation_samples is not None:
            self._validation = self._part(task.validation, settings.validation_samples, "scoring")

    def _left(self, context: SearchContext) -> nn.Module:
        with torch.device("meta"):
            network = cast(Extractable, context.space).supernet(context.task.spec, context.supernet_size)
        network.load_state_dict(context.artifact("supernet")["network"], assign=True)
        return self._engine.place(network)

    def _part(self, split: Split, count: int, purpose: str) -> Split:
        """The same samples for every network, so that scores differ by the networks alone."""
        return split.subset(torch.randperm(len(split), generator=generator(self._context.seed, purpose))[:count])

    def _calibration_inputs(self) -> Iterator[Tensor]:
        """Whole batches only: each counts the same."""
        task, engine = self._context.task, self._engine
        size = min(self._settings.batch_size, len(self._calibration))
        whole = self._calibration.subset(torch.arange(len(self._calibration) // size * size))
        for batch in evaluation_batches(task, whole, size, engine.device):
            yield engine.arrange(batch.inputs)

    def network(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture with shared weights and re-calibrated batch norms, in evaluation mode."""
        context = self._context
        space = cast(Extractable, context.space)
        network = space.extract(self._supernet, architecture, context.task.spec, context.supernet_size)
        recalibrate(self._engine.place(network), self._calibration_inputs())
        return network

    def score(self, architecture: Architecture) -> float:
        """The task's metric on the validation split, higher is better."""
        context, metric = self._context, self._context.task.metric
        values = evaluate_network(
            self.network(architecture), context.task, self._validation, self._engine, self._settings.batch_size
        )
        return metric.score(values[metric.name])
