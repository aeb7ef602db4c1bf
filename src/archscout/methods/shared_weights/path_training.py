"""Training shared weights along single paths, and ranking candidates with them: what weight-sharing methods share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.engine import Stepper
from archscout.errors import SpaceError
from archscout.jobs import Metrics, State, Stored
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.limits import Limits
from archscout.methods.shared_weights.judge import JudgeSettings, SubnetJudge
from archscout.nn.recurrent.carry import Carry
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Extractable, PathSupernet, WeightSharing
from archscout.tasks.batch import Batch
from archscout.tasks.segments import SegmentSettings
from archscout.tasks.streams import TrainingStream, evaluation_batches, training_stream
from archscout.training.augmentation import AugmentationSettings, augmented
from archscout.training.evaluation import StepMeter, pooled_metrics
from archscout.training.optimizers import SgdSettings

__all__ = ["STEPS_PER_YIELD", "ChildSettings", "PathTrainer", "Ranking", "RankingSettings"]

STEPS_PER_YIELD = 20  # some seconds on a CPU: how long a signal waits, and what a kill can lose at most


class ChildSettings(AugmentationSettings):
    """How the shared weights are trained."""

    batch_size: int = Field(default=128, ge=2, description="per process")
    optimizer: SgdSettings = SgdSettings()
    segments: SegmentSettings = SegmentSettings()
    steps_per_architecture: int = Field(default=1, ge=1, description="steps before a new path is drawn")
    legacy_dense_updates: bool = Field(
        default=False, description="momentum and weight decay also move the weights off the path (old torch)"
    )


class RankingSettings(Settings):
    """How the final architecture is chosen among candidates, with shared weights, on the validation split."""

    candidates: int = Field(default=100, ge=1, description="distinct architectures to draw")
    batch_size: int = Field(default=250, ge=1)
    group: int = Field(default=10, ge=1, description="architectures evaluated together, in each process")
    limits: Limits = Limits()
    legacy_one_batch: bool = Field(
        default=False, description="score each candidate on one random batch of its own, as the published code does"
    )


class PathTrainer(Stored):
    """A supernet and its optimiser; trains one path a step.

    Args:
        epochs: of the whole search, for the schedule.
    """

    network: State[nn.Module]
    _stepper: State[Stepper]
    stream: State[TrainingStream]
    _carry: State[Carry]
    _judging: State[Carry]

    def __init__(self, context: SearchContext, settings: ChildSettings, epochs: int) -> None:
        self._context, self._settings, self._epochs = context, settings, epochs
        engine, task = context.engine, context.task
        with engine.seeded(context.seed, "supernet"):
            network = cast(WeightSharing, context.space).supernet(task.spec, context.supernet_size)
        self.network = engine.place(network)
        self.paths = cast(PathSupernet, network)
        self._stepper = Stepper(engine, settings.optimizer.create(network.parameters()), settings.optimizer.clip)
        # The hidden states of training and of judging are different ones, where the network has any.
        self._carry, self._judging = Carry(network, engine), Carry(network, engine)
        self.stream = training_stream(
            augmented(task, settings, "search.child"),
            task.train,
            settings.batch_size,
            engine.device,
            derive_seed(context.seed, "child"),
            segments=settings.segments,
            rank=engine.rank,
            world_size=engine.world_size,
        )

    def train(self, draw: Callable[[int], Any]) -> dict[str, float]:
        """Some steps, at most to the end of the epoch.

        Args:
            draw: gives the path of a draw number, which moves on after every `steps_per_architecture` steps.
        """
        epoch, engine = self.stream.epoch, self._context.engine
        meter, steps = StepMeter(self._context.task, engine), 0
        while steps < STEPS_PER_YIELD and self.stream.epoch == epoch:
            meter.add(*self.step(draw(self.stream.step // self._settings.steps_per_architecture)))
            steps += 1
        engine.average_buffers(self.network)
        return {"epoch": float(epoch), **meter.compute()}

    def step(self, architecture: Any) -> tuple[Any, Tensor, Tensor]:
        """One step of the weights on the path. Returns outputs, targets and the loss, on the device."""
        engine = self._context.engine
        step, batch = self._next()
        self.network.train()
        # Some networks have dropout, which draws from torch's default generator.
        with engine.seeded(self._context.seed, "child step", step), engine.autocast():
            outputs = self._carry(engine.arrange(batch.inputs), architecture, starts=batch.starts)
            loss = self._context.task.loss(outputs, batch.targets)
        path = self.paths.path_parameters(architecture)
        self._stepper.step(loss, path, dense=self._settings.legacy_dense_updates)
        return outputs.detach().float(), batch.targets, loss.detach()

    def _next(self) -> tuple[int, Batch]:
        """The number of this step and its batch; sets the learning rate."""
        schedule, world = self._settings.optimizer.schedule, self._context.engine.world_size
        rate = schedule.rate(self._settings.optimizer.lr, self.stream.epoch, self._epochs, world)
        step, batch = self.stream.step, self.stream.next_batch()
        self._stepper.set_rate(rate * batch.rate_scale)
        return step, batch

    def rewards(self, batch: Batch, architectures: Sequence[Architecture]) -> list[float]:
        """The reward of each architecture on one common batch: one inference pass for all of them.

        A recurrent network goes on from the hidden state that the first architecture of the batch before left.
        """
        context = self._context
        metric = context.task.metric
        self.network.eval()
        with torch.inference_mode():
            inputs, starts = context.engine.arrange(batch.inputs), batch.starts
            if len(architectures) == 1:
                outputs: Sequence[Any] = [self._judging(inputs, architectures[0], starts=starts)]
            else:
                outputs = self._judging.grouped(inputs, architectures, starts=starts, common=True)
            measured = [metric.measure(each.float(), batch.targets) for each in outputs]
        return [context.engine.average(metric.reward(value)) for value in measured]

    def scores(self, architectures: Sequence[Architecture], batch_size: int) -> list[float]:
        """The score of each architecture on the whole validation split, all of them on one batch after the other.

        Networks that use a part of every layer are cut out, one after the other, and get batch norms of their own: the
        supernet's statistics are those of all of them mixed.
        """
        self.network.eval()
        if isinstance(self._context.space, Extractable):
            judge = SubnetJudge(self._context, JudgeSettings(batch_size=max(2, batch_size)), self.network)
            return [judge.score(architecture) for architecture in architectures]
        task, engine = self._context.task, self._context.engine
        accumulators = [task.metric.create().to(engine.device) for _ in architectures]
        carry = Carry(self.network)
        with torch.inference_mode():
            for batch in evaluation_batches(task, task.validation, batch_size, engine.device):
                outputs = carry.grouped(engine.arrange(batch.inputs), architectures, starts=batch.starts)
                for accumulator, each in zip(accumulators, outputs, strict=True):
                    accumulator.update(each.float(), batch.targets)
        return [task.metric.score(float(accumulator.compute())) for accumulator in accumulators]


class Ranking(Stored):
    """Scores candidates in groups, each on the whole validation split, and picks the best.

    The candidates are no part of the state: they are drawn again, identically, from the seed and the policy.

    Args:
        trainer: whose shared weights judge.
    """

    _scores: State[list[float]]

    def __init__(self, context: SearchContext, settings: RankingSettings, trainer: PathTrainer) -> None:
        self._context, self._settings, self._trainer = context, settings, trainer
        self._candidates: list[tuple[Architecture, str]] = []
        self._scores = []

    @property
    def share(self) -> float:
        """The share that is scored."""
        return len(self._scores) / len(self._candidates) if self._candidates else 0.0

    def run(self, proposals: Iterator[tuple[Architecture, str]]) -> Iterator[Metrics]:
        """Score the candidates among endless proposals, a group at a time."""
        self._candidates = self._collected(proposals)
        while len(self._scores) < len(self._candidates):
            yield self._score_group()

    def _collected(self, proposals: Iterator[tuple[Architecture, str]]) -> list[tuple[Architecture, str]]:
        """Distinct candidates within the limits.

        Raises:
            SpaceError: none of many proposals is within the limits.
        """
        wanted = self._settings.candidates
        found: dict[Architecture, str] = {}
        for tries, (architecture, origin) in enumerate(proposals, start=1):
            if architecture not in found and self._settings.limits.admit(self._context, architecture):
                found[architecture] = origin
            if len(found) >= wanted or tries >= 20 * wanted + 100:
                break
        if not found:
            limits = self._settings.limits
            raise SpaceError(
                f"none of {20 * wanted + 100} proposed architectures has at most {limits.max_parameters} parameters "
                f"and {limits.max_madds} MAdds (None: no limit). Raise ranking.limits, or make the network smaller; "
                "`archscout estimate` prints the smallest and the largest."
            )
        return list(found.items())

    def _score_group(self) -> dict[str, float]:
        """Score the next group; of several processes each scores one."""
        engine, size = self._context.engine, self._settings.group
        start = len(self._scores) + engine.rank * size
        group = [architecture for architecture, _ in self._candidates[start : start + size]]
        if self._settings.legacy_one_batch:
            self._trainer.network.eval()
            scores = [self._one_batch_score(start + offset, each) for offset, each in enumerate(group)]
        else:
            scores = self._trainer.scores(group, self._settings.batch_size) if group else []
        self._scores += engine.gather(scores)
        return {"scored": float(len(self._scores)), "best": max(self._scores)}

    def _one_batch_score(self, number: int, architecture: Architecture) -> float:
        context = self._context
        seed = derive_seed(context.seed, "one batch", number)
        order = torch.randperm(len(context.task.validation), generator=torch.Generator().manual_seed(seed))
        chosen = order[: self._settings.batch_size]
        if context.task.spec.is_text:  # words of a text are judged in their order
            chosen = torch.arange(len(chosen)) + min(int(chosen[0]), len(order) - len(chosen))
        part = context.task.validation.subset(chosen)
        carry = Carry(self._trainer.network)
        values = pooled_metrics(
            lambda inputs: carry(inputs, architecture),
            context.task,
            part,
            context.engine,
            self._settings.batch_size,
        )
        return context.task.metric.score(values[context.task.metric.name])

    def result(self) -> SearchResult:
        """The candidates, best first; of equal ones the earlier proposal."""
        ranked = sorted(
            (
                Candidate(architecture, score, origin)
                for (architecture, origin), score in zip(self._candidates, self._scores, strict=True)
            ),
            key=lambda candidate: -candidate.score,
        )
        return SearchResult(ranked[0].architecture, ranked)
