"""DSM-NAS on a table: many trials as one batch against a sequential plain twin. Run with `python -m benchmarks.trials`.

Both sides run the same algorithm, with the published settings, on the same random table of NAS-Bench-201, in one
process, taking turns: a round is some steps of all trials of a group on the library's side, and as many steps of one
trial on the twin's. The times are those of a step of one trial.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from archscout.methods.dsm.dsm import DsmSearch
from archscout.methods.dsm.trials import DsmSettings
from archscout.methods.queries.scoring import TableScorer
from archscout.spaces import NasBench201Space
from archscout.spaces.nasbench201 import SPACE_SIZE
from archscout.spaces.nasbench201.table import Table, keys_of
from benchmarks.plain_controller import PlainSearch

__all__ = ["Setup", "compare_trials", "main"]

TARGET = 6.0  # what part 3 of the plan asks for, with 200 trials, 2 threads
ROUND_STEPS = 25


@dataclass(frozen=True)
class Setup:
    """What is measured: trials of the batch, rounds after the warm-up, and threads of torch."""

    trials: int = 200
    rounds: int = 8
    threads: int = 2


def _table() -> Table:
    values = 60 + 30 * torch.rand(1, SPACE_SIZE, generator=torch.Generator().manual_seed(0))
    return Table(["random_val_acc_12ep"], values)


def compare_trials(setup: Setup) -> dict[str, list[float]]:
    """Milliseconds of a step of one trial, by round, of `library` and `twin`; and microseconds of a `query`."""
    torch.set_num_threads(setup.threads)
    table, space = _table(), NasBench201Space()
    settings = DsmSettings(table="random", trials=setup.trials, queries=1_000_000)
    search = DsmSearch(space, TableScorer(table, "random_val_acc_12ep", None), settings, seed=0)
    code = space.layer_code
    scores = table.values[0].tolist()

    def score(operations: Sequence[int]) -> float:
        key = 0
        for operation in operations:
            key = 5 * key + operation
        return float(scores[key])

    twin = PlainSearch(score, code.allowed, code.columns or code.operations, seed=0)
    times: dict[str, list[float]] = {"library": [], "twin": [], "query": []}
    codes = torch.randint(5, (10_000, 6))
    for number in range(setup.rounds + 1):
        began = time.perf_counter()
        next(search.run())
        assert search.running is not None
        library = 1e3 * (time.perf_counter() - began) / ROUND_STEPS / len(search.running)
        began = time.perf_counter()
        for _ in range(ROUND_STEPS):
            twin.step()
        plain = 1e3 * (time.perf_counter() - began) / ROUND_STEPS
        began = time.perf_counter()
        table.values[0][keys_of(codes)]
        query = 1e6 * (time.perf_counter() - began) / len(codes)
        if number:  # the first round warms up
            for name, value in (("library", library), ("twin", plain), ("query", query)):
                times[name].append(value)
    return times


def table_text(setup: Setup, times: dict[str, list[float]]) -> str:
    """The results as text: medians over the rounds, and the range of the ratio."""
    ratios = [twin / library for twin, library in zip(times["twin"], times["library"], strict=True)]
    wanted = f"{TARGET:7.1f}" if setup.trials == Setup.trials and setup.threads == Setup.threads else f"{'':>7}"
    library, twin = statistics.median(times["library"]), statistics.median(times["twin"])
    return "\n".join(
        [
            f"{setup.trials} trials, {setup.threads} threads, torch {torch.__version__}, {platform.machine()}",
            f"{'':12} {'library':>11} {'plain twin':>11} {'ratio':>7} {'lowest':>7} {'highest':>8} {'wanted':>7}",
            f"{'trial step':12} {library:8.3f} ms {twin:8.3f} ms {statistics.median(ratios):7.2f} {min(ratios):7.2f} "
            f"{max(ratios):8.2f} {wanted}",
            f"a query of the table, 10,000 at once: {statistics.median(times['query']):.3f} microseconds (wanted: 5)",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    defaults = Setup()
    parser.add_argument("--trials", type=int, default=defaults.trials)
    parser.add_argument("--rounds", type=int, default=defaults.rounds, help="of 25 steps (default %(default)s)")
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options: dict[str, Any] = vars(parser.parse_args(arguments))
    target: Path | None = options.pop("json")
    if min(options.values()) < 1:
        parser.error("all numbers must be at least 1.")
    setup = Setup(**options)
    times = compare_trials(setup)
    print(table_text(setup, times))
    if target is not None:
        content = {"setup": asdict(setup), "torch": torch.__version__, "machine": platform.machine(), "times": times}
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
