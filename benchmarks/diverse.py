"""D2NAS, DASH and the plain backbones on diverse tasks, in small: `python -m benchmarks.diverse RUNS`.

Every task is run by each of the three methods with each seed, in run directories `RUNS/<task>-<method>-<seed>`; what is
complete is not run again, and what was stopped goes on. At the end a table in Markdown: the mean and the standard
deviation over the seeds of the test metric, the means of parameters and multiply-adds, and the median of the wall time
of all stages.

CIFAR-10 needs `--data DIR`, a folder with `cifar-10-batches-py`; a fifth of its training images is taken. See
`benchmarks.small_tasks` for that, and for the tasks that are made of digits.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import archscout
from archscout.memory import keep_freed_memory
from archscout.pipeline.run import Run
from benchmarks.small_tasks import write_cifar, write_pairs, write_scenes

__all__ = ["CASES", "METHODS", "Case", "main", "perform", "table"]

METHODS = ("plain", "dash", "d2nas")


@dataclass(frozen=True)
class Case:
    """A task, and how the three methods take it.

    Attributes:
        task: its registered name, or that of a file in the folder of the runs.
        backbone: what DASH starts from.
        recipe: the methods' recipes are `d2nas/<recipe>`, `dash/<recipe>` and `backbones/<recipe>`.
        write: makes the file.
    """

    task: str
    backbone: str
    recipe: str
    write: Callable[[Path, Path | None], None] | None = None


CASES = {
    "digits": Case("digits", "wide_resnet_10", "digits"),
    "cifar": Case("cifar.npz", "wide_resnet_10", "cifar10-short", write=write_cifar),
    "italy": Case("ucr:ItalyPowerDemand", "sequence_resnet", "ucr"),
    "vowels": Case("ucr:JapaneseVowels", "sequence_resnet", "ucr"),
    "darcy": Case("darcy-generated", "wide_resnet_10", "darcy-generated"),
    "pairs": Case("pairs.npz", "wide_resnet_10", "digits", write=lambda path, _: write_pairs(path)),
    "scenes": Case("scenes.npz", "wide_resnet_10", "darcy-generated", write=lambda path, _: write_scenes(path)),
}


def perform(case: Case, method: str, seed: int, out: Path, data: Path | None = None) -> Run:
    """The run of a task by a method, with all stages."""
    task, values = case.task, {"seed": seed}
    if case.write is not None:
        file = out.parent / case.task
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file():
            case.write(file, data)
        task = str(file)
    if method == "plain":
        recipe = f"backbones/{case.recipe}"
        return archscout.train(case.backbone, task=task, recipe=recipe, values=values, out=out, until=None)
    recipe = f"{method}/{case.recipe}"
    return archscout.run(task, method=method, recipe=recipe, values=values, out=out)


def table(runs: dict[tuple[str, str], Sequence[Run]]) -> str:
    """In Markdown, a row for each task and method."""
    lines = [
        "| task | method | metric | test | parameters | multiply-adds | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for (case, method), found in runs.items():
        results = [run.result for run in found]
        metric = results[0]["metric"]
        values = [result["test"][metric] for result in results]
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else " (one seed)"
        lines.append(
            f"| {case} | {method} | {metric.replace('_', ' ')} | {statistics.mean(values):.4f}{spread} "
            f"| {statistics.mean(result['parameters'] for result in results):,.0f} "
            f"| {statistics.mean(result['madds'] for result in results):,.0f} "
            f"| {statistics.median(map(_minutes, results)):.1f} |"
        )
    return "\n".join(lines)


def _minutes(result: dict[str, dict[str, float]]) -> float:
    return sum(seconds or 0.0 for seconds in result["seconds"].values()) / 60


def _complete(folder: Path) -> bool:
    return (folder / "result.json").is_file() and (folder / "report.html").is_file()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diverse", description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of the run directories")
    parser.add_argument("--tasks", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10's files")
    parser.add_argument("--table", action="store_true", help="run nothing, show what is complete")
    options = parser.parse_args(arguments)
    for name in options.tasks:
        for seed in () if options.table else options.seeds:
            for method in options.methods:
                out = options.runs / f"{name}-{method}-{seed}"
                if not _complete(out):
                    result = perform(CASES[name], method, seed, out, options.data).result
                    value = result["test"][result["metric"]]
                    print(f"{out}: {result['metric']} {value:.4f}, {_minutes(result):.1f} min", flush=True)
    print(table(_found(options.runs, options.tasks, options.methods, options.seeds)))


def _found(
    runs: Path, tasks: Iterable[str], methods: Sequence[str], seeds: Sequence[int]
) -> dict[tuple[str, str], Sequence[Run]]:
    found: dict[tuple[str, str], Sequence[Run]] = {}
    for task in tasks:
        for method in methods:
            folders = [runs / f"{task}-{method}-{seed}" for seed in seeds]
            if complete := [archscout.load_run(folder) for folder in folders if _complete(folder)]:
                found[(task, method)] = complete
    return found


if __name__ == "__main__":
    keep_freed_memory()  # as the command line does
    main()
