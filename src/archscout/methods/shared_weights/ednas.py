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
from typing import Any, ClassVar, cast

import torch
from pydantic import Field

from archscout.methods.base import METHODS, SearchContext, SearchResult, SearchStage
from archscout.methods.shared_weights.path_training import (
    STEPS_PER_ADVANCE,
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
from archscout.tasks.streams import training_stream

__all__ = ["Ednas", "EdnasSearch", "EdnasSettings", "PolicySettings"]


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


class EdnasSearch:
    """The search as a job; see the module's docstring."""

    def __init__(self, context: SearchContext) -> None:
        settings = cast(EdnasSettings, context.settings)
        self._context, self._settings = context, settings
        self._trainer = PathTrainer(context, settings.child, settings.epochs)
        self._ranking = Ranking(context, settings.ranking, self._trainer)
        self._policy = DecoupledPolicy(cast(Factorized, context.space).factorization, context.seed)
        self._adam = torch.optim.Adam(
            [self._policy.logits],
            lr=settings.policy.lr,
            betas=settings.policy.betas,
            weight_decay=settings.policy.weight_decay,
        )
        self._baseline: float | None = 0.0 if settings.policy.legacy_baseline else None
        self._best_reward = float("-inf")
        self._batches = training_stream(
            context.task,
            context.task.validation,
            settings.policy.batch_size,
            context.engine.device,
            derive_seed(context.seed, "policy batches"),
            segments=SegmentSettings(length=settings.child.segments.length, halved=0),
            augment=False,
            rank=context.engine.rank,
            world_size=context.engine.world_size,
        )

    # -- the algorithm -------------------------------------------------------------------------------------------

    def advance(self) -> dict[str, float]:
        """Some steps of the phase that is due: weights, then policy, in every epoch; the ranking at the end."""
        if self._trainer.stream.epoch == self._batches.epoch < self._settings.epochs:
            metrics = self._trainer.train(lambda number: self._policy.sample(self._draw("child", number)).architecture)
        elif self._batches.epoch < self._settings.epochs:
            metrics = self._train_policy()
        else:
            if not self._ranking.started:
                self._ranking.start(self._proposals())
            metrics = self._ranking.advance()
        return {"progress": self._progress(), **metrics}

    def _train_policy(self) -> dict[str, float]:
        epoch, steps, total, skips = self._batches.epoch, 0, 0.0, 0.0
        while steps < STEPS_PER_ADVANCE and self._batches.epoch == epoch:
            reward, skip_share = self._policy_step()
            total, skips, steps = total + reward, skips + skip_share, steps + 1
        return {
            "epoch": float(epoch),
            "steps": float(steps),
            "reward": total / steps,
            "baseline": self._baseline or 0.0,
            "best_reward": self._best_reward,
            "entropy": self._policy.entropy(),
            "skip_share": skips / steps,
        }

    def _policy_step(self) -> tuple[float, float]:
        """One update of the policy. Returns the mean reward and the share of skip connections in the samples."""
        settings = self._settings.policy
        draw = self._draw("policy", self._batches.epoch, self._batches.position)
        batch = self._batches.next_batch()
        samples = [self._policy.sample(draw) for _ in range(settings.architectures_per_step)]
        rewards = self._trainer.rewards(batch, [sample.architecture for sample in samples])
        advantages = self._advantages(rewards)
        self._policy.logits.grad = self._policy.gradient(
            samples, advantages, double_softmax=settings.legacy_double_softmax
        )
        self._adam.step()
        self._policy.changed()
        self._best_reward = max(self._best_reward, *rewards)
        skips = [self._policy.share_of("skip_connect", sample) for sample in samples]
        return sum(rewards) / len(rewards), sum(skips) / len(skips)

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        """How much better each reward is than expected; moves the baseline on."""
        settings, mean = self._settings.policy, sum(rewards) / len(rewards)
        before = mean if self._baseline is None else self._baseline
        self._baseline = settings.baseline_decay * before + (1 - settings.baseline_decay) * mean
        if len(rewards) > 1:  # leave-one-out: unbiased, and the noise of the common batch cancels
            return [len(rewards) / (len(rewards) - 1) * (reward - mean) for reward in rewards]
        return [rewards[0] - (self._baseline if settings.legacy_baseline else before)]

    def _proposals(self) -> Iterator[tuple[Architecture, str]]:
        """The arg-max of the policy, then samples from it without end."""
        yield self._policy.mode(), "arg-max"
        draw = self._draw("candidates")
        while True:
            yield self._policy.sample(draw).architecture, "policy"

    def _draw(self, *purpose: str | int) -> Random:
        return Random(derive_seed(self._context.seed, "ednas", *purpose))

    # -- the job -------------------------------------------------------------------------------------------------

    def _progress(self) -> float:
        """By steps; scoring the candidates counts as one epoch."""
        weights, policy = self._trainer.stream, self._batches
        parts = (stream.epoch + stream.position / stream.batches_per_epoch for stream in (weights, policy))
        share = weights.batches_per_epoch / (weights.batches_per_epoch + policy.batches_per_epoch)
        done = sum(part * scale for part, scale in zip(parts, (share, 1 - share), strict=True))
        return (done + self._ranking.share) / (self._settings.epochs + 1)

    @property
    def done(self) -> bool:
        """Whether all candidates are ranked."""
        return self._ranking.done

    def result(self) -> SearchResult:
        """The best candidate, and all of them."""
        return self._ranking.result()

    def state_dict(self) -> dict[str, Any]:
        """Everything: weights, logits, both optimisers, baseline, place in the data, scores."""
        return {
            "trainer": self._trainer.state_dict(),
            "policy": self._policy.state_dict(),
            "adam": self._adam.state_dict(),
            "baseline": self._baseline,
            "best_reward": self._best_reward,
            "batches": self._batches.state_dict(),
            "ranking": self._ranking.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._trainer.load_state_dict(state["trainer"])
        self._policy.load_state_dict(state["policy"])
        self._adam.load_state_dict(state["adam"])
        self._baseline = state["baseline"]
        self._best_reward = float(state["best_reward"])
        self._batches.load_state_dict(state["batches"])
        if state["ranking"]["started"]:
            self._ranking.start(self._proposals())
        self._ranking.load_state_dict(state["ranking"])


@METHODS.register("ednas")
class Ednas:
    """Efficient decoupled neural architecture search."""

    name: ClassVar[str] = "ednas"
    description: ClassVar[str] = "reinforcement learning of decoupled structure and operation policies, shared weights"
    settings_model: ClassVar[type[Settings]] = EdnasSettings
    requires: ClassVar[tuple[type, ...]] = (WeightSharing, Factorized)

    def stages(self) -> Sequence[SearchStage]:
        """One stage: the search."""
        return [SearchStage("search", lambda context, before: EdnasSearch(context))]
