"""Evaluation: every metric of a task, pooled over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from archscout.engine import Engine
from archscout.nn.recurrent.carry import Carry
from archscout.tasks.streams import evaluation_batches
from archscout.tasks.task import Split, Task

__all__ = ["Observe", "evaluate_network", "pooled_metrics"]


Observe = Callable[[Any, Tensor], None]
"""Is shown the outputs and the targets of each batch."""


def pooled_metrics(
    forward: Callable[[Tensor], Any],
    task: Task,
    split: Split,
    engine: Engine,
    batch_size: int,
    observe: Observe | None = None,
) -> dict[str, float]:
    """The task's metrics and its loss over a split, in float32 and without autograd.

    Args:
        forward: inputs `(N, ...)` to outputs; the caller has set evaluation mode. The segments of a text come in order.
        task, split: what to read.
        batch_size: has no influence on the result beyond rounding.
        observe: sees each batch, too.
    """
    accumulators = {metric.name: metric.create().to(engine.device) for metric in task.metrics}
    loss, counted = (torch.zeros((), dtype=torch.float64, device=engine.device) for _ in range(2))
    with torch.inference_mode():
        for batch in evaluation_batches(task, split, batch_size, engine.device):
            outputs = forward(engine.arrange(batch.inputs)).float()
            total, count = task.pool_loss(task.loss(outputs, batch.targets), batch.targets)
            loss += total
            counted += count
            for accumulator in accumulators.values():
                accumulator.update(outputs, batch.targets)
            if observe is not None:
                observe(outputs, batch.targets)
        values = {name: float(accumulator.compute()) for name, accumulator in accumulators.items()}
    return {**values, "loss": float(loss / counted)}


def evaluate_network(
    network: nn.Module,
    task: Task,
    split: Split,
    engine: Engine,
    batch_size: int = 256,
    observe: Observe | None = None,
) -> dict[str, float]:
    """`pooled_metrics` of a network in evaluation mode; its mode is put back afterwards."""
    training = network.training
    network.eval()
    try:
        return pooled_metrics(Carry(network), task, split, engine, batch_size, observe)
    finally:
        network.train(training)


class StepMeter:
    """The mean loss and the metric of some training steps, over all processes.

    Args:
        task: whose metric is taken.
        engine: that averages.
    """

    def __init__(self, task: Task, engine: Engine) -> None:
        self._name, self._engine = task.metric.name, engine
        self._metric = task.metric.create().to(engine.device)
        self._losses: list[Tensor] = []

    def add(self, outputs: Any, targets: Tensor, loss: Tensor) -> None:
        """Enter a step; nothing waits for the device."""
        self._metric.update(outputs.detach().float(), targets)
        self._losses.append(loss.detach())

    def compute(self) -> dict[str, float]:
        """`steps`, `loss` and the metric by its name."""
        return {
            "steps": float(len(self._losses)),
            "loss": self._engine.average(float(torch.stack(self._losses).mean())),
            self._name: self._engine.average(float(self._metric.compute())),
        }
