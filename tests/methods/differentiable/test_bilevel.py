from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.errors import SettingsError
from archscout.methods.differentiable import bilevel
from archscout.methods.differentiable.bilevel import Functional, LossFunction, Order, VirtualStep, bilevel_gradient

RATE, MOMENTUM, DECAY = 0.3, 0.9, 0.01


class Mixture(nn.Module):
    """A small supernet: on each of two layers a weighted sum of activations, with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.dropout = nn.Dropout(0.3)

    def forward(self, inputs: Tensor, alphas: Sequence[Tensor]) -> Tensor:
        x = self.dropout(self.norm(self.first(inputs)))
        weights = alphas[0].softmax(0)
        x = weights[0] * x.tanh() + weights[1] * x.sigmoid() + weights[2] * x
        y: Tensor = self.second(x) * alphas[1].exp()
        return y


def problem() -> tuple[Mixture, list[Tensor], LossFunction, LossFunction]:
    torch.manual_seed(0)
    network = Mixture().double()
    function = Functional(network)
    alphas = [torch.randn(3, dtype=torch.float64).requires_grad_(), torch.zeros(3).double().requires_grad_()]
    batches = [(torch.randn(8, 4).double(), torch.randint(3, (8,))) for _ in range(2)]

    def loss_on(number: int) -> LossFunction:
        def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
            inputs, targets = batches[number]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(number)  # the same dropout mask at every call
                return F.cross_entropy(function(weights, inputs, alphas), targets)

        return loss

    return network, alphas, loss_on(0), loss_on(1)


def unrolled(
    train: LossFunction,
    validation: LossFunction,
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    scale: Callable[[Sequence[Tensor]], float] = lambda gradients: 1.0,
    velocity: Sequence[Tensor] = (),
) -> list[Tensor]:
    """The oracle: differentiate right through the step of the weights."""
    gradients = torch.autograd.grad(train(weights, alphas), list(weights), create_graph=True)
    factor = scale(gradients)
    moments = velocity or [torch.zeros_like(weight) for weight in weights]
    ahead = [
        weight - RATE * (MOMENTUM * moment + factor * gradient + DECAY * weight)
        for weight, gradient, moment in zip(weights, gradients, moments, strict=True)
    ]
    return list(torch.autograd.grad(validation(ahead, alphas), list(alphas)))


def test_second_order_equals_the_derivative_through_the_step() -> None:
    network, alphas, train, validation = problem()
    weights = Functional(network).weights
    velocity = [torch.randn_like(weight) for weight in weights]
    step = VirtualStep(RATE, MOMENTUM, DECAY, velocity)
    found = bilevel_gradient("second", train, validation, weights, alphas, step)
    expected = unrolled(train, validation, weights, alphas, velocity=velocity)
    for one, other in zip(found.gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=0)
    plain = bilevel_gradient("first", train, validation, weights, alphas)
    assert any(float((one - other).abs().max()) > 1e-4 for one, other in zip(plain.gradients, expected, strict=True))


def test_first_order_is_the_partial_derivative() -> None:
    network, alphas, train, validation = problem()
    weights = Functional(network).weights
    loss = validation(weights, alphas)
    found = bilevel_gradient("first", train, validation, weights, alphas)
    for one, other in zip(found.gradients, torch.autograd.grad(loss, alphas), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    torch.testing.assert_close(found.validation_loss, loss.detach())


def test_the_finite_difference_converges_to_the_exact_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bilevel, "RADIUS", 1e-4)
    network, alphas, train, validation = problem()
    weights = Functional(network).weights
    step = VirtualStep(RATE, MOMENTUM, DECAY)
    exact = bilevel_gradient("second", train, validation, weights, alphas, step).gradients
    near = bilevel_gradient("finite_difference", train, validation, weights, alphas, step).gradients
    for one, other in zip(near, exact, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        assert not torch.equal(one, other)


@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_a_clip_scales_the_step_and_its_derivative_by_a_constant_of_at_most_one(clip: float) -> None:
    network, alphas, train, validation = problem()
    weights = Functional(network).weights

    def scale(gradients: Sequence[Tensor]) -> float:
        norm = float(torch.cat([gradient.detach().flatten() for gradient in gradients]).norm())
        return min(1.0, clip / (norm + 1e-6))

    found = bilevel_gradient("second", train, validation, weights, alphas, VirtualStep(RATE, 0, DECAY, (), clip))
    gradients = torch.autograd.grad(train(weights, alphas), weights, create_graph=True)
    factor = scale(gradients)
    ahead = [
        (weight - RATE * (factor * gradient + DECAY * weight)).detach().requires_grad_()
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
    values = torch.autograd.grad(validation(ahead, alphas), [*alphas, *ahead])
    explicit, direction = values[:2], values[2:]
    bound = scale(direction)
    parts = [(gradient * bound * part).sum() for gradient, part in zip(gradients, direction, strict=True)]
    inner = torch.stack(parts).sum()
    implicit = torch.autograd.grad(inner, alphas)
    for one, first, second in zip(found.gradients, explicit, implicit, strict=True):
        torch.testing.assert_close(one, first - RATE * factor * second, atol=1e-10, rtol=0)
    assert (factor < 1) == (clip < 1)


@pytest.mark.parametrize("order", ["first", "second", "finite_difference"])
def test_nothing_is_left_behind(order: Order) -> None:
    network, alphas, train, validation = problem()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = Functional(network).weights
    bilevel_gradient(order, train, validation, weights, alphas, VirtualStep(RATE))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(tensor.grad is None for tensor in (*weights, *alphas))


def test_the_virtual_step_is_the_optimisers_next_step() -> None:
    network, alphas, train, _ = problem()
    weights = Functional(network).weights
    optimizer = torch.optim.SGD(weights, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    for _ in range(2):
        optimizer.zero_grad()
        loss = train(weights, alphas)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad.clone() for weight in weights if weight.grad is not None]
        ahead = VirtualStep.of(optimizer, weights).apply(weights, gradients)
        optimizer.step()
        for one, other in zip(weights, ahead, strict=True):
            torch.testing.assert_close(one.detach(), other.detach(), atol=1e-12, rtol=0)


def test_other_optimisers_and_a_missing_step_are_refused() -> None:
    network, alphas, train, validation = problem()
    weights = Functional(network).weights
    for optimizer in (torch.optim.Adam(weights), torch.optim.SGD(weights, 0.1, 0.9, nesterov=True)):
        with pytest.raises(SettingsError, match="plain SGD"):
            VirtualStep.of(optimizer, weights)
    with pytest.raises(SettingsError, match="needs the step"):
        bilevel_gradient("second", train, validation, weights, alphas)


def test_what_the_losses_do_not_depend_on_gets_zeros() -> None:
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    alphas = [torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
        return (weights[0] ** 2).sum() + (alphas[0] ** 3).sum()

    found = bilevel_gradient("second", loss, loss, [weight], alphas, VirtualStep(0.1)).gradients
    assert found[0].tolist() == [3.0, 3.0] and found[1].tolist() == [0.0, 0.0]
