"""Two methods on one task, side by side: a table of results, and a report that has both.

What you learn: how to start runs that compare (same task, space, sizes, training and seed), and where their results
are. Any two runs can be compared later: `archscout report RUN --compare OTHER`.
"""

from __future__ import annotations

import archscout

METHODS = {
    "random": ["epochs=1", "ranking.candidates=4"],
    "evolution": ["queries=4", "population=2", "candidate.train.epochs=1", "candidate.workers=1"],
}
SAME = [
    *("supernet.init_channels=4", "supernet.cells=1", "network.init_channels=8", "network.cells=1"),
    *("train.epochs=5", "train.batch_size=64", "train.cutout=0", "train.drop_path=0"),
]


def main() -> None:
    print(f"{'method':<12}{'accuracy':>10}{'parameters':>12}{'search s':>10}")
    for method, settings in METHODS.items():
        run = archscout.run(
            "digits", method=method, values={"space": "nasbench201"}, overrides=[*SAME, *settings], out=f"runs/{method}"
        )
        seconds, accuracy = run.result["seconds"]["search"], run.result["test"]["accuracy"]
        print(f"{method:<12}{accuracy:>10.3f}{run.result['parameters']:>12,}{seconds:>10.1f}")
    print(archscout.report("runs/random", compare=["runs/evolution"]))


if __name__ == "__main__":
    main()
