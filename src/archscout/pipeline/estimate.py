"""What a run will cost, before it starts: sizes of the space's networks, memory and time of a step on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
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
from archscout.training.optimizers import SgdSettings

__all__ = ["Estimate", "StageEstimate", "estimate_run"]

SAMPLES = 30  # architectures that the mean size is taken over
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

    The jobs get so little data that an epoch is one step of each of its phases. Each phase is timed once, after a first
    step that warms up, and measured once for memory. The total follows from the progress that the job itself reports.
    A stage that needs what an earlier one leaves behind is left out; one that needs an architecture gets a random one.
    """
    settings, whole = run.settings, run.task
    run.task, scale = _part(whole, settings.search, *([] if settings.tuning is None else [settings.train]))
    context, space, spec = replace(run.context, task=run.task, folder=None), run.space, whole.spec
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
        task, scale = _part(whole, run.settings.train)
        training = _training(task, run, space.build(largest, spec, size))
        stages.append(_measure_job("train", training, run.engine, scale))
    return Estimate(low, mean, high, tuple(stages))


def _training(task: Task, run: Run, network: torch.nn.Module) -> Job[torch.nn.Module]:
    job: Job[torch.nn.Module] = run.settings.train.job(network, task, run.engine, run.settings.seed)
    return job


def _part(task: Task, *settings: Any) -> tuple[Task, float]:
    """The task with as little data as a training step needs, and how much smaller it is.

    A text is cut into as many columns as a batch has: some words of each are needed, in training and in validation.
    """
    sizes = [size for each in settings for size in _batch_sizes(each)]
    if task.spec.is_text:
        words = MEASURED_WORDS * max((size for size, _ in sizes), default=1)
        share = words / min(len(task.train), len(task.validation))
    else:
        share = max((size for size, trains in sizes if trains), default=1) / len(task.train)
    share = min(1.0, share)
    part = replace(task, train=_first(task.train, share), validation=_first(task.validation, share))
    return part, len(task.train) / len(part.train)


def _batch_sizes(settings: Any) -> Iterator[tuple[int, bool]]:
    """All batch sizes in settings, and of each whether it is for training: then an optimiser's settings lie beside."""
    if isinstance(settings, Settings):
        values = dict(settings)
        trains = any(isinstance(value, SgdSettings) for value in values.values())
        if isinstance(values.get("batch_size"), int):
            yield values["batch_size"], trains
        for value in values.values():
            yield from _batch_sizes(value)


def _first(split: Split, share: float) -> Split:
    return split.subset(torch.arange(max(1, round(share * len(split)))))


def _measure_job(name: str, job: Job[Any], engine: Engine, scale: float) -> StageEstimate:
    steps_of = job.run()
    reported: list[Metrics] = []
    progress: list[float] = []

    def advance() -> bool:
        metrics = next(steps_of, None)
        if metrics is not None:
            reported.append(metrics)
            progress.append(job.progress)
        return metrics is not None

    first = time.perf_counter()
    peak = peak_memory(advance, engine.device)
    began = time.perf_counter()
    while not _epoch_begins(reported[-2:]) and advance():
        pass
    seconds = time.perf_counter() - (began if len(reported) > 1 else first)
    timed = reported[1:] or reported
    gained = progress[-1] - (progress[0] if len(progress) > 1 else 0.0)
    steps = sum(metrics.get("steps", 1.0) for metrics in timed)
    for _ in timed[1:]:  # the first of these phases was measured above: phases take turns
        peak = max(peak, peak_memory(advance, engine.device))
    job.close()
    total = scale * seconds / gained if gained > 0 else float("nan")
    return StageEstimate(name, seconds / max(1.0, steps), total, peak)


def _epoch_begins(last: Sequence[Metrics]) -> bool:
    """Whether the later of two units of work begins an epoch; without epochs each counts as one."""
    return len(last) == 2 and (last[0].get("epoch") != last[1].get("epoch") or "epoch" not in last[1])
