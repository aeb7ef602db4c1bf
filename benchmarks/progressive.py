"""Steps of P-DARTS over diverse cells: the library against its plain twin. `python -m benchmarks.progressive`.

Both sides run batches of equal size in one process, taking turns, in a first stage with all operations and in a second
one with three on each edge: images as CIFAR's, and sequences as DeepSEA's.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from archscout.engine import Engine
from archscout.memory import keep_freed_memory
from archscout.methods.base import SearchContext
from archscout.methods.differentiable.pdarts import PdartsSettings, ProgressiveStage
from archscout.seeds import generator
from archscout.spaces.cells.diverse import DiverseOptions, DiverseSize, DiverseSpace, diverse_reductions
from archscout.tasks.task import Task
from benchmarks.mixture import Case, line, measure_case, ready_made
from benchmarks.plain_progressive import PlainProgressiveStep

__all__ = ["cases", "main"]

CLASSES = 10
# Shape, nodes, layers and channels of the two stages, batch (made smaller); docs/methods/d2nas.md#sizes-by-family
SETUPS = {
    "images 32 x 32": ((3, 32, 32), 4, ((2, 8), (2, 16)), 32),
    "sequences of 1,000": ((4, 1000), 3, ((2, 8), (3, 16)), 32),
}


def random_task(shape: tuple[int, ...], batch: int) -> Task:
    """Noise, with one batch for training and one for validation."""
    draw = generator(0, "benchmark")
    parts = [torch.randn(batch, *shape, generator=draw) for _ in range(3)]
    labels = torch.arange(batch) % CLASSES
    layout = "NCL" if len(shape) == 2 else "NCHW"
    return Task.from_arrays(
        parts[0], labels, parts[1], labels, x_val=parts[2], y_val=labels, augment="none", layout=layout
    )


def _step(stage: ProgressiveStage) -> Callable[[], None]:
    def run() -> None:
        train = stage.stream.next_batch()
        stage.architecture_step(train, stage.held_out.next_batch())
        stage.weight_step(train)

    stage.network.train()
    return run


def cases(threads: int) -> list[Case]:
    """All comparisons, fresh."""
    found = []
    for name, (shape, nodes, stages, batch) in SETUPS.items():
        task, space = random_task(shape, batch), DiverseSpace(DiverseOptions(nodes=nodes))
        settings = PdartsSettings.read(
            {
                "stages": [{"layers": layers, "init_channels": channels} for layers, channels in stages],
                "batch_size": batch,
            }
        )
        size = DiverseSize()
        context = SearchContext(task, space, settings, size, size, Engine.create("cpu", threads=threads), seed=0)
        live = None
        train, validation = ready_made(task, batch)
        for number, (layers, channels) in enumerate(stages):
            stage = ProgressiveStage(context, number, live)
            normal, reduce = stage.facts()["operations"]
            reductions = diverse_reductions(layers, task.spec)
            twin = PlainProgressiveStep((normal, reduce), reductions, layers, channels, shape, CLASSES)
            label = f"{name}, stage {number + 1}"
            found.append(Case(label, 1.5, _step(stage), lambda twin=twin, a=train, b=validation: twin(a, b)))  # type: ignore[misc]
            live = stage.kept()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.progressive", description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options = parser.parse_args(arguments)
    print(
        f"{options.threads} threads, torch {torch.__version__}, {platform.machine()}\n"
        f"{'':30} {'library':>11} {'plain twin':>11} {'ratio':>7} {'lowest':>7} {'highest':>8} {'wanted':>7}   "
        "peak memory"
    )
    results = []
    for case in cases(options.threads):
        results.append(measure_case(case, options.steps))
        print(line(results[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
