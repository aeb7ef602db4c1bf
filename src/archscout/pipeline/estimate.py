"""What a run will cost, before it starts: sizes of the space's networks, memory and time of a step on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch

from archscout.engine import Engine
from archscout.errors import RunError
from archscout.jobs import Job, Metrics
from archscout.measure import Measurements, peak_memory
from archscout.pipeline.run import Run
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.tasks.task import Split, Task

__all__ = ["Estimate", "StageEstimate", "estimate_run"]

SAMPLES = 30  # architectures that the mean size is taken over
MEASURED_SAMPLES = 256  # of the train split: one or two steps of usual batch sizes
MEASURED_WORDS = 80  # of every column of a text: two or three segments


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

    The jobs get a small part of the data, so that an epoch is a few steps: the first warms up, the second is timed, the
    third is measured for memory. The total follows from the progress that the job itself reports. A stage that needs
    what an earlier one leaves behind is left out; one that needs an architecture gets a random one.
    """
    whole = run.task
    run.task, scale = _part(whole, max(_largest_batch(run.settings.search), _largest_batch(run.settings.train)))
    context, space, spec = replace(run.context, folder=None), run.space, run.task.spec
    draw = Random(derive_seed(run.settings.seed, "estimate"))
    low, high = (context.cost(architecture) for architecture in space.extremes(spec, run.settings.network))
    costs = [context.cost(space.random(draw)) for _ in range(SAMPLES)]
    mean = Measurements(
        parameters=round(statistics.mean(cost.parameters for cost in costs)),
        madds=round(statistics.mean(cost.madds for cost in costs)),
    )
    stages = []
    searches = run.search_stages()
    given = run.settings.method is None
    for number, stage in enumerate(searches):
        before = None if number == 0 and not given else space.random(draw)
        try:
            job = stage.make(context, before)
        except RunError:
            continue
        stages.append(_measure_job(stage.name, job, run.engine, scale))
    size = run.settings.network
    largest = space.extremes(spec, size)[1]
    if run.settings.train.epochs > 0:
        task, scale = _part(whole, _largest_batch(run.settings.train))
        training = _training(task, run, space.build(largest, spec, size))
        stages.append(_measure_job("train", training, run.engine, scale))
    return Estimate(low, mean, high, tuple(stages))


def _training(task: Task, run: Run, network: torch.nn.Module) -> Job[torch.nn.Module]:
    job: Job[torch.nn.Module] = run.settings.train.job(network, task, run.engine, run.settings.seed)
    return job


def _part(task: Task, batch_size: int) -> tuple[Task, float]:
    """The task with as little data as a few steps need, and how much smaller it is.

    A text is cut into `batch_size` columns: some words of each are needed, in training and in validation.
    """
    share = MEASURED_SAMPLES / len(task.train)
    if task.spec.kind == "language":
        share = batch_size * MEASURED_WORDS / min(len(task.train), len(task.validation))
    share = min(1.0, share)
    part = replace(task, train=_first(task.train, share), validation=_first(task.validation, share))
    return part, len(task.train) / len(part.train)


def _largest_batch(settings: Any) -> int:
    """The largest batch size anywhere in settings."""
    if not isinstance(settings, Settings):
        return 1
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    own = values.get("batch_size")
    return max([own if isinstance(own, int) else 1, *(_largest_batch(value) for value in values.values())])


def _first(split: Split, share: float) -> Split:
    return split.subset(torch.arange(max(1, round(share * len(split)))))


def _measure_job(name: str, job: Job[Any], engine: Engine, scale: float) -> StageEstimate:
    steps_of = job.run()
    warm = _cycle(steps_of)
    before = job.progress
    began = time.perf_counter()
    timed = _cycle(steps_of) or warm
    seconds = time.perf_counter() - began
    gained = job.progress - before
    steps = sum(metrics.get("steps", 1.0) for metrics in timed)
    peak = max(peak_memory(lambda: next(steps_of, None), engine.device) for _ in timed)
    job.close()
    total = scale * seconds / gained if gained > 0 else float("nan")
    return StageEstimate(name, seconds / max(1.0, steps), total, peak)


def _cycle(steps: Iterator[Metrics]) -> list[Metrics]:
    """Go on until the epoch changes, so that each phase of the job has its share; one step where there are none."""
    metrics: list[Metrics] = []
    for each in steps:
        metrics.append(each)
        if "epoch" not in each or (len(metrics) > 1 and each["epoch"] != metrics[-2].get("epoch")):
            break
    return metrics
