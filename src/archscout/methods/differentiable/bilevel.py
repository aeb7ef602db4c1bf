"""The bilevel gradient of DARTS: how the architecture parameters change the validation loss.

Source: arXiv 1806.09055; docs/methods/darts.md#second-order.

For every `alpha` there are weights `w` that minimise the training loss; wanted is the `alpha` whose weights have the
lowest validation loss. First order takes the weights as they are:

    g = d L_val(w, alpha) / d alpha

Second order looks one step of the weights ahead, and counts how that step depends on `alpha`:

    w' = w - rate * (momentum * v + dL_train(w, alpha)/dw + weight_decay * w)
    d  = dL_val(w', alpha)/dw'
    g  = dL_val(w', alpha)/dalpha - rate * (d^2 L_train(w, alpha) / dalpha dw) d

The mixed derivative in the last line is computed exactly, by differentiating the inner product of the training gradient
with `d` once more: the training loss is evaluated once, and its dropout masks and batch statistics are the same for
`w'` and for the derivative. The published codes take a finite difference of two further passes instead; that is an
option here, too.

Losses are functions `(weights, alphas) -> scalar` without side effects; `Functional` makes one of a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archscout.errors import SettingsError

__all__ = [
    "BilevelGradient",
    "Functional",
    "LossFunction",
    "Order",
    "VirtualStep",
    "bilevel_gradient",
    "finite_difference",
    "mixed_derivative",
]

Order = Literal["first", "second", "finite_difference"]
"""`second` has the exact mixed derivative, `finite_difference` the published codes' approximation of it."""

LossFunction = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""`(weights, alphas) -> scalar`. Each call must give the same value for the same arguments: the same batch, the same
dropout masks (seed the generator inside)."""

RADIUS = 0.01  # of the finite difference: both points lie so far from the weights; docs/methods/darts.md#second-order


class Functional:
    """A module as a function of its weights.

    What a call does to buffers (the running statistics of batch norm) happens to copies: passes at other weights than
    the module's own, and passes on validation data, leave the module as it was.

    Attributes:
        weights: the module's parameters that want gradients, in a fixed order.
    """

    def __init__(self, module: nn.Module) -> None:
        named = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self._module, self._names = module, tuple(named)
        self.weights: tuple[nn.Parameter, ...] = tuple(named.values())

    def __call__(self, weights: Sequence[Tensor], *args: Any, **options: Any) -> Any:
        """The module's output for these weights; further arguments go to its `forward`."""
        buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        return functional_call(self._module, {**dict(zip(self._names, weights, strict=True)), **buffers}, args, options)


@dataclass(frozen=True)
class VirtualStep:
    """The step of the weights that second order looks ahead.

    Attributes:
        rate: learning rate of the step.
        momentum, weight_decay: of the optimiser.
        velocity: its momentum buffers, one for each weight; empty: zeros.
        clip: largest global L2 norm of the training gradient, and of `d` (as the published recurrent search has it);
            the factor that the clip applies is taken as a constant. None clips neither.
    """

    rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    velocity: Sequence[Tensor] = ()
    clip: float | None = None

    @classmethod
    def of(
        cls, optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], *, clip: float | None = None
    ) -> VirtualStep:
        """The step that an SGD optimiser with one parameter group would make next.

        Raises:
            SettingsError: the optimiser is none, or uses Nesterov's momentum.
        """
        group = optimizer.param_groups[0]
        if not isinstance(optimizer, torch.optim.SGD) or len(optimizer.param_groups) != 1 or group["nesterov"]:
            raise SettingsError(
                f"second order looks one step of plain SGD ahead, not one of {type(optimizer).__name__}"
                f"{' with Nesterov momentum' if group.get('nesterov') else ''}. Use SGD with nesterov: false, or "
                "order: first."
            )
        found = [optimizer.state[weight].get("momentum_buffer") if group["momentum"] else None for weight in weights]
        velocity = [
            torch.zeros_like(weight) if buffer is None else buffer
            for weight, buffer in zip(weights, found, strict=True)
        ]
        return cls(float(group["lr"]), float(group["momentum"]), float(group["weight_decay"]), velocity, clip)

    def apply(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """The weights after the step: new leaves that want gradients."""
        steps = [
            gradient + self.weight_decay * weight.detach() for weight, gradient in zip(weights, gradients, strict=True)
        ]
        if self.momentum and self.velocity:
            steps = [step + self.momentum * v for step, v in zip(steps, self.velocity, strict=True)]
        return [
            (weight.detach() - self.rate * step).requires_grad_() for weight, step in zip(weights, steps, strict=True)
        ]


@dataclass(frozen=True)
class BilevelGradient:
    """The gradient for each architecture parameter, and the validation loss that it belongs to (a scalar tensor)."""

    gradients: list[Tensor]
    validation_loss: Tensor


def bilevel_gradient(
    order: Order,
    train_loss: LossFunction,
    validation_loss: LossFunction,
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    step: VirtualStep | None = None,
) -> BilevelGradient:
    """The gradient of the validation loss with respect to the architecture parameters; see the module's docstring.

    Neither weights, nor alphas, nor the `.grad` of either is changed.

    Args:
        order: see `Order`.
        train_loss, validation_loss: on one batch each; `train_loss` is not called for the first order. Give the
            batch that the following step of the weights takes.
        weights, alphas: leaves that want gradients.
        step: the look-ahead; only for the second order.

    Raises:
        SettingsError: second order without a step.
    """
    if order == "first":
        loss = validation_loss([weight.detach() for weight in weights], alphas)
        return BilevelGradient(_gradients(loss, alphas), loss.detach())
    if step is None:
        raise SettingsError(f"order: {order} needs the step of the weights to look ahead.")
    exact = order == "second"
    train_gradients = _gradients(train_loss(weights, alphas), weights, create_graph=exact)
    constants = [gradient.detach() for gradient in train_gradients]
    factor = _clip_factor(constants, step.clip)
    ahead = step.apply(weights, [factor * gradient for gradient in constants])
    loss = validation_loss(ahead, alphas)
    both = _gradients(loss, [*alphas, *ahead])
    explicit, direction = both[: len(alphas)], both[len(alphas) :]
    bound = _clip_factor(direction, step.clip)
    direction = [bound * part for part in direction]
    if exact:
        implicit = mixed_derivative(train_gradients, direction, alphas)
    else:
        implicit = finite_difference(train_loss, weights, alphas, direction, RADIUS)
    gradients = [first - step.rate * factor * second for first, second in zip(explicit, implicit, strict=True)]
    return BilevelGradient(gradients, loss.detach())


def _gradients(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """Gradients of a scalar; zeros for what it does not depend on."""
    return list(
        torch.autograd.grad(loss, list(inputs), create_graph=create_graph, allow_unused=True, materialize_grads=True)
    )


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norms = torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors])
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm


def _clip_factor(gradients: Sequence[Tensor], clip: float | None) -> Tensor | float:
    """What clipping multiplies the gradients with, at most 1 (the published recurrent search lets it exceed 1)."""
    return 1.0 if clip is None else (clip / (_norm(gradients) + 1e-6)).clamp(max=1.0)


def mixed_derivative(
    train_gradients: Sequence[Tensor], direction: Sequence[Tensor], alphas: Sequence[Tensor]
) -> list[Tensor]:
    """The mixed derivative times the direction, by a second backward pass over the graph of the training gradients."""
    reached = [pair for pair in zip(train_gradients, direction, strict=True) if pair[0].requires_grad]
    if not reached:
        return [torch.zeros_like(alpha) for alpha in alphas]
    outputs, factors = zip(*reached, strict=True)
    return list(torch.autograd.grad(outputs, list(alphas), factors, allow_unused=True, materialize_grads=True))


def finite_difference(
    train_loss: LossFunction,
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    direction: Sequence[Tensor],
    radius: float,
) -> list[Tensor]:
    """The same, as the difference of two gradients on either side of the weights, `radius` away from them."""
    factor = radius / _norm(direction).clamp(min=torch.finfo(direction[0].dtype).tiny)
    sides = []
    for sign in (1, -1):
        moved = [weight.detach() + sign * factor * part for weight, part in zip(weights, direction, strict=True)]
        sides.append(_gradients(train_loss(moved, alphas), alphas))
    return [(plus - minus) / (2 * factor) for plus, minus in zip(*sides, strict=True)]
