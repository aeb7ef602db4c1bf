"""Recurrent cells: search steps and evaluation network beside plain twins. Run with `python -m benchmarks.recurrent`.

Search: the steps of EDNAS's search job (weights: draw, segment, step; policy: draw, segment, reward, update) beside
`recurrent_twin.py`. Evaluation network: a training step beside the same cell in a plain loop, and beside torch.nn.LSTM
with as many parameters; time and peak memory. One process, the sides taking turns.
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

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.engine import Engine
from archscout.measure import peak_memory
from archscout.memory import keep_freed_memory
from archscout.methods.base import SearchContext
from archscout.methods.shared_weights.ednas import EdnasSearch, EdnasSettings
from archscout.nn.recurrent.word_model import RecurrentSize
from archscout.spaces import RecurrentGenotype, RecurrentSpace
from archscout.tasks.metrics.classification import language_loss, perplexity
from archscout.tasks.readers.text import TextSource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.zoo import load_zoo
from benchmarks.recurrent_twin import (
    PlainChildStep,
    PlainLanguageModel,
    PlainPolicyStep,
    PlainRecurrentPolicy,
    copy_weights,
    plain_lstm,
)

__all__ = ["Row", "Setup", "compare", "main", "random_text", "table"]

# What part 5 of the plan asks for, at 35 steps, batch 64, width 300, 2 threads.
TARGETS = {"child step": 2.0, "policy step": 4.0, "evaluation network": 1.0}


@dataclass(frozen=True)
class Setup:
    """What is measured: rounds of each side after a warm-up; segment, batch, widths, words; threads of torch."""

    rounds: int = 10
    length: int = 35
    batch: int = 64
    width: int = 300
    evaluation_width: int = 850
    words: int = 10_000
    threads: int = 2


@dataclass(frozen=True)
class Row:
    """One comparison: milliseconds of each round, and peak bytes of a step where they were measured."""

    name: str
    library_ms: list[float]
    twin_ms: list[float]
    library_bytes: int = 0
    twin_bytes: int = 0

    @property
    def ratio(self) -> float:
        """How many times faster the library is: the median over the rounds."""
        return statistics.median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        """The same, of every round."""
        return [twin / ours for ours, twin in zip(self.library_ms, self.twin_ms, strict=True)]


def random_text(words: int, train: int, validation: int) -> Task:
    """A task of random words."""
    draw = torch.Generator().manual_seed(0)
    source = TextSource(torch.randint(words, (train + 2 * validation,), generator=draw))
    ends = (0, train, train + validation, train + 2 * validation)
    parts = [Split(source, torch.arange(ends[part], ends[part + 1])) for part in range(3)]
    return Task(
        spec=TaskSpec("random words", "language", (1,), words),
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        loss=language_loss,
        metric=perplexity(),
        to_float=lambda raw: raw,
        normalize=lambda raw: raw,
    )


def _timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - start)


def _alternate(
    rounds: int, library: Callable[[], object], twin: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Times of both sides in turn; the first round warms up."""
    ours, theirs = [], []
    for number in range(rounds + 1):
        one, other = _timed(library), _timed(twin)
        if number:
            ours.append(one)
            theirs.append(other)
    return ours, theirs


def _search_rows(setup: Setup) -> list[Row]:
    space = RecurrentSpace()
    steps = setup.length * (4 * setup.rounds + 8)
    task = random_text(setup.words, setup.batch * steps, setup.batch * steps)
    settings = EdnasSettings.read(
        {
            "epochs": 1_000,
            "child": {
                "batch_size": setup.batch,
                "segments": {"length": setup.length, "halved": 0},
                "optimizer": {"lr": 20, "momentum": 0, "weight_decay": 5e-7, "clip": 0.25},
            },
            "policy": {"batch_size": setup.batch},
        },
        where="benchmark",
    )
    size = RecurrentSize.read({"width": setup.width})
    engine = Engine.create("cpu", threads=setup.threads)
    search = EdnasSearch(SearchContext(task, space, settings, size, size, engine, seed=0))
    twin = PlainLanguageModel(setup.words, setup.width)
    copy_weights(search.trainer.network, twin)  # type: ignore[arg-type]
    policy = PlainRecurrentPolicy()
    batch = _segment(task, setup)
    draw = search._draw("benchmark")
    child, judge = PlainChildStep(twin, policy), PlainPolicyStep(twin, policy)
    sides: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "child step": (
            lambda: search.trainer.step(search.policy.sample(draw).architecture),
            lambda: child(*batch),
        ),
        "policy step": (search.policy_step, lambda: judge(*batch)),
    }
    return [Row(name, *_alternate(setup.rounds, *pair)) for name, pair in sides.items()]


def _segment(task: Task, setup: Setup) -> tuple[Tensor, Tensor]:
    """Words and targets `(T, N)`."""
    source = task.train.source
    assert isinstance(source, TextSource)
    table = source.words[: setup.batch * (setup.length + 1)].view(setup.batch, -1).t().contiguous()
    return table[:-1], table[1:]


def _evaluation_rows(setup: Setup) -> list[Row]:
    space = RecurrentSpace()
    task = random_text(setup.words, setup.batch * (setup.length + 1), 100)
    words, targets = _segment(task, setup)
    cell = load_zoo("darts_v2.ptb").architecture
    assert isinstance(cell, RecurrentGenotype)
    network = space.build(cell, task.spec, RecurrentSize.read({"width": setup.evaluation_width}))
    plain = PlainLanguageModel(setup.words, setup.evaluation_width)
    copy_weights(network, plain)
    lstm = plain_lstm(setup.words, sum(weight.numel() for weight in network.parameters()))
    rows, row_targets = words.t().contiguous(), targets.t().contiguous()
    hidden = torch.zeros(setup.batch, setup.evaluation_width)

    def ours() -> None:
        network.zero_grad()
        language_loss(network.unroll(rows)[0], row_targets).backward()  # type: ignore[no-untyped-call]

    def loop() -> None:
        plain.zero_grad()
        plain.loss(words, targets, hidden, cell.nodes).backward()  # type: ignore[no-untyped-call]

    def standard() -> None:
        lstm.zero_grad()
        F.nll_loss(lstm(words).flatten(0, 1), targets.flatten()).backward()  # type: ignore[no-untyped-call]

    results = []
    for name, twin in (("evaluation network", loop), ("beside an LSTM", standard)):
        times = _alternate(setup.rounds, ours, twin)
        results.append(Row(name, *times, peak_memory(ours), peak_memory(twin)))
    return results


def compare(setup: Setup) -> list[Row]:
    """Measure everything."""
    torch.set_num_threads(setup.threads)
    return [*_search_rows(setup), *_evaluation_rows(setup)]


def table(setup: Setup, rows: Sequence[Row]) -> str:
    """The results as text."""
    lines = [
        f"T={setup.length}, batch {setup.batch}, width {setup.width} (search) and {setup.evaluation_width} "
        f"(evaluation), {setup.words} words, {setup.threads} threads, torch {torch.__version__}, {platform.machine()}",
        f"{'':20} {'library':>11} {'plain':>11} {'ratio':>6} {'range':>14} {'wanted':>7} {'peak, library':>15} "
        f"{'peak, plain':>12}",
    ]
    for row in rows:
        target = TARGETS.get(row.name)
        wanted = f"{target:7.1f}" if target else f"{'':>7}"
        memory = f"{row.library_bytes / 2**20:11.0f} MiB {row.twin_bytes / 2**20:8.0f} MiB" if row.twin_bytes else ""
        lines.append(
            f"{row.name:20} {statistics.median(row.library_ms):8.1f} ms {statistics.median(row.twin_ms):8.1f} ms "
            f"{row.ratio:6.2f} {min(row.ratios):6.2f} to {max(row.ratios):4.2f} {wanted} {memory}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description=__doc__)
    for name, value in asdict(Setup()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options = vars(parser.parse_args(arguments))
    target: Path | None = options.pop("json")
    if min(options.values()) < 1:
        parser.error("all numbers must be at least 1.")
    setup = Setup(**options)
    keep_freed_memory()  # as the command line does; it serves both sides
    rows = compare(setup)
    print(table(setup, rows))
    if target is not None:
        content = {"setup": asdict(setup), "rows": [{**asdict(row), "ratio": row.ratio} for row in rows]}
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
