"""What a run will cost, before it starts: sizes of the space's networks, memory and time of a step on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch

from archscout.engine import Engine
from archscout.measure import Measurements, peak_memory
from archscout.methods.base import METHODS
from archscout.pipeline.run import Run
from archscout.seeds import derive_seed
from archscout.tasks.task import Task
from archscout.training.job import TrainingJob

__all__ = ["Estimate", "StageEstimate", "estimate_run"]

SAMPLES = 30  # architectures that the mean size is taken over


@dataclass(frozen=True)
class StageEstimate:
    """One stage: seconds of an optimiser step and of the whole stage, and peak memory of a step in bytes."""

    name: str
    seconds_per_step: float
    seconds_total: float
    peak_bytes: int


@dataclass(frozen=True)
class Estimate:
    """Sizes of evaluation networks, and the cost of each stage that takes long."""

    smallest: Measurements
    mean: Measurements
    largest: Measurements
    stages: tuple[StageEstimate, ...]


def estimate_run(run: Run) -> Estimate:
    """Measure a few steps of every job of a run, without writing anything.

    The first advance of a job warms up; the second is timed, the third is measured for memory. The total takes the
    progress that the job itself reports.
    """
    context, space, spec = run.context, run.space, run.task.spec
    draw = Random(derive_seed(run.settings.seed, "estimate"))
    low, high = (context.cost(architecture) for architecture in space.extremes(spec, run.settings.network))
    costs = [context.cost(space.random(draw)) for _ in range(SAMPLES)]
    mean = Measurements(
        parameters=round(statistics.mean(cost.parameters for cost in costs)),
        madds=round(statistics.mean(cost.madds for cost in costs)),
    )
    stages = []
    if run.settings.method is not None:
        stage = METHODS.get(run.settings.method)().stages()[0]
        stages.append(_measure_job(stage.name, lambda: stage.make(context, None), run.engine))
    size = run.settings.network
    largest = space.extremes(spec, size)[1]
    stages.append(
        _measure_job(
            "train",
            lambda: _training(run.task, run, space.build(largest, spec, size)),
            run.engine,
        )
    )
    return Estimate(low, mean, high, tuple(stages))


def _training(task: Task, run: Run, network: torch.nn.Module) -> TrainingJob:
    return TrainingJob(network, task, run.settings.train, run.engine, run.settings.seed)


def _measure_job(name: str, make: Callable[[], object], engine: Engine) -> StageEstimate:
    job = make()
    advance = job.advance  # type: ignore[attr-defined]
    first = advance()
    began = time.perf_counter()
    second = advance()
    seconds = time.perf_counter() - began
    gained = second["progress"] - first["progress"]
    peak = peak_memory(advance, engine.device)
    total = seconds / gained if gained > 0 else float("nan")
    return StageEstimate(name, seconds / max(1.0, second.get("steps", 1.0)), total, peak)
