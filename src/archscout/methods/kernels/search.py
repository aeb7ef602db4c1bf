"""The search for kernel sizes and dilations, DASH's, in the network of any space.

    put an aggregated convolution, which holds all candidate kernels, in place of each convolution
    for each batch of a part of the data
        c     <- softmax(log softmax(alpha) + Gumbel noise), for all layers at once
        g_w, g_alpha <- gradients of the loss on this batch
        g_alpha <- g_alpha / (S |g_alpha|) + 1e-5 f, for each layer, with the fields f of the candidates
        clip both together, and step both
    until the strongest kernel of no layer has changed for some epochs

Weights and architecture parameters learn from the same batches (a single level). Source: DASH, arXiv 2204.07554;
docs/methods/dash.md#kernel-search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from archscout.engine import Stepper
from archscout.errors import DivergedError, SettingsError, SpaceError
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.nn.kernels.candidates import Candidates
from archscout.nn.kernels.choice import BackendSetting
from archscout.nn.kernels.layers import Kernel, odd_layers
from archscout.nn.kernels.mixture import KernelMixture, gumbel_mixing
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import KernelPatterned, without_auxiliary_head
from archscout.spaces.kernels.pattern import KernelPattern, with_kernels
from archscout.tasks.batch import Batch, BatchStream
from archscout.tasks.streams import chunks
from archscout.training.evaluation import StepMeter, pooled_metrics
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = ["KernelSearch", "KernelSearchSettings", "check_names", "transform_gradients"]

STEPS_PER_YIELD = 10  # some seconds on a CPU: how long a signal waits, and what a kill can lose at most
INITIAL_DEVIATION = 1e-3  # of the architecture parameters; docs/methods/dash.md#kernel-search
SIZE_PENALTY = 1e-5  # docs/methods/dash.md#kernel-search
DENSE_FIELD = 10  # times a kernel's size, on dense tasks, instead of its field; docs/methods/dash.md#kernel-search
SHOWN = 6  # layers in a message
SCHEDULE = ScheduleSettings(kind="steps", milestones=(61, 121, 161), factors=(0.2, 0.04, 0.008))


class KernelSearchSettings(Settings):
    """Settings of the kernel search; the defaults are the published ones for classifying images."""

    epochs: int = Field(default=100, ge=1)
    fraction: float = Field(default=0.2, gt=0, le=1, description="of the batches in an epoch, drawn anew for each")
    patience: int = Field(default=25, ge=1, description="epochs without a change of the pattern that end the search")
    batch_size: int = Field(default=16, ge=2, description="per process")
    split: Literal["development", "train"] = Field(
        default="development", description="train: leaves validation out, and reports it after every epoch"
    )
    kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)
    dilations: tuple[int, ...] = (1, 3, 7, 15)
    grad_scale: float = Field(default=100.0, gt=0, description="S; larger values let the size penalty decide")
    alpha_lr: float = Field(default=0.05, gt=0, description="of the architecture parameters; scheduled as optimizer.lr")
    optimizer: SgdSettings = SgdSettings(lr=0.1, nesterov=True, weight_decay=5e-4, clip=1.0, schedule=SCHEDULE)
    depthwise: bool | None = Field(
        default=None,
        description="search convolutions with as many outputs as inputs as depthwise ones; null: as published, but "
        "the groups of a model of your own stay",
    )
    live_kernels: bool = Field(
        default=True, description="leave out taps of the chosen kernels that can never touch data of this size"
    )
    backend: BackendSetting = Field(
        default="auto", description="of the aggregated convolutions; auto: a rule on a CPU, measured elsewhere"
    )

    @field_validator("kernel_sizes", "dilations")
    @classmethod
    def _check_candidates(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or min(values) < 1 or len(set(values)) != len(values):
            raise ValueError("at least one number from 1 on, each once")
        return values

    @field_validator("kernel_sizes")
    @classmethod
    def _check_odd(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(size % 2 == 0 for size in values):
            raise ValueError("sizes must be odd, so that a kernel has a centre")
        return values

    def fields(self, *, dense: bool) -> Tensor:
        """What the penalty counts for each candidate, `(M,)`."""
        kernels = Candidates.of(self.kernel_sizes, self.dilations, 1).kernels
        return torch.tensor(
            [DENSE_FIELD * size if dense else dilation * (size - 1) + 1 for size, dilation in kernels],
            dtype=torch.float32,
        )


def transform_gradients(gradient: Tensor, grad_scale: float, fields: Tensor) -> Tensor:
    """The gradients `(L, M)` of the architecture parameters, each layer's of norm 1 / grad_scale, plus the penalty."""
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return gradient / (grad_scale * (norms + 1e-8)) + SIZE_PENALTY * fields


def check_names(network: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """The convolutions that stay because they are more than their kernel, and why.

    Raises:
        SpaceError: there is no convolution to search.
    """
    odd = odd_layers(network)
    if not names:
        raise SpaceError(
            "the network has no convolution whose kernel can be searched: plain ones with kernels above 1, odd sizes "
            "and a padding that keeps the input's size can, unless they are to be kept."
            + (f" Layers that are more than that stay as they are: {_told(odd)}." if odd else "")
        )
    return odd


def _told(reasons: Mapping[str, str]) -> str:
    shown = [f"'{name}' {reason}" for name, reason in list(reasons.items())[:SHOWN]]
    return "; ".join(shown) + (f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else "")


class _Layers:
    """How the convolutions are computed, which a measurement may have chosen, as state."""

    def __init__(self, network: KernelMixture) -> None:
        self.state_dict = network.choices
        self.load_state_dict = network.load_choices


class KernelSearch(Job[SearchResult]):
    """The search; see the module's docstring.

    Args:
        context: of the search; its `supernet_size` is that of the network that is searched.
        base: the architecture whose kernels are searched; None asks the space. Of a pattern its base is taken.
        settings: None takes the context's.

    Raises:
        SpaceError: the network has no convolution that takes another kernel.
    """

    network: State[KernelMixture]
    alphas: State[nn.Parameter]
    stepper: State[Stepper]
    stream: State[BatchStream]
    layers: State[_Layers]
    pattern: State[list[int]]  # the strongest kernel of each layer at the end of the last epoch
    unchanged: State[int]
    score: State[float | None]

    def __init__(
        self, context: SearchContext, base: Architecture | None = None, settings: KernelSearchSettings | None = None
    ) -> None:
        self.context, engine = context, context.engine
        self.settings = settings or cast(KernelSearchSettings, context.settings)
        space = cast(KernelPatterned, context.space)
        found = space.kernel_base(context.task.spec) if base is None else base
        self.base: Architecture = found.base if isinstance(found, KernelPattern) else found
        with engine.seeded(context.seed, "supernet"):
            self.network = engine.place(self._mixture(space))
        self.alphas = self._initial_alphas()
        self.fields = self.settings.fields(dense=context.task.spec.kind == "dense").to(engine.device)
        self.weights = list(self.network.parameters())
        sgd, rate = self.settings.optimizer, self.settings.alpha_lr
        groups: list[dict[str, Any]] = [{"params": self.weights}, {"params": [self.alphas], "lr": rate}]
        self.stepper = Stepper(engine, sgd.create(groups), sgd.clip)
        self.stream = self._stream()
        batches = self.stream.batches_per_epoch
        self.steps_per_epoch = min(batches, math.floor(self.settings.fraction * batches) + 1)
        self.layers = _Layers(self.network)
        self.pattern, self.unchanged = [], 0
        self.score = None

    def _mixture(self, space: KernelPatterned) -> KernelMixture:
        settings, size = self.settings, self.context.supernet_size
        network = space.build(self.base, self.context.task.spec, without_auxiliary_head(size))
        names = space.kernel_layers(network)
        self.kept = check_names(network, names)
        if self.kept:
            self.say(f"these layers stay as they are, their kernels are not searched: {_told(self.kept)}.")
        self._check_sizes(space, len(names))
        return KernelMixture(
            network,
            names,
            sizes=settings.kernel_sizes,
            dilations=settings.dilations,
            depthwise=space.searched_depthwise if settings.depthwise is None else settings.depthwise,
            backend=settings.backend,
        )

    def _check_sizes(self, space: KernelPatterned, count: int) -> None:
        """Raise SettingsError, before anything is learned, if the pattern would not fit the final network."""
        with torch.device("meta"):
            final = space.build(self.base, self.context.task.spec, self.context.network_size)
        wanted = len(space.kernel_layers(final))
        if wanted != count:
            raise SettingsError(
                f"the network that is searched has {count} convolutions that take a kernel, the final one {wanted}. "
                "Give both the same depth: the sections supernet and network may differ in width only."
            )

    def _initial_alphas(self) -> nn.Parameter:
        shape = (len(self.network.names), len(self.network.kernels))
        start = INITIAL_DEVIATION * torch.randn(shape, generator=generator(self.context.seed, "alphas"))
        return nn.Parameter(start.to(self.context.engine.device))

    def _stream(self) -> BatchStream:
        context, engine = self.context, self.context.engine
        return BatchStream(
            context.task,
            context.task.split(self.settings.split),
            self.settings.batch_size,
            engine.device,
            derive_seed(context.seed, "kernels"),
            drop_last=True,
            rank=engine.rank,
            world_size=engine.world_size,
        )

    # -- the search ----------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Metrics]:
        """Steps of weights and architecture together, until the epochs are over or the pattern stays."""
        while self.stream.epoch < self.settings.epochs and not self.settled:
            epoch = self.stream.epoch
            self._set_rates(epoch)
            self.network.train()
            for batches in chunks(self.stream, STEPS_PER_YIELD, self.steps_per_epoch):
                meter = StepMeter(self.context.task, self.context.engine)
                for batch in batches:
                    meter.add(*self._step(batch))
                self.context.engine.average_buffers(self.network)
                metrics = {"epoch": float(epoch), **meter.compute(), **self._signals()}
                if self.stream.epoch != epoch:
                    metrics |= self._end_epoch(metrics[self.context.task.metric.name])
                yield metrics

    @property
    def settled(self) -> bool:
        """Whether the pattern has stayed for so long that the search ends."""
        return self.unchanged >= self.settings.patience

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        part = self.stream.position / self.steps_per_epoch
        yield (self.settings.epochs if self.settled else self.stream.epoch + part), self.settings.epochs

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        engine, settings = self.context.engine, self.settings
        step = (self.stream.epoch, self.stream.position)  # the noise is the same in all processes
        mixing = gumbel_mixing(self.alphas, generator(self.context.seed, "noise", *step))
        with engine.seeded(self.context.seed, "step", *step), engine.autocast():
            outputs = self.network(engine.arrange(batch.inputs), mixing)
            loss = self.context.task.loss(outputs, batch.targets)

        def transform() -> None:
            gradient = cast(Tensor, self.alphas.grad)
            self.alphas.grad = transform_gradients(gradient, settings.grad_scale, self.fields)

        self.stepper.step(loss, [*self.weights, self.alphas], before_clip=transform)
        return outputs.detach(), batch.targets, loss.detach()

    def _set_rates(self, epoch: int) -> None:
        sgd, world_size = self.settings.optimizer, self.context.engine.world_size
        rate = sgd.schedule.rate(sgd.lr, epoch, self.settings.epochs, world_size)
        self.stepper.set_rate(rate)
        self.stepper.optimizer.param_groups[1]["lr"] = self.settings.alpha_lr * rate / sgd.lr

    def _end_epoch(self, value: float) -> dict[str, float]:
        """Compare the pattern with that of the epoch before; judge on the validation split, if it is held out."""
        pattern = self.alphas.detach().argmax(1).tolist()
        changes = sum(a != b for a, b in zip(pattern, self.pattern, strict=True)) if self.pattern else len(pattern)
        self.unchanged = 0 if changes else self.unchanged + 1
        self.pattern = pattern
        if self.settled and self.stream.epoch < self.settings.epochs:
            self.say(
                f"the pattern has not changed for {self.unchanged} epochs: the search ends after epoch "
                f"{self.stream.epoch} of {self.settings.epochs}."
            )
        task = self.context.task
        found = {"changed_kernels": float(changes)}
        if self.settings.split == "train":
            values = self._evaluate()
            found |= {f"validation_{name}": number for name, number in values.items()}
            value = values[task.metric.name]
        score = task.metric.score(value)
        self.score = score if math.isfinite(score) else None
        return found

    def _evaluate(self) -> dict[str, float]:
        """The mixture on the validation split, without noise."""
        context, mixing = self.context, gumbel_mixing(self.alphas.detach(), None)
        self.network.eval()
        return pooled_metrics(
            lambda inputs: self.network(inputs, mixing),
            context.task,
            context.task.validation,
            context.engine,
            self.settings.batch_size,
        )

    def _signals(self) -> dict[str, float]:
        """Entropy of the mixing weights as a share of its maximum, and the mean field of the strongest kernels."""
        alphas = self.alphas.detach()
        if not bool(torch.isfinite(alphas).all()):
            raise DivergedError(
                "an architecture parameter is not finite any more; nothing can be derived from it. The last "
                "checkpoint is from before. Lower search.alpha_lr or search.optimizer.lr, and start again."
            )
        weights = alphas.double().softmax(1)
        entropy = -(weights * weights.clamp_min(1e-12).log()).sum(1) / math.log(max(2, weights.shape[1]))
        kernels = [self.network.kernels[index] for index in alphas.argmax(1).tolist()]
        fields = [dilation * (size - 1) + 1 for size, dilation in kernels]
        return {"entropy": float(entropy.mean()), "mean_field": sum(fields) / len(fields)}

    def architecture(self) -> KernelPattern:
        """The base with the strongest kernel in each convolution."""
        return with_kernels(self.base, self._kernels(live=self.settings.live_kernels))

    def _kernels(self, *, live: bool) -> Sequence[Kernel]:
        found = [self.network.kernels[index] for index in self.alphas.detach().argmax(1).tolist()]
        return [self.network.live_kernel(position, kernel) for position, kernel in enumerate(found)] if live else found

    def result(self) -> SearchResult:
        """The pattern; its score is the mixture's, on what it was trained on unless validation was held out."""
        found, score = self.architecture(), float("nan") if self.score is None else self.score
        facts = {
            "convolutions": list(self.network.names),
            **({"kept": self.kept} if self.kept else {}),
            "kernels": [list(kernel) for kernel in found.kernels],
            "chosen": [list(kernel) for kernel in self._kernels(live=False)],
            "epochs": self.stream.epoch,
        }
        return SearchResult(found, [Candidate(found, score, "kernel mixture")], facts=facts)
