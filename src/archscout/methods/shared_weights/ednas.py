"""EDNAS: reinforcement learning of decoupled structure and operation policies over shared weights.

Source: "Efficient Decoupled Neural Architecture Search by Structure and Operation Sampling" (arXiv 1910.10397);
docs/methods/ednas.md#what-the-code-rests-on. The algorithm:

    repeat for each epoch
        for each batch of the training split                    (the policy stands still)
            draw an architecture A from the policy
            one gradient step on the shared weights along the path of A
        for each batch of the validation split                  (the weights stand still)
            draw an architecture A from the policy
            reward r = accuracy of A on the batch, from one inference pass
            one Adam step on the logits along -(r - b) grad log p(A);  b <- 0.99 b + 0.01 r
    draw 100 architectures, add the arg-max, score all on the whole validation split, return the best
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import cast

import torch
from pydantic import Field

from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.shared_weights.path_training import (
    STEPS_PER_YIELD,
    ChildSettings,
    PathTrainer,
    Ranking,
    RankingSettings,
)
from archscout.methods.shared_weights.policy import DecoupledPolicy
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Factorized, WeightSharing
from archscout.tasks.segments import SegmentSettings
from archscout.tasks.streams import TrainingStream, training_stream

__all__ = ["EdnasSearch", "EdnasSettings", "PolicySettings"]


class PolicySettings(Settings):
    """How the policy is trained (docs/methods/ednas.md#search-settings)."""

    batch_size: int = Field(default=128, ge=1, description="per process")
    architectures_per_step: int = Field(
        default=1, ge=1, description="drawn on a common batch; from 2 on the mean of the others is the baseline"
    )
    lr: float = Field(default=3.5e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(default=1e-3, ge=0, description="L2, as Adam couples it")
    baseline_decay: float = Field(default=0.99, ge=0, lt=1)
    legacy_double_softmax: bool = Field(default=False, description="the published code's biased surrogate")
    legacy_baseline: bool = Field(default=False, description="the baseline starts at 0 and is updated before its use")


class EdnasSettings(Settings):
    """Settings of EDNAS; the defaults are the published CIFAR-10 search."""

    epochs: int = Field(default=300, ge=1)
    validation_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="of the development data, from its tail; null keeps the task's own split"
    )
    child: ChildSettings = ChildSettings()
    policy: PolicySettings = PolicySettings()
    ranking: RankingSettings = RankingSettings()


class EdnasSearch(Job[SearchResult]):
    """The search; see the module's docstring."""

    trainer: State[PathTrainer]
    policy: State[DecoupledPolicy]
    adam: State[torch.optim.Adam]
    baseline: State[float | None]
    best_reward: State[float]
    batches: State[TrainingStream]
    ranking: State[Ranking]

    def __init__(self, context: SearchContext) -> None:
        self.context, self.settings = context, cast(EdnasSettings, context.settings)
        settings, engine = self.settings.policy, context.engine
        self.trainer = PathTrainer(context, self.settings.child, self.settings.epochs)
        self.ranking = Ranking(context, self.settings.ranking, self.trainer)
        self.policy = DecoupledPolicy(cast(Factorized, context.space).factorization, context.seed)
        self.adam = torch.optim.Adam(
            [self.policy.logits], lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
        )
        self.baseline = 0.0 if settings.legacy_baseline else None
        self.best_reward = float("-inf")
        self.batches = training_stream(
            context.task,
            context.task.validation,
            settings.batch_size,
            engine.device,
            derive_seed(context.seed, "policy batches"),
            segments=SegmentSettings(length=self.settings.child.segments.length, halved=0),
            augment=False,
            rank=engine.rank,
            world_size=engine.world_size,
        )

    def run(self) -> Iterator[Metrics]:
        """Weights, then policy, in every epoch; the ranking at the end."""
        for epoch in range(self.batches.epoch, self.settings.epochs):
            while self.trainer.stream.epoch == epoch:
                yield self.trainer.train(self.draw_path)
            while self.batches.epoch == epoch:
                yield self.train_policy(epoch)
        yield from self.ranking.run(self.proposals())

    def work(self) -> Iterator[tuple[float, float]]:
        """Steps of weights and policy; scoring the candidates counts as one epoch."""
        for stream in (self.trainer.stream, self.batches):
            steps = stream.batches_per_epoch
            yield stream.passed * steps, self.settings.epochs * steps
            yield self.ranking.share * steps, steps

    def result(self) -> SearchResult:
        """The best candidate, and all of them."""
        return self.ranking.result()

    def draw_path(self, number: int) -> Architecture:
        """The path that some steps of the weights take."""
        return self.policy.sample(self._draw("child", number)).architecture

    def train_policy(self, epoch: int) -> dict[str, float]:
        """Some steps of the policy, at most to the end of the epoch."""
        steps, total, skips = 0, 0.0, 0.0
        while steps < STEPS_PER_YIELD and self.batches.epoch == epoch:
            reward, skip_share = self.policy_step()
            total, skips, steps = total + reward, skips + skip_share, steps + 1
        return {
            "epoch": float(epoch),
            "steps": float(steps),
            "reward": total / steps,
            "baseline": self.baseline or 0.0,
            "best_reward": self.best_reward,
            "entropy": self.policy.entropy(),
            "skip_share": skips / steps,
        }

    def policy_step(self) -> tuple[float, float]:
        """One update of the policy. Returns the mean reward and the share of skip connections in the samples."""
        settings = self.settings.policy
        draw = self._draw("policy", self.batches.epoch, self.batches.position)
        batch = self.batches.next_batch()
        samples = [self.policy.sample(draw) for _ in range(settings.architectures_per_step)]
        rewards = self.trainer.rewards(batch, [sample.architecture for sample in samples])
        advantages = self._advantages(rewards)
        self.policy.logits.grad = self.policy.gradient(
            samples, advantages, double_softmax=settings.legacy_double_softmax
        )
        self.adam.step()
        self.best_reward = max(self.best_reward, *rewards)
        skips = [self.policy.share_of("skip_connect", sample) for sample in samples]
        return sum(rewards) / len(rewards), sum(skips) / len(skips)

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        """How much better each reward is than expected; moves the baseline on."""
        settings, mean = self.settings.policy, sum(rewards) / len(rewards)
        before = mean if self.baseline is None else self.baseline
        self.baseline = settings.baseline_decay * before + (1 - settings.baseline_decay) * mean
        if len(rewards) > 1:  # leave-one-out: unbiased, and the noise of the common batch cancels
            return [len(rewards) / (len(rewards) - 1) * (reward - mean) for reward in rewards]
        return [rewards[0] - (self.baseline if settings.legacy_baseline else before)]

    def proposals(self) -> Iterator[tuple[Architecture, str]]:
        """The arg-max of the policy, then samples from it without end."""
        yield self.policy.mode(), "arg-max"
        draw = self._draw("candidates")
        while True:
            yield self.policy.sample(draw).architecture, "policy"

    def _draw(self, *purpose: str | int) -> Random:
        return Random(derive_seed(self.context.seed, "ednas", *purpose))


register_method(
    Method(
        name="ednas",
        description="reinforcement learning of decoupled structure and operation policies, shared weights",
        settings=EdnasSettings,
        requires=(WeightSharing, Factorized),
        stages=(SearchStage("search", lambda context, before: EdnasSearch(context)),),
    )
)
