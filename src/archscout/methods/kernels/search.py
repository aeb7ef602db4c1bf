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
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from archscout.engine import Stepper
from archscout.errors import DivergedError, SettingsError, SpaceError
from archscout.methods.base import Candidate, SearchContext, SearchResult
from archscout.methods.kernels.settings import KernelSearchSettings
from archscout.nn.kernels.layers import Kernel
from archscout.nn.kernels.mixture import KernelMixture, gumbel_mixing
from archscout.seeds import derive_seed, generator
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import KernelPatterned
from archscout.spaces.kernels.pattern import KernelPattern, with_kernels
from archscout.tasks.batch import BatchStream
from archscout.training.evaluation import pooled_metrics

__all__ = ["KernelSearch", "KernelSearchSettings", "transform_gradients"]

STEPS_PER_ADVANCE = 10  # some seconds on a CPU: how long a signal waits, and what a kill can lose at most
INITIAL_DEVIATION = 1e-3  # of the architecture parameters; docs/methods/dash.md#kernel-search
SIZE_PENALTY = 1e-5  # docs/methods/dash.md#kernel-search


def transform_gradients(gradient: Tensor, grad_scale: float, fields: Tensor) -> Tensor:
    """The gradients `(L, M)` of the architecture parameters, each layer's of norm 1 / grad_scale, plus the penalty."""
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return gradient / (grad_scale * (norms + 1e-8)) + SIZE_PENALTY * fields


class KernelSearch:
    """The search as a job; see the module's docstring.

    Args:
        context: of the search; its `supernet_size` is that of the network that is searched.
        base: the architecture whose kernels are searched; None asks the space. Of a pattern its base is taken.
        settings: None takes the context's.

    Raises:
        SpaceError: the network has no convolution that takes another kernel.
    """

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
        self._pattern: tuple[int, ...] = ()
        self._unchanged = 0
        self._score = float("nan")
        self._notices: list[str] = []

    def _mixture(self, space: KernelPatterned) -> KernelMixture:
        settings, size = self.settings, self.context.supernet_size
        if "auxiliary" in type(size).model_fields:
            size = size.model_copy(update={"auxiliary": False})
        network = space.build(self.base, self.context.task.spec, size)
        names = space.kernel_layers(network)
        if not names:
            raise SpaceError(
                "the network has no convolution whose kernel can be searched: those with kernels above 1, odd sizes "
                "and a padding that keeps the input's size can."
            )
        self._check_sizes(space, len(names))
        depthwise = settings.depthwise
        if depthwise is None:
            depthwise = getattr(space, "searched_depthwise", True)
        return KernelMixture(
            network,
            names,
            sizes=settings.kernel_sizes,
            dilations=settings.dilations,
            depthwise=depthwise,
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

    def advance(self) -> dict[str, float]:
        """Some steps, at most to the end of the epoch."""
        engine, metric = self.context.engine, self.context.task.metric
        epoch, steps = self.stream.epoch, 0
        self._set_rates(epoch)
        self.network.train()
        accumulator = metric.create().to(engine.device)
        losses: list[Tensor] = []
        ended = False
        while len(losses) < STEPS_PER_ADVANCE and not ended:
            outputs, targets, loss = self._step()
            accumulator.update(outputs.float(), targets)
            losses.append(loss)
            steps += 1
            ended = self.stream.epoch > epoch or self.stream.position >= self.steps_per_epoch
        engine.average_buffers(self.network)
        value = engine.average(float(accumulator.compute()))
        metrics = {
            "epoch": float(epoch),
            "steps": float(steps),
            "loss": engine.average(float(torch.stack(losses).mean())),
            metric.name: value,
            **self._signals(),
        }
        if ended:
            if self.stream.epoch == epoch:
                self.stream.skip_epoch()
            metrics |= self._end_epoch(value)
        return {"progress": self._progress(), **metrics}

    def _step(self) -> tuple[Tensor, Tensor, Tensor]:
        engine, settings = self.context.engine, self.settings
        batch = self.stream.next_batch()
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
        pattern = tuple(self.alphas.detach().argmax(1).tolist())
        changes = sum(a != b for a, b in zip(pattern, self._pattern, strict=True)) if self._pattern else len(pattern)
        self._unchanged = 0 if changes else self._unchanged + 1
        self._pattern = pattern
        if self._unchanged >= self.settings.patience and self.stream.epoch < self.settings.epochs:
            self._notices.append(
                f"the pattern has not changed for {self._unchanged} epochs: the search ends after epoch "
                f"{self.stream.epoch} of {self.settings.epochs}."
            )
        task = self.context.task
        found = {"changed_kernels": float(changes)}
        if self.settings.split == "train":
            values = self._evaluate()
            found |= {f"validation_{name}": number for name, number in values.items()}
            value = values[task.metric.name]
        self._score = task.metric.score(value)
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

    # -- the job -------------------------------------------------------------------------------------------------

    def architecture(self) -> KernelPattern:
        """The base with the strongest kernel in each convolution."""
        return with_kernels(self.base, self._kernels(live=self.settings.live_kernels))

    def _kernels(self, *, live: bool) -> Sequence[Kernel]:
        found = [self.network.kernels[index] for index in self.alphas.detach().argmax(1).tolist()]
        return [self.network.live_kernel(position, kernel) for position, kernel in enumerate(found)] if live else found

    def notices(self) -> list[str]:
        """What a user should hear of, once."""
        said, self._notices = self._notices, []
        return said

    def _progress(self) -> float:
        if self.done:
            return 1.0
        return (self.stream.epoch + self.stream.position / self.steps_per_epoch) / self.settings.epochs

    @property
    def done(self) -> bool:
        """Whether all epochs are over, or the pattern stays."""
        return self.stream.epoch >= self.settings.epochs or self._unchanged >= self.settings.patience

    def result(self) -> SearchResult:
        """The pattern; its score is the mixture's, on what it was trained on unless validation was held out."""
        found = self.architecture()
        facts = {
            "convolutions": list(self.network.names),
            "kernels": [list(kernel) for kernel in found.kernels],
            "chosen": [list(kernel) for kernel in self._kernels(live=False)],
            "epochs": self.stream.epoch,
        }
        return SearchResult(found, [Candidate(found, self._score, "kernel mixture")], facts=facts)

    def state_dict(self) -> dict[str, Any]:
        """Weights, parameters, optimiser, place in the data, and how the convolutions are computed."""
        return {
            "network": self.network.state_dict(),
            "alphas": self.alphas,
            "stepper": self.stepper.state_dict(),
            "stream": self.stream.state_dict(),
            "layers": self.network.choices(),
            "pattern": list(self._pattern),
            "unchanged": self._unchanged,
            "score": self._score if math.isfinite(self._score) else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.network.load_state_dict(state["network"])
        with torch.no_grad():
            self.alphas.copy_(state["alphas"])
        self.stepper.load_state_dict(state["stepper"])
        self.stream.load_state_dict(state["stream"])
        self.network.load_choices(state["layers"])
        self._pattern = tuple(state["pattern"])
        self._unchanged = int(state["unchanged"])
        self._score = float("nan") if state["score"] is None else float(state["score"])
