"""Aggregated convolutions and kernel-search steps: the library against plain twins. `python -m benchmarks.aggregated`.

Two twins for each shape of docs/methods/dash.md#how-it-is-computed, a forward and a backward pass of 16 depthwise
channels: the published evaluation (see `plain_aggregated`), and the plain sum of all dilated convolutions. Then whole
steps of the kernel search on D2NAS's network for CIFAR-100 (recipe `common`): the library's are those of the search
job, with drawing and augmenting the batch; the twin gets its batch ready-made.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.engine import Engine
from archscout.memory import keep_freed_memory
from archscout.methods.base import SearchContext
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings
from archscout.nn.kernels.aggregated import AggregatedConv, Backend
from archscout.nn.kernels.candidates import Candidates
from archscout.nn.kernels.choice import choose_backend
from archscout.spaces import get_space
from archscout.zoo import resolve_architecture
from benchmarks.plain_aggregated import PlainAggregatedConv, PlainSearchStep, replace_aggregated
from benchmarks.steps import random_task

__all__ = ["Case", "main", "measure_case"]

CHANNELS = 16
CANDIDATES = {
    2: Candidates.of((3, 5, 7, 9), (1, 3, 7, 15), 2),
    1: Candidates.of((3, 5, 7, 11, 15, 19), (1, 3, 7, 15), 1),
}
# Sizes and batch, and the least ratio wanted over the published evaluation.
SHAPES: list[tuple[tuple[int, ...], int, float]] = [
    ((16, 16), 16, 10.0),
    ((32, 32), 16, 10.0),
    ((16, 52), 16, 10.0),
    ((85, 85), 2, 2.3),
    ((128, 128), 2, 2.3),
    ((46,), 128, 2.3),
    ((500,), 64, 2.3),
    ((1000,), 64, 2.3),
]


@dataclass(frozen=True)
class Case:
    """One comparison; `rounds` are measured after one that warms up."""

    name: str
    target: float
    library: Callable[[], None]
    twin: Callable[[], None]
    rounds: int


def _pass(module: nn.Module, inputs: torch.Tensor) -> Callable[[], None]:
    inputs = inputs.clone().requires_grad_()

    def run() -> None:
        module.zero_grad(set_to_none=True)
        inputs.grad = None
        outputs = module(inputs)
        outputs.backward(torch.ones_like(outputs))

    return run


def _convolution(lengths: tuple[int, ...], backend: Backend = "fft") -> AggregatedConv:
    candidates = CANDIDATES[len(lengths)]
    count = len(candidates.kernels)
    module = AggregatedConv(CHANNELS, CHANNELS, candidates, groups=CHANNELS)
    module.mixing = torch.full((count,), 1 / count, requires_grad=True)
    module.backend = backend
    return module


def convolution_cases(rounds: int) -> list[Case]:
    """Two for each shape."""
    cases = []
    for lengths, batch, target in SHAPES:
        inputs = torch.randn(batch, CHANNELS, *lengths)
        library = _convolution(lengths)
        library.backend = choose_backend("auto", library, inputs)
        twin = PlainAggregatedConv.like(library)
        twin.mixing = library.mixing
        name = "x".join(str(length) for length in lengths)
        cases.append(Case(f"{name}, published", target, _pass(library, inputs), _pass(twin, inputs), rounds))
        plain = _convolution(lengths, "direct")
        cases.append(Case(f"{name}, plain sum", 2.3, _pass(library, inputs), _pass(plain, inputs), rounds))
    return cases


def step_case(rounds: int, threads: int) -> Case:
    """A whole step on the network of D2NAS's common recipe for CIFAR-100."""
    batch = 16
    space = get_space("diverse-cells")
    size = space.size_model.read({"init_channels": 16, "layers": 2})
    settings = KernelSearchSettings(batch_size=batch, grad_scale=5000, fraction=1.0)
    context = SearchContext(
        random_task(batch, 32), space, settings, size, size, Engine.create("cpu", threads=threads), seed=0
    )
    genotype = resolve_architecture("d2nas.cifar100.common")
    search, other = KernelSearch(context, genotype), KernelSearch(context, genotype)
    network = other.network.network
    step = PlainSearchStep(network, replace_aggregated(network), grad_scale=5000, clip=5.0)
    ready = other.stream.next_batch()
    inputs, targets = ready.inputs.contiguous(), ready.targets
    search.network.train()

    def library() -> None:
        search._step(search.stream.next_batch())

    return Case("search step, CIFAR common", 10.0, library, lambda: void(step(inputs, targets)), rounds)


def void(value: object) -> None:
    """Drop a value."""


def measure_case(case: Case, clock: Callable[[], float]) -> dict[str, Any]:
    """Seconds of each round on both sides, in turn, and the ratios."""
    times: dict[str, list[float]] = {"library": [], "twin": []}
    for number in range(case.rounds + 1):
        for side, run in (("library", case.library), ("twin", case.twin)):
            start = clock()
            run()
            if number > 0:
                times[side].append(clock() - start)
    ratios = [twin / library for library, twin in zip(times["library"], times["twin"], strict=True)]
    return {"name": case.name, "target": case.target, **times, "ratios": ratios, "ratio": statistics.median(ratios)}


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    library, twin = (1e3 * statistics.median(result[side]) for side in ("library", "twin"))
    return (
        f"{result['name']:26} {library:8.1f} ms {twin:8.0f} ms {result['ratio']:7.1f} {min(result['ratios']):7.1f} "
        f"{max(result['ratios']):8.1f} {result['target']:7.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    keep_freed_memory()  # as the command line does; it serves both sides
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aggregated", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step-rounds", type=int, default=2, help="of whole search steps; the twin's take long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor", action="store_true", help="seconds of the processor, for a machine that is busy")
    parser.add_argument("--only", default="", help="measure only cases whose name has this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(
        f"{CHANNELS} channels, {options.threads} threads, torch {torch.__version__}, {platform.machine()}\n"
        f"{'':26} {'library':>11} {'plain twin':>11} {'ratio':>7} {'lowest':>7} {'highest':>8} {'wanted':>7}"
    )
    results = []
    clock = time.process_time if options.processor else time.perf_counter
    for case in convolution_cases(options.rounds):
        if options.only in case.name:
            results.append(measure_case(case, clock))
            print(line(results[-1]), flush=True)
    if options.only in "search step, CIFAR common":
        results.append(measure_case(step_case(options.step_rounds, options.threads), clock))
        print(line(results[-1]), flush=True)
    if options.json is not None:
        setup = {
            "channels": CHANNELS,
            "threads": options.threads,
            "shapes": [[list(lengths), batch] for lengths, batch, _ in SHAPES],
        }
        options.json.write_text(json.dumps({"setup": setup, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
