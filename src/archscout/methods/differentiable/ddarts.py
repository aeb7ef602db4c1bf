"""D-DARTS and DARTOpti: differentiable search with an architecture tensor of its own for each cell.

Source: Heuillet et al. (arXiv 2108.09306); docs/methods/ddarts.md#what-the-code-rests-on. D-DARTS:

    alpha_i <- 0 for each cell i; mixing weights are independent sigmoids
    for each batch of the training split, and a batch of the validation split
        L_i     = L_val + w01 * L01(alpha_i) + wAB * L_AB,i      the ablation loss of cell i is explained below
        alpha_i <- Adam along d L_i / d alpha_i                  all cells at once: one stacked tensor, one Adam
        w       <- SGD along d L_train / d w
    keep what reaches the threshold in each cell

The ablation loss compares the cells' marginal contributions M_i = L_val(all cells) - L_val(without cell i):
L_AB,i = -(M_i - mean M) / |mean M|. 'Without' means with random instead of learnt mixing weights. The published code
computes it from numbers that carry no gradient, so that it has no effect; here it is differentiated, an extension, or
left out with weight 0.

DARTOpti improves a handcrafted network: the tensors begin at 10 for the operations of a baseline and at 0 for the
others, cells that the baseline repeats share a tensor, some epochs of the weights come first, and the search ends early
when the distance between the baseline and the architecture as it stands no longer moves.

`legacy_gradients` reproduces the gradients of the published code, which never clears them between the losses: see
`_legacy_step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from archscout.errors import SpaceError
from archscout.jobs import State, Stored
from archscout.methods.base import Method, SearchContext, SearchStage, register_method
from archscout.methods.differentiable.darts import sigmoid_entropy, zero_one_gradient
from archscout.methods.differentiable.relaxed import AlphaSettings, RelaxedSearch, RelaxedSettings
from archscout.nn.untouched import untouched
from archscout.seeds import generator
from archscout.spaces.base import HasDistance, Relaxed
from archscout.spaces.cells.discretization import DiscretizationRule
from archscout.tasks.batch import Batch
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = ["DDartsSearch", "DDartsSettings", "DartoptiSearch", "DartoptiSettings"]

BASELINE_ALPHA = 10.0  # docs/methods/ddarts.md#handcrafted-baselines
SMALLEST_MEAN = 1e-6  # added to |mean M|, where the published formula divides by nearly nothing


class DDartsSettings(RelaxedSettings):
    """Settings of D-DARTS; the defaults are the published CIFAR search."""

    batch_size: int = Field(default=72, ge=2, description="per process")
    optimizer: SgdSettings = SgdSettings(lr=0.005, schedule=ScheduleSettings(lr_min=0.001))
    alphas: AlphaSettings = AlphaSettings(lr=3e-3, lr_min=1e-3, betas=(0.9, 0.999))
    zero_one_weight: float = Field(default=9.0, ge=0)
    ablation_weight: float = Field(default=0.7, ge=0, description="0 leaves the ablation loss out, and is much faster")
    ablation_every: int = Field(
        default=0, ge=0, description="with weight 0: log the contributions of the cells every so many steps; 0: never"
    )
    without: Literal["random", "nothing"] = Field(
        default="random", description="mixing weights of an ablated cell: uniform in [0, 1), as published, or zero"
    )
    rule: DiscretizationRule = "sparse"
    legacy_gradients: bool = Field(
        default=False, description="the published code's gradients, which are never cleared; its ablation loss is inert"
    )


class _Carried(Stored):
    """What goes from step to step: the gradients that the legacy mode keeps, and each cell's last contribution."""

    leftover: State[Tensor]
    step: State[int]
    contributions: State[list[float]]

    def __init__(self, leftover: Tensor) -> None:
        self.leftover, self.step, self.contributions = leftover, 0, []


class DDartsSearch(RelaxedSearch):
    """The search; see the module's docstring."""

    ddarts: State[_Carried]

    def __init__(self, context: SearchContext, *, warmup_epochs: int = 0) -> None:
        super().__init__(context, warmup_epochs=warmup_epochs)
        self._own = cast(DDartsSettings, context.settings)
        self.ddarts = _Carried(torch.zeros_like(self.alphas))

    def mixing(self, alphas: Tensor) -> Tensor:
        """Independent sigmoids."""
        return alphas.sigmoid()

    def entropy(self, mixing: Tensor) -> float:
        """Of sigmoids."""
        return sigmoid_entropy(mixing)

    # -- the algorithm -------------------------------------------------------------------------------------------

    def architecture_step(self, train: Batch, validation: Batch) -> None:
        """One Adam step of all tensors; the legacy mode leaves gradients in the weights for their step."""
        if self._own.legacy_gradients:
            self._legacy_step(validation)
        else:
            with untouched(self.network):
                self.update_alphas(self._gradient(validation) + self._zero_one())
        self.ddarts.step += 1

    def weight_step(self, train: Batch) -> tuple[Tensor, Tensor]:
        """One step of the weights. Returns outputs and loss."""
        return self._legacy_weight_step(train) if self._own.legacy_gradients else super().weight_step(train)

    def _zero_one(self) -> Tensor:
        """The gradient of every cell's own zero-one loss."""
        return self._own.zero_one_weight * zero_one_gradient(self.alphas.detach(), self.alphas[0].numel())

    def _gradient(self, batch: Batch) -> Tensor:
        """`d (L_val + wAB * L_AB,i) / d alpha_i` for every cell i, `(K, E, O)`."""
        own, alphas = self._own, self.alphas.detach().requires_grad_()
        ablates = own.ablation_weight > 0 and len(alphas) > 1
        mixing = self.mixing(alphas)
        inputs = self.context.engine.arrange(batch.inputs)
        with self.context.engine.autocast():
            states = self.mixed.states(inputs, mixing)
            loss = self.context.task.loss(self.mixed.head(states[-1][1]), batch.targets)
        (gradient,) = torch.autograd.grad(loss, alphas, retain_graph=ablates)
        if ablates:
            return gradient + own.ablation_weight * self._ablation(batch, alphas, mixing, states, loss, gradient)
        if own.ablation_every and self.ddarts.step % own.ablation_every == 0:
            with torch.no_grad():
                losses = [self._loss_without(owner, batch, mixing, states) for owner in range(len(alphas))]
            self.ddarts.contributions = (loss.detach() - torch.stack(losses)).tolist()
        return gradient

    def _ablation(
        self,
        batch: Batch,
        alphas: Tensor,
        mixing: Tensor,
        states: Sequence[tuple[Tensor, Tensor]],
        full: Tensor,
        full_gradient: Tensor,
    ) -> Tensor:
        """`d L_AB,i / d alpha_i` for every cell i.

        With `F` the loss of the whole network and `A_j` that without cell j, `M_j = F - A_j`, and with
        `D = |mean M| + eps`: `L_AB,i = -(M_i - mean M) / D = (A_i - mean A) / D`.
        """
        losses, rows = [], []
        for owner in range(len(alphas)):
            loss = self._loss_without(owner, batch, mixing, states)
            rows.append(torch.autograd.grad(loss, alphas, retain_graph=True)[0])
            losses.append(loss.detach())
        ablated, jacobian = torch.stack(losses), torch.stack(rows)  # (K,), (K, K, E, O)
        mean = full.detach() - ablated.mean()
        distance = mean.abs() + SMALLEST_MEAN
        everyone = torch.arange(len(alphas))
        own, of_mean = jacobian[everyone, everyone], jacobian.mean(0)
        scale = ((ablated - ablated.mean()) * mean.sign() / distance**2).view(-1, 1, 1)
        self.ddarts.contributions = (full.detach() - ablated).tolist()
        return (own - of_mean) / distance - scale * (full_gradient - of_mean)

    def _loss_without(
        self, owner: int, batch: Batch, mixing: Tensor, states: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """The loss of the network without one cell; what comes before that cell is taken from `states`."""
        if self._own.without == "nothing":
            instead = torch.zeros_like(mixing[owner])
        else:
            draw = generator(self.context.seed, "ablation", self.ddarts.step, owner)
            instead = torch.rand(mixing[owner].shape, generator=draw).to(mixing)
        with self.context.engine.autocast():
            outputs = self.mixed.without(owner, mixing, states, instead)
            return self.context.task.loss(outputs, batch.targets)

    # -- docs/methods/ddarts.md#gradients-of-the-published-program ----------------------------------------------------

    def _legacy_step(self, batch: Batch) -> None:
        """The architecture step as published: nothing is cleared between the K losses and the weights' step.

        With g the gradient of the validation loss, cell i (from 0) takes `(i + 1) g_i`, its zero-one gradient and what
        earlier steps left; `(K - 1 - i) g_i` stays for the next step, and K times the gradient in the weights.
        """
        count = len(self.alphas)
        self.stepper.optimizer.zero_grad(set_to_none=True)
        _, loss = self.evaluate_batch(batch, self.mixing(self.alphas))
        (count * loss).backward()  # type: ignore[no-untyped-call]
        gradient = cast(Tensor, self.alphas.grad) / count
        passes = torch.arange(1, count + 1, device=gradient.device).view(-1, 1, 1)
        self.update_alphas(passes * gradient + self._zero_one() + self.ddarts.leftover)
        self.ddarts.leftover = (count - passes) * gradient

    def _legacy_weight_step(self, train: Batch) -> tuple[Tensor, Tensor]:
        if self.warming_up:
            self.stepper.optimizer.zero_grad(set_to_none=True)
        outputs, loss = self.evaluate_batch(train, self.mixing(self.alphas))
        self.stepper.step(loss, self.weights, accumulate=True)
        self.ddarts.leftover = (
            self.ddarts.leftover + cast(Tensor, self.alphas.grad) + self._zero_one() / len(self.alphas)
        )
        self.alphas.grad = None
        return outputs.detach(), loss.detach()

    def epoch_ended(self) -> dict[str, float]:
        """The cells' marginal contributions to the loss, where they were computed; negative: the cell helps."""
        return {f"contribution_{cell}": value for cell, value in enumerate(self.ddarts.contributions)}


class DartoptiSettings(DDartsSettings):
    """Settings of DARTOpti; the defaults are the published CIFAR search, its 5 + 50 epochs taken together."""

    epochs: int = Field(default=55, ge=1, description="of the weights, warm-up included")
    warmup_epochs: int = Field(default=5, ge=0, description="first epochs in which only the weights learn")
    stop_distance: float | None = Field(
        default=1e-3, ge=0, description="end when the distance to the baseline moved less for so long; null: never"
    )
    stop_epochs: int = Field(default=5, ge=2, description="how many last distances are compared")


class DartoptiSearch(DDartsSearch):
    """The search; see the module's docstring."""

    distances: State[list[float]]

    def __init__(self, context: SearchContext) -> None:
        settings = cast(DartoptiSettings, context.settings)
        self._stop, self._stop_epochs = settings.stop_distance, settings.stop_epochs
        super().__init__(context, warmup_epochs=settings.warmup_epochs)
        self.distances = []
        start = cast(Tensor, self.relaxation.start)
        self._baseline = self.relaxation.discretize(start.double(), "complete", 0.5)

    def initial_alphas(self) -> Tensor:
        """10 for the baseline's operations, 0 for the others."""
        start = self.relaxation.start
        if start is None:
            raise SpaceError(
                "dartopti improves a network that exists: name it with --set baseline=NAME, where NAME is resnet18, "
                "resnet50, xception or a JSON file; see docs/methods/ddarts.md."
            )
        return BASELINE_ALPHA * start.float()

    def epoch_ended(self) -> dict[str, float]:
        """The distance to the baseline; ends the search where it stands still."""
        threshold = cast(RelaxedSettings, self.settings).threshold
        found = self.relaxation.discretize(self.mixing(self.alphas.detach()), "edge", threshold)
        distance = cast(HasDistance, self.context.space).distance(self._baseline, found)
        self.distances.append(distance)
        last = self.distances[self.warmup_epochs :][-self._stop_epochs :]
        still = self._stop is not None and all(abs(distance - other) <= self._stop for other in last)
        if still and len(last) == self._stop_epochs:
            self.end(
                f"the distance to the baseline has stood at {distance:.4f} for {len(last)} epochs: the search ends."
            )
        return {**super().epoch_ended(), "distance": distance}


register_method(
    Method(
        name="ddarts",
        description="differentiable search with one architecture for each cell",
        settings=DDartsSettings,
        requires=(Relaxed,),
        stages=(SearchStage("search", lambda context, before: DDartsSearch(context)),),
    ),
    formerly=("d-darts",),
)
register_method(
    Method(
        name="dartopti",
        description="differentiable improvement of a handcrafted network",
        settings=DartoptiSettings,
        requires=(Relaxed, HasDistance),
        stages=(SearchStage("search", lambda context, before: DartoptiSearch(context)),),
    )
)
