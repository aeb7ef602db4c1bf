"""Mixed supernets and differentiable steps: the library against its plain twin. `python -m benchmarks.mixture`.

Both sides run batches of equal size in one process, taking turns. The library's steps are those of the search jobs,
with drawing and augmenting the batches; the twin gets its batches ready-made.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archscout.engine import Engine
from archscout.measure import peak_memory
from archscout.memory import keep_freed_memory
from archscout.methods.base import SearchContext
from archscout.methods.differentiable.darts import DartsSearch, DartsSettings
from archscout.methods.differentiable.ddarts import DDartsSearch, DDartsSettings
from archscout.methods.differentiable.relaxed import RelaxedSearch
from archscout.spaces.cells.per_cell import PerCellOptions, PerCellSize, PerCellSpace
from archscout.spaces.cells.space import CellSize, CellSpace
from archscout.tasks.task import Task
from benchmarks.plain_mixture import DartsStep, DDartsStep, SupernetPass
from benchmarks.steps import CLASSES, random_task

__all__ = ["Case", "line", "main", "measure_case", "ready_made"]

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setup:
    """What is measured; see `benchmarks.steps.Setup`. `recompute`: 1 sets `supernet.recompute` for the library."""

    steps: int = 5
    channels: int = 16
    layers: int = 8
    batch: int = 32
    size: int = 32
    threads: int = 2
    recompute: int = 0


@dataclass
class Case:
    """One kind of step on both sides; `target` is the least ratio wanted at the default setup."""

    name: str
    target: float
    library: Callable[[], None]
    twin: Callable[[], None]


def _supernet_pass(search: RelaxedSearch) -> Callable[[], None]:
    def run() -> None:
        search.stepper.optimizer.zero_grad(set_to_none=True)
        search.alphas.grad = None
        search.evaluate_batch(search.stream.next_batch(), search.mixing(search.alphas))[1].backward()  # type: ignore[no-untyped-call]

    return run


def _whole_step(search: RelaxedSearch) -> Callable[[], None]:
    def run() -> None:
        train = search.stream.next_batch()
        search.architecture_step(train, search.held_out.next_batch())
        search.weight_step(train)

    return run


def _contexts(setup: Setup, task: Task) -> tuple[SearchContext, SearchContext]:
    """For D-DARTS, and for DARTS."""
    engine = Engine.create("cpu", threads=setup.threads)
    rows = PerCellSpace(PerCellOptions(cells=setup.layers))
    again = bool(setup.recompute)
    wide = PerCellSize(init_channels=setup.channels, recompute=again)
    cells = CellSize(init_channels=setup.channels, layers=setup.layers, recompute=again)
    quiet = DDartsSettings(batch_size=setup.batch, ablation_weight=0.0)
    return (
        SearchContext(task, rows, quiet, wide, wide, engine, seed=0),
        SearchContext(task, CellSpace(), DartsSettings(batch_size=setup.batch), cells, cells, engine, seed=0),
    )


def cases(setup: Setup) -> list[Case]:
    """All comparisons, fresh."""
    task = random_task(setup.batch, setup.size)
    ddarts, darts = _contexts(setup, task)
    logging = replace(ddarts, settings=ddarts.settings.model_copy(update={"ablation_every": 1}))
    approximate = replace(darts, settings=darts.settings.model_copy(update={"order": "finite_difference"}))
    sizes = (setup.channels, setup.layers, CLASSES)
    first, second = ready_made(task, setup.batch)

    def twin(step: Callable[[Pair, Pair], None]) -> Callable[[], None]:
        return lambda: step(first, second)

    released, published = twin(DDartsStep(*sizes)), twin(DartsStep(*sizes))
    return [
        Case("forward + backward", 2.5, _supernet_pass(DDartsSearch(ddarts)), twin(SupernetPass(*sizes))),
        Case("D-DARTS step", 10.0, _whole_step(DDartsSearch(ddarts)), released),
        Case("... with ablation log", 6.0, _whole_step(DDartsSearch(logging)), released),
        Case("DARTS step, exact", 3.0, _whole_step(DartsSearch(darts)), published),
        Case("... finite difference", 3.0, _whole_step(DartsSearch(approximate)), published),
    ]


def ready_made(task: Task, size: int) -> tuple[Pair, Pair]:
    """The first samples of both splits, prepared."""
    found = []
    for split in (task.train, task.validation):
        part = split.subset(torch.arange(size))
        raw, labels = next(iter(part.source.batches(iter([part.indices]), torch.device("cpu"))))
        found.append((task.prepare(raw), labels))
    return found[0], found[1]


def measure_case(case: Case, rounds: int) -> dict[str, Any]:
    """Seconds of each round, ratios and peak memory in bytes; the first round warms up."""
    times: dict[str, list[float]] = {"library": [], "twin": []}
    for number in range(rounds + 1):
        for side, run in (("library", case.library), ("twin", case.twin)):
            start = time.perf_counter()
            run()
            if number > 0:
                times[side].append(time.perf_counter() - start)
    ratios = [twin / library for library, twin in zip(times["library"], times["twin"], strict=True)]
    cpu = torch.device("cpu")
    return {
        "name": case.name,
        "target": case.target,
        **times,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "library_bytes": peak_memory(case.library, cpu),
        "twin_bytes": peak_memory(case.twin, cpu),
    }


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    library, twin = (1e3 * statistics.median(result[side]) for side in ("library", "twin"))
    memory = f"{result['library_bytes'] / 2**20:6.0f} / {result['twin_bytes'] / 2**20:.0f} MiB"
    return (
        f"{result['name']:22} {library:8.0f} ms {twin:8.0f} ms {result['ratio']:7.2f} {min(result['ratios']):7.2f} "
        f"{max(result['ratios']):8.2f} {result['target']:7.1f}   {memory}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    keep_freed_memory()  # as the command line does; it serves both sides
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixture", description=__doc__)
    defaults = Setup()
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", default="", help="measure only cases whose name has this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options = vars(parser.parse_args(arguments))
    target, only = options.pop("json"), options.pop("only")
    setup = Setup(**options)
    print(
        f"C={setup.channels}, {setup.layers} cells, batch {setup.batch}, {setup.size} x {setup.size} images, "
        f"{setup.threads} threads, torch {torch.__version__}, {platform.machine()}\n"
        f"{'':22} {'library':>11} {'plain twin':>11} {'ratio':>7} {'lowest':>7} {'highest':>8} {'wanted':>7}   "
        "peak memory"
    )
    results = []
    for case in cases(setup):
        if only in case.name:
            results.append(measure_case(case, setup.steps))
            print(line(results[-1]), flush=True)
    if target is not None:
        target.write_text(json.dumps({"setup": asdict(setup), "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
