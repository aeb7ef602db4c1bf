"""All benchmarks in turn, with their default settings: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import aggregated, mixture, progressive, steps, trials

BENCHMARKS = {
    "steps": steps.main,
    "mixture": mixture.main,
    "progressive": progressive.main,
    "trials": trials.main,
    "aggregated": aggregated.main,
}


if __name__ == "__main__":
    for name, run in BENCHMARKS.items():
        print(f"-- {name}")
        run([])
