"""DARTS and FairDARTS: differentiable search with one architecture tensor for normal and one for reduction cells.

DARTS (arXiv 1806.09055; docs/methods/darts.md#relaxation), each edge a softmax over its operations and `none`:

    for each batch of the training split, and a batch of the validation split
        alpha <- Adam along d L_val(w, alpha) / d alpha            first order
              or along the gradient that looks one step of w ahead second order (see `bilevel`)
        w     <- SGD along d L_train(w, alpha) / d w
    keep the strongest operation on the two strongest edges into each node

On recurrent cells the search of DARTS is that of `recurrent`, with settings of its own.

FairDARTS (arXiv 1911.12126; docs/methods/darts.md#fairdarts) makes the operations independent, so that skip
connections do not win by sharing: each has a sigmoid, and the zero-one loss drives them to a decision.

    alpha <- Adam along d [L_val(w, alpha) + weight * L01(alpha)] / d alpha,  L01 = -mean((sigmoid(alpha) - 1/2)^2)
    keep what reaches the threshold, at most two edges into each node
"""

from __future__ import annotations

from typing import cast

from pydantic import Field
from torch import Tensor

from archscout.jobs import Job
from archscout.methods.base import Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.differentiable.bilevel import Order, VirtualStep, bilevel_gradient
from archscout.methods.differentiable.recurrent import RecurrentDartsSearch, RecurrentDartsSettings
from archscout.methods.differentiable.relaxed import AlphaSettings, RelaxedSearch, RelaxedSettings
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Relaxed, RelaxedRecurrence, SearchSpace
from archscout.spaces.cells.discretization import DiscretizationRule
from archscout.tasks.batch import Batch
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = [
    "DartsSearch",
    "DartsSettings",
    "FairDartsSearch",
    "FairDartsSettings",
    "sigmoid_entropy",
    "zero_one_gradient",
]


class DartsSettings(RelaxedSettings):
    """Settings of DARTS; the defaults are the published CIFAR-10 search."""

    order: Order = Field(default="second", description="first, second (exact) or finite_difference (as published)")
    optimizer: SgdSettings = SgdSettings(lr=0.025, schedule=ScheduleSettings(lr_min=0.001))


class DartsSearch(RelaxedSearch):
    """The search; see the module's docstring."""

    def initial_alphas(self) -> Tensor:
        """A column for `none` before the operations."""
        return self.drawn_alphas()

    def mixing(self, alphas: Tensor) -> Tensor:
        """The softmax; `none` takes its share of the probability and contributes nothing."""
        return alphas.softmax(2)[..., 1:]

    def architecture_step(self, train: Batch, validation: Batch) -> None:
        """First or second order."""
        order = cast(DartsSettings, self.settings).order
        step = None if order == "first" else VirtualStep.of(self.stepper.optimizer, self.weights)
        found = bilevel_gradient(
            order, self.loss_of(train), self.loss_of(validation), self.weights, [self.alphas], step
        )
        self.update_alphas(found.gradients[0])


class FairDartsSettings(RelaxedSettings):
    """Settings of FairDARTS; the defaults are the published CIFAR-10 search."""

    batch_size: int = Field(default=128, ge=2, description="per process")
    optimizer: SgdSettings = SgdSettings(lr=0.005, schedule=ScheduleSettings(lr_min=0.001))
    alphas: AlphaSettings = AlphaSettings(lr=3e-3, betas=(0.9, 0.999))
    zero_one_weight: float = Field(default=10.0, ge=0)
    rule: DiscretizationRule = "sparse"


class FairDartsSearch(RelaxedSearch):
    """The search; see the module's docstring."""

    def mixing(self, alphas: Tensor) -> Tensor:
        """Independent sigmoids."""
        return alphas.sigmoid()

    def entropy(self, mixing: Tensor) -> float:
        """Of sigmoids."""
        return sigmoid_entropy(mixing)

    def architecture_step(self, train: Batch, validation: Batch) -> None:
        """First order, with the zero-one loss over all entries of both tensors."""
        weight = cast(FairDartsSettings, self.settings).zero_one_weight
        loss = self.loss_of(validation)
        found = bilevel_gradient("first", loss, loss, self.weights, [self.alphas])
        entries = self.alphas.numel()
        self.update_alphas(found.gradients[0] + weight * zero_one_gradient(self.alphas.detach(), entries))


def zero_one_gradient(alphas: Tensor, entries: int) -> Tensor:
    """The gradient of `-sum((p - 1/2)^2) / entries` with `p = sigmoid(alphas)`; docs/methods/ddarts.md#losses."""
    p = alphas.sigmoid()
    return -2 / entries * (p - 0.5) * p * (1 - p)


def sigmoid_entropy(mixing: Tensor) -> float:
    """Mean entropy of independent sigmoids in bits: 1 is undecided, 0 is decided."""
    p = mixing.double().clamp(1e-12, 1 - 1e-12)
    return float(-(p * p.log2() + (1 - p) * (1 - p).log2()).mean())


def _settings_for(space: type[SearchSpace]) -> type[Settings]:
    return RecurrentDartsSettings if issubclass(space, RelaxedRecurrence) else DartsSettings


def _search(context: SearchContext, before: Architecture | None) -> Job[SearchResult]:
    recurrent = isinstance(context.space, RelaxedRecurrence)
    return RecurrentDartsSearch(context) if recurrent else DartsSearch(context)


register_method(
    Method(
        name="darts",
        description="differentiable search with softmax mixing, first or second order",
        settings=DartsSettings,
        settings_for=_settings_for,
        requires=(Relaxed | RelaxedRecurrence,),
        stages=(SearchStage("search", _search),),
    )
)
register_method(
    Method(
        name="fairdarts",
        description="differentiable search with independent sigmoids and the zero-one loss",
        settings=FairDartsSettings,
        requires=(Relaxed,),
        stages=(SearchStage("search", lambda context, before: FairDartsSearch(context)),),
    )
)
