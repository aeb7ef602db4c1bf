"""EDNAS's two steps, child and policy: the library against its plain twin. Run with `python -m benchmarks.steps`.

Both sides start from equal weights, run the same architectures (those that the library samples) on batches of equal
size, in one process, taking turns. The library's time is that of the whole search job: drawing and augmenting
the batch, sampling, the step, metrics. The twin gets its batches ready-made.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.engine import Engine
from archscout.memory import keep_freed_memory
from archscout.methods.base import SearchContext
from archscout.methods.shared_weights.ednas import EdnasSearch, EdnasSettings
from archscout.spaces import CellGenotype
from archscout.spaces.cells.space import CellSize, CellSpace
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from benchmarks.plain_twin import ChildStep, Masks, PlainNetwork, PlainPolicy, PolicyStep, copy_weights, masks_of

__all__ = ["Comparison", "Setup", "compare_steps", "main", "random_task", "table"]

ROUND = 5  # steps of a kind before the other side has its turn
CLASSES = 10
# What part 1 of the plan asks for, at C=16, 8 cells, batch 64, 2 threads.
TARGETS = {"child step": 2.0, "policy step": 3.5}


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        steps: of each kind and side, after the warm-up; rounded up to whole rounds.
        channels, layers: of the supernet.
        batch, size: images in a batch, and their height and width in pixels.
        threads: of torch.
    """

    steps: int = 30
    channels: int = 16
    layers: int = 8
    batch: int = 64
    size: int = 32
    threads: int = 2


@dataclass(frozen=True)
class Comparison:
    """One kind of step on both sides.

    Attributes:
        name: of the step.
        library_ms, twin_ms: milliseconds a step, mean of each round.
        target: least ratio wanted; None outside the setup that it was set for.
    """

    name: str
    library_ms: list[float]
    twin_ms: list[float]
    target: float | None

    @property
    def ratios(self) -> list[float]:
        """How many times faster the library is, by round."""
        return [twin / library for library, twin in zip(self.library_ms, self.twin_ms, strict=True)]

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.ratios)

    def summary(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "ratios": self.ratios, "ratio": self.ratio}


class _RecordingSpace(CellSpace):
    """The cell space; remembers its supernet and which genotypes ran."""

    network: nn.Module
    ran: list[CellGenotype]

    def supernet(self, spec: TaskSpec, size: CellSize) -> nn.Module:
        self.network = super().supernet(spec, size)
        self.ran = []
        self.network.register_forward_pre_hook(lambda module, arguments: self.ran.append(arguments[1]))
        return self.network


class _Library:
    """The search job on random images; an epoch is one round, so that both kinds of round take turns."""

    def __init__(self, setup: Setup) -> None:
        self.space = _RecordingSpace()
        self.task = random_task(setup.batch, setup.size)
        settings = EdnasSettings.read(
            {
                "epochs": 1_000_000,
                "child": {"batch_size": setup.batch, "optimizer": {"nesterov": True}},
                "policy": {"batch_size": setup.batch},
            },
            where="benchmark",
        )
        size = CellSize(init_channels=setup.channels, layers=setup.layers)
        engine = Engine.create("cpu", threads=setup.threads)
        self.search = EdnasSearch(SearchContext(self.task, self.space, settings, size, size, engine, seed=0))

    def round(self) -> tuple[float, list[CellGenotype]]:
        """A round of one kind: milliseconds a step, and the genotypes that ran."""
        self.space.ran.clear()
        start = time.perf_counter()
        next(self.search.run())
        elapsed = time.perf_counter() - start
        if len(self.space.ran) != ROUND:
            raise RuntimeError(f"a round ran {len(self.space.ran)} steps in place of {ROUND}: the job has changed.")
        return 1e3 * elapsed / ROUND, list(self.space.ran)


class _Twin:
    """The plain twin with the library's first weights."""

    def __init__(self, library: _Library, setup: Setup) -> None:
        network = PlainNetwork(setup.channels, setup.layers, CLASSES)
        copy_weights(library.space.network, network)
        policy = PlainPolicy()
        self.steps: dict[str, Callable[[Tensor, Tensor, Masks], float]] = {
            "child step": ChildStep(network, policy),
            "policy step": PolicyStep(network, policy),
        }
        self.batches = [_batch(library.task, number, setup.batch) for number in range(ROUND)]

    def round(self, name: str, genotypes: Sequence[CellGenotype]) -> float:
        """A round over given genotypes: milliseconds a step."""
        masks = [masks_of(genotype) for genotype in genotypes]
        start = time.perf_counter()
        for (images, labels), mask in zip(self.batches, masks, strict=True):
            self.steps[name](images, labels, mask)
        return 1e3 * (time.perf_counter() - start) / ROUND


def random_task(batch: int, size: int) -> Task:
    """Random images of that height and width: a round of batches for training, and one for validation."""
    count = ROUND * batch
    generator = torch.Generator().manual_seed(0)

    def images(number: int) -> Tensor:
        shape = (number, 3, size, size)
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    def labels(number: int) -> Tensor:
        return torch.arange(number) % CLASSES

    return Task.from_arrays(
        images(count),
        labels(count),
        images(CLASSES),
        labels(CLASSES),
        x_val=images(count),
        y_val=labels(count),
        name="random images",
        layout="NCHW",
        augment="crop+flip",
    )


def _batch(task: Task, number: int, size: int) -> tuple[Tensor, Tensor]:
    positions = torch.arange(number * size, (number + 1) * size)
    split: Split = task.train.subset(positions)
    raw, labels = next(iter(split.source.batches(iter([split.indices]), torch.device("cpu"))))
    return task.prepare(raw), labels


def compare_steps(setup: Setup) -> list[Comparison]:
    """Measure both kinds of step. The first round of each side warms up and is not counted."""
    library = _Library(setup)
    twin = _Twin(library, setup)
    wanted = setup == Setup(steps=setup.steps)
    results = [Comparison(name, [], [], target if wanted else None) for name, target in TARGETS.items()]
    for number in range(1 + -(-setup.steps // ROUND)):
        for result in results:
            library_ms, genotypes = library.round()
            twin_ms = twin.round(result.name, genotypes)
            if number > 0:
                result.library_ms.append(library_ms)
                result.twin_ms.append(twin_ms)
    return results


def table(setup: Setup, results: Sequence[Comparison]) -> str:
    """The results as text: medians over the rounds, and the range of the ratio."""
    lines = [
        f"C={setup.channels}, {setup.layers} cells, batch {setup.batch}, {setup.size} x {setup.size} images, "
        f"{setup.threads} threads, torch {torch.__version__}, {platform.machine()}",
        f"{'':12} {'library':>11} {'plain twin':>11} {'ratio':>7} {'lowest':>7} {'highest':>8} {'wanted':>7}",
    ]
    for result in results:
        library, twin = statistics.median(result.library_ms), statistics.median(result.twin_ms)
        wanted = f"{result.target:7.1f}" if result.target else f"{'':>7}"
        lines.append(
            f"{result.name:12} {library:8.1f} ms {twin:8.1f} ms {result.ratio:7.2f} {min(result.ratios):7.2f} "
            f"{max(result.ratios):8.2f} {wanted}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    keep_freed_memory()  # as the command line does; it serves both sides
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    defaults = Setup()
    parser.add_argument("--steps", type=int, default=defaults.steps, help="of each kind and side (default %(default)s)")
    parser.add_argument("--channels", type=int, default=defaults.channels)
    parser.add_argument("--layers", type=int, default=defaults.layers)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--size", type=int, default=defaults.size, help="height and width, divisible by 4")
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options = vars(parser.parse_args(arguments))
    target: Path | None = options.pop("json")
    if min(options.values()) < 1 or options["size"] % 4:
        parser.error("all numbers must be at least 1, and --size divisible by 4.")
    setup = Setup(**options)
    results = compare_steps(setup)
    print(table(setup, results))
    if target is not None:
        content = {
            "setup": asdict(setup),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "results": [result.summary() for result in results],
        }
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
