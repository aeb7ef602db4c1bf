"""Stage two: the validation score of some networks, cut out of the supernet, each with batch norms of its own."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Extractable, LayerCoded
from archscout.tasks.loading import evaluation_batches
from archscout.tasks.task import Split
from archscout.training.calibration import recalibrate
from archscout.training.evaluation import evaluate_network

__all__ = ["JudgeSettings", "ScoringSettings", "SubnetJudge", "SubnetScoring"]


class JudgeSettings(Settings):
    """How one network is judged."""

    calibration_samples: int = Field(default=2000, ge=2, description="training samples for the batch norms")
    validation_samples: int | None = Field(default=None, ge=1, description="null: the whole validation split")
    batch_size: int = Field(default=250, ge=2)


class ScoringSettings(JudgeSettings):
    """How many networks are scored, and how."""

    subnets: int = Field(default=1000, ge=4, description="distinct networks, the smallest and the largest among them")


class SubnetJudge:
    """Cuts networks out of the trained supernet and scores them on the validation split.

    Args:
        context: of the search; its stage `supernet` is over.
        settings: how to judge.
    """

    def __init__(self, context: SearchContext, settings: JudgeSettings) -> None:
        self._context, self._settings = context, settings
        task, space = context.task, cast(Extractable, context.space)
        with torch.device("meta"):
            network = space.supernet(task.spec, context.supernet_size)
        network.load_state_dict(context.artifact("supernet")["network"], assign=True)
        self._supernet = context.engine.place(network)
        self._calibration = self._part(task.train, settings.calibration_samples, "calibration")
        self._validation = task.validation
        if settings.validation_samples is not None:
            self._validation = self._part(task.validation, settings.validation_samples, "scoring")

    def _part(self, split: Split, count: int, purpose: str) -> Split:
        """The same samples for every network, so that scores differ by the networks alone."""
        return split.subset(torch.randperm(len(split), generator=generator(self._context.seed, purpose))[:count])

    def _calibration_inputs(self) -> Iterator[Tensor]:
        """Whole batches only: each counts the same."""
        task, engine = self._context.task, self._context.engine
        size = min(self._settings.batch_size, len(self._calibration))
        whole = self._calibration.subset(torch.arange(len(self._calibration) // size * size))
        for batch in evaluation_batches(task, whole, size, engine.device):
            yield engine.arrange(batch.inputs)

    def network(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture with shared weights and re-calibrated batch norms, in evaluation mode."""
        context = self._context
        space = cast(Extractable, context.space)
        network = space.extract(self._supernet, architecture, context.task.spec, context.supernet_size)
        recalibrate(context.engine.place(network), self._calibration_inputs())
        return network

    def score(self, architecture: Architecture) -> float:
        """The task's metric on the validation split, higher is better."""
        context, metric = self._context, self._context.task.metric
        values = evaluate_network(
            self.network(architecture), context.task, self._validation, context.engine, self._settings.batch_size
        )
        return metric.score(values[metric.name])


class SubnetScoring:
    """The scoring of random networks as a job; its artifact is their codes and scores."""

    def __init__(self, context: SearchContext, settings: ScoringSettings) -> None:
        self._context, self._settings = context, settings
        self._judge = SubnetJudge(context, settings)
        self._subnets = self._drawn()
        self._scores: list[float] = []

    def _drawn(self) -> dict[Architecture, str]:
        """Distinct networks and their origins."""
        context = self._context
        smallest, largest = context.space.extremes(context.task.spec, context.supernet_size)
        found: dict[Architecture, str] = {smallest: "smallest", largest: "largest"}
        draw = Random(derive_seed(context.seed, "scored networks"))
        while len(found) < self._settings.subnets:
            found.setdefault(context.space.random(draw), "random")
        return found

    def advance(self) -> dict[str, float]:
        """Score the next network."""
        architecture = list(self._subnets)[len(self._scores)]
        score = self._judge.score(architecture)
        self._scores.append(score)
        return {
            "progress": len(self._scores) / len(self._subnets),
            "scored": float(len(self._scores)),
            "score": score,
            "best": max(self._scores),
        }

    @property
    def done(self) -> bool:
        """Whether every network has its score."""
        return len(self._scores) == len(self._subnets)

    def result(self) -> SearchResult:
        """The networks, best first; the artifact has codes and scores in the order of drawing."""
        candidates = [
            Candidate(architecture, score, origin)
            for (architecture, origin), score in zip(self._subnets.items(), self._scores, strict=True)
        ]
        candidates.sort(key=lambda candidate: -candidate.score)
        space = cast(LayerCoded, self._context.space)
        codes = [list(space.encode(architecture)) for architecture in self._subnets]
        return SearchResult(
            candidates[0].architecture, candidates, artifact={"codes": codes, "scores": list(self._scores)}
        )

    def state_dict(self) -> dict[str, Any]:
        """Scores; the networks are drawn again from the seed."""
        return {"scores": list(self._scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._scores = [float(score) for score in state["scores"]]
