"""What differentiable methods share: a supernet of mixed edges, its weights, and architecture tensors beside them.

A method adds how the tensors become mixing weights and what an architecture step does; see `darts` and `ddarts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor

from archscout.engine import Stepper
from archscout.errors import DivergedError, SettingsError
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.differentiable.bilevel import Functional
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import MixtureNetwork, Relaxed
from archscout.spaces.cells.discretization import DiscretizationRule
from archscout.tasks.batch import Batch, BatchStream
from archscout.tasks.streams import chunks
from archscout.training.evaluation import StepMeter, pooled_metrics
from archscout.training.optimizers import SgdSettings

__all__ = ["STEPS_PER_YIELD", "AlphaSettings", "MixtureSettings", "RelaxedSearch", "RelaxedSettings"]

STEPS_PER_YIELD = 10  # some seconds on a CPU: how long a signal waits, and what a kill can lose at most
INITIAL_DEVIATION = 1e-3  # of drawn tensors; docs/methods/darts.md#relaxation, docs/methods/pdarts.md
COLLAPSE = 0.5  # share of skip connections from which on a search is said to collapse


class AlphaSettings(Settings):
    """Adam for the architecture tensors."""

    lr: float = Field(default=3e-4, gt=0)
    lr_min: float | None = Field(default=None, ge=0, description="end of a cosine over the epochs; null: constant")
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(default=1e-3, ge=0, description="L2, as Adam couples it")
    clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient; null clips nothing")

    def create(self, alphas: Sequence[Tensor]) -> torch.optim.Adam:
        """The optimiser."""
        return torch.optim.Adam(alphas, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)

    def rate(self, share: float) -> float:
        """The learning rate when so large a share of the epochs is over."""
        if self.lr_min is None:
            return self.lr
        return self.lr_min + 0.5 * (self.lr - self.lr_min) * (1 + math.cos(math.pi * share))


class MixtureSettings(Settings):
    """Settings of everything that trains a supernet of mixed edges."""

    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=64, ge=2, description="per process, of both the weights' and the tensors' steps")
    validation_fraction: float | None = Field(
        default=0.5, gt=0, lt=1, description="of the development data, from its tail; null keeps the task's own split"
    )
    optimizer: SgdSettings = SgdSettings()
    alphas: AlphaSettings = AlphaSettings()


class RelaxedSettings(MixtureSettings):
    """Settings of the differentiable searches that keep all operations to the end."""

    rule: DiscretizationRule = Field(default="two_edges", description="how the tensors become an architecture")
    threshold: float = Field(default=0.85, ge=0, le=1, description="of a mixing weight; not for two_edges")


class RelaxedSearch(Job[SearchResult]):
    """A differentiable search; a method overrides `mixing` and `architecture_step`.

    Args:
        warmup_epochs: first epochs in which only the weights learn.
    """

    network: State[torch.nn.Module]
    stepper: State[Stepper]
    alphas: State[Tensor]
    adam: State[torch.optim.Adam]
    stream: State[BatchStream]
    held_out: State[BatchStream]
    score: State[float | None]  # of the supernet on the validation split; higher is better
    ended: State[bool]
    collapse_told: State[bool]

    def __init__(self, context: SearchContext, *, warmup_epochs: int = 0) -> None:
        if context.engine.precision == "float16":
            raise SettingsError(
                "precision = 'float16' is not for differentiable search: the gradients of the architecture tensors are "
                "too small for it. Choose bfloat16 or float32."
            )
        self.context, self.warmup_epochs = context, warmup_epochs
        self.settings = cast(MixtureSettings, context.settings)
        engine = context.engine
        self.relaxation = cast(Relaxed, context.space).relaxation(context.task.spec, context.supernet_size)
        with engine.seeded(context.seed, "supernet"):
            self.network = engine.place(self.make_supernet())
        self.mixed = cast(MixtureNetwork, self.network)
        self.functional = Functional(self.network)
        self.weights = self.functional.weights
        sgd = self.settings.optimizer
        self.stepper = Stepper(engine, sgd.create(self.weights), sgd.clip)
        self.alphas = self.initial_alphas().to(engine.device).requires_grad_()
        self.adam = self.settings.alphas.create([self.alphas])
        self.stream = self._stream(context.task.train, "weights")
        self.held_out = self._stream(context.task.validation, "architecture")
        self.warming_up = False  # whether the step at hand is the weights' alone
        self.score = None
        self.ended = self.collapse_told = False

    def _stream(self, split: Any, purpose: str) -> BatchStream:
        engine, seed = self.context.engine, derive_seed(self.context.seed, "relaxed", purpose)
        return BatchStream(
            self.context.task,
            split,
            self.settings.batch_size,
            engine.device,
            seed,
            drop_last=True,
            rank=engine.rank,
            world_size=engine.world_size,
        )

    # -- what a method decides -----------------------------------------------------------------------------------

    def make_supernet(self) -> torch.nn.Module:
        """A fresh network; called once, when the relaxation is there."""
        return self.relaxation.supernet()

    def initial_alphas(self) -> Tensor:
        """`(K, E, O)` or wider, on the CPU."""
        return torch.zeros(self.relaxation.shape)

    def drawn_alphas(self) -> Tensor:
        """Small random numbers `(K, E, 1 + O)`, with a column for `none` first: where DARTS and P-DARTS start."""
        tensors, edges, operations = self.relaxation.shape
        draw = generator(self.context.seed, "alphas")
        return INITIAL_DEVIATION * torch.randn(tensors, edges, operations + 1, generator=draw)

    def mixing(self, alphas: Tensor) -> Tensor:
        """The mixing weights `(K, E, O)` of architecture tensors."""
        raise NotImplementedError

    def architecture_step(self, train: Batch, validation: Batch) -> None:
        """One step of the architecture tensors; `train` is the batch of the weight step that follows."""
        raise NotImplementedError

    def weight_step(self, train: Batch) -> tuple[Tensor, Tensor]:
        """One step of the weights. Returns outputs and loss, on the device."""
        outputs, loss = self.evaluate_batch(train, self.mixing(self.alphas.detach()))
        self.stepper.step(loss, self.weights)
        return outputs.detach(), loss.detach()

    def epoch_ended(self) -> dict[str, float]:
        """What a method does between epochs; may set the search to an end with `end`. Returns metrics."""
        return {}

    # -- the search ----------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Metrics]:
        """Batch by batch a step of the tensors, then one of the weights; each epoch ends with a validation."""
        while not self.ended and self.stream.epoch < self.settings.epochs:
            epoch = self.stream.epoch
            self.begin_epoch(epoch)
            for batches in chunks(self.stream, STEPS_PER_YIELD):
                meter = StepMeter(self.context.task, self.context.engine)
                for train in batches:
                    if not self.warming_up:
                        self.architecture_step(train, self.held_out.next_batch())
                    outputs, loss = self.weight_step(train)
                    meter.add(outputs, train.targets, loss)
                self.context.engine.average_buffers(self.network)
                metrics = {"epoch": float(epoch), **meter.compute(), **self._signals()}
                if self.stream.epoch != epoch:
                    metrics |= self._evaluate() | self.epoch_ended()
                yield metrics

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        yield (self.settings.epochs if self.ended else self.stream.passed), self.settings.epochs

    def result(self) -> SearchResult:
        """The architecture of the tensors; its score is the supernet's, with mixed edges."""
        found = self.architecture()
        return SearchResult(found, [Candidate(found, self.judged, "mixed supernet")])

    @property
    def judged(self) -> float:
        """The score; not a number before the first epoch has ended."""
        return float("nan") if self.score is None else self.score

    def begin_epoch(self, epoch: int) -> None:
        """What holds for an epoch: its learning rates, and whether the weights learn alone."""
        self.network.train()
        self.warming_up = epoch < self.warmup_epochs
        self.set_rates(epoch)

    def set_rates(self, epoch: int) -> None:
        """The learning rates of an epoch."""
        settings, world_size = self.settings, self.context.engine.world_size
        sgd, adam = settings.optimizer, settings.alphas
        self.stepper.set_rate(sgd.schedule.rate(sgd.lr, epoch, settings.epochs, world_size))
        done = max(0, epoch - self.warmup_epochs) / max(1, settings.epochs - self.warmup_epochs)
        self.adam.param_groups[0]["lr"] = adam.rate(done)

    def evaluate_batch(
        self, batch: Batch, mixing: Tensor, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs and loss of the supernet; with weights of its own the network's buffers stay as they are."""
        engine = self.context.engine
        inputs = engine.arrange(batch.inputs)
        with engine.autocast():
            outputs = self.mixed(inputs, mixing) if weights is None else self.functional(weights, inputs, mixing)
            return outputs, self.context.task.loss(outputs, batch.targets)

    def loss_of(self, batch: Batch) -> Any:
        """The loss on a batch as a function of weights and architecture tensors; see `bilevel.LossFunction`."""
        return lambda weights, alphas: self.evaluate_batch(batch, self.mixing(alphas[0]), weights)[1]

    def update_alphas(self, gradient: Tensor) -> None:
        """One Adam step along a gradient of the shape of the tensors."""
        self.alphas.grad = gradient.to(self.alphas.dtype)
        self.context.engine.average_gradients([cast(torch.nn.Parameter, self.alphas)])
        if self.settings.alphas.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.alphas, self.settings.alphas.clip)
        self.adam.step()
        self.alphas.grad = None

    def end(self, why: str) -> None:
        """End the search after this epoch."""
        self.ended = True
        self.say(why)

    # -- signals -------------------------------------------------------------------------------------------------

    def _signals(self) -> dict[str, float]:
        """Entropy of the mixing weights and the share of skip connections in the architecture as it stands."""
        if not bool(torch.isfinite(self.alphas).all()):
            raise DivergedError(
                "an architecture tensor is not finite any more; nothing can be derived from it. The last checkpoint is "
                "from before. Lower search.alphas.lr or search.optimizer.lr, and start again."
            )
        mixing = self.mixing(self.alphas.detach())
        columns = self.relaxation.operations
        skips = mixing.argmax(2) == columns.index("skip_connect") if "skip_connect" in columns else mixing.new_zeros(1)
        share = float(skips.double().mean())
        if share >= COLLAPSE and not self.collapse_told:
            self.collapse_told = True
            self.say(
                f"warning: skip connections are the strongest operation on {share:.0%} of all edges; the search may be "
                "collapsing. Fewer epochs, or a smaller search.alphas.lr, usually help."
            )
        return {"entropy": self.entropy(mixing), "skip_share": share}

    def entropy(self, mixing: Tensor) -> float:
        """Mean over the edges of the entropy of softmax weights, as a share of its maximum."""
        logs = torch.log(mixing.double().clamp_min(1e-12))
        return float((-(mixing * logs).sum(2) / math.log(max(2, mixing.shape[2]))).mean())

    def _evaluate(self) -> dict[str, float]:
        """The supernet on the validation split, with running statistics."""
        task, mixing = self.context.task, self.mixing(self.alphas.detach())
        self.network.eval()
        values = pooled_metrics(
            lambda inputs: self.mixed(inputs, mixing),
            task,
            task.validation,
            self.context.engine,
            self.settings.batch_size,
        )
        score = task.metric.score(values[task.metric.name])
        self.score = score if math.isfinite(score) else None
        return {f"validation_{name}": value for name, value in values.items()}

    def architecture(self) -> Architecture:
        """The architecture as it stands."""
        settings = cast(RelaxedSettings, self.settings)
        found: Architecture = self.relaxation.discretize(
            self.mixing(self.alphas.detach()), settings.rule, settings.threshold
        )
        return found
