"""A search method of your own in one file: successive halving with shared weights.

    draw some architectures at random
    repeat until one is left
        train the shared weights for some epochs, a step on the path of each one that is left in turn
        score all that are left on the validation split, and keep the better half

What you learn: the loop is the method. `run` yields after every unit of work, what it depends on is declared as
`State`, and archscout does the rest: checkpoints, resume, progress, report. Try it: `python own_method.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from pydantic import Field

import archscout
from archscout.jobs import Job, Metrics, State
from archscout.methods import Candidate, Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.shared_weights.path_training import ChildSettings, PathTrainer
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.spaces.base import WeightSharing


class HalvingSettings(Settings):
    architectures: int = Field(default=16, ge=2, description="drawn at the start")
    epochs: int = Field(default=5, ge=1, description="of the shared weights before each halving")
    child: ChildSettings = ChildSettings()


class Halving(Job[SearchResult]):
    trainer: State[PathTrainer]
    scores: State[list[float]]  # of all architectures, by their numbers
    left: State[list[int]]  # numbers, best first
    dropped: State[list[int]]
    halvings: State[int]

    def __init__(self, context: SearchContext) -> None:
        count, self.epochs = context.settings.architectures, context.settings.epochs
        self.drawn = [context.space.random(Random(derive_seed(context.seed, "halving", i))) for i in range(count)]
        self.rounds = math.ceil(math.log2(count))
        self.trainer = PathTrainer(context, context.settings.child, self.rounds * self.epochs)
        self.scores, self.left, self.dropped, self.halvings = [0.0] * count, list(range(count)), [], 0

    def run(self) -> Iterator[Metrics]:
        while self.halvings < self.rounds:
            while self.trainer.stream.epoch < (self.halvings + 1) * self.epochs:
                yield self.trainer.train(lambda step: self.drawn[self.left[step % len(self.left)]])
            yield self.halve()

    def halve(self) -> Metrics:
        scores = self.trainer.scores([self.drawn[number] for number in self.left], batch_size=250)
        for number, score in zip(self.left, scores, strict=True):
            self.scores[number] = score
        ranked, kept = sorted(self.left, key=lambda number: -self.scores[number]), math.ceil(len(self.left) / 2)
        self.left, self.dropped, self.halvings = ranked[:kept], ranked[kept:] + self.dropped, self.halvings + 1
        return {"left": kept, "best": self.scores[ranked[0]]}

    def work(self) -> Iterator[tuple[float, float]]:
        yield self.trainer.stream.passed, self.rounds * self.epochs

    def result(self) -> SearchResult:
        ranked = [Candidate(self.drawn[i], self.scores[i], "random") for i in self.left + self.dropped]
        return SearchResult(ranked[0].architecture, ranked)


search = SearchStage("search", lambda context, before: Halving(context))
register_method(Method("halving", "successive halving", HalvingSettings, requires=(WeightSharing,), stages=(search,)))

if __name__ == "__main__":
    small = ["supernet.init_channels=4", "supernet.cells=1", "network.init_channels=8", "network.cells=1"]
    quick = ["architectures=4", "epochs=1", "train.epochs=5", "train.cutout=0", "train.drop_path=0"]
    run = archscout.run("digits", method="halving", values={"space": "nasbench201"}, overrides=small + quick)
    print(run.architecture.describe(), f"accuracy {run.result['test']['accuracy']:.2f}", sep="\n")
