"""D-DARTS and DARTOpti: gradients against literal formulas, the published accounting, the start and the end."""

from __future__ import annotations

import math
from typing import Any, cast
from unittest import mock

import pytest
import torch
from torch import Tensor

from archscout.errors import DivergedError, SpaceError
from archscout.methods.differentiable.darts import zero_one_gradient
from archscout.methods.differentiable.ddarts import (
    SMALLEST_MEAN,
    DartoptiSearch,
    DartoptiSettings,
    DDartsSearch,
    DDartsSettings,
)
from archscout.tasks.batch import Batch
from archscout.training.optimizers import SgdSettings
from tests.methods.differentiable.mixture_toys import ToyMixture, ToyRelaxedSpace, toy_context

STEPS = 3


def make(**settings: Any) -> DDartsSearch:
    search = DDartsSearch(toy_context(DDartsSettings(batch_size=8, epochs=4, **settings)))
    search.alphas.data = search.alphas.data.double()
    search.ddarts.leftover = search.ddarts.leftover.double()
    with torch.no_grad():
        search.alphas.copy_(torch.linspace(-1, 1, search.alphas.numel()).reshape(search.alphas.shape))
    search.network.train()
    return search


def batches(search: DDartsSearch) -> list[tuple[Batch, Batch]]:
    return [(search.stream.next_batch(), search.held_out.next_batch()) for _ in range(STEPS)]


def loss(search: DDartsSearch, batch: Batch, mixing: Tensor) -> Tensor:
    value: Tensor = search.context.task.loss(search.mixed(batch.inputs, mixing), batch.targets)
    return value


def l01(alphas: Tensor) -> Tensor:
    return -(alphas.sigmoid() - 0.5).square().mean()


def released_procedure(search: DDartsSearch, pairs: list[tuple[Batch, Batch]], weight: float) -> list[Tensor]:
    """The published loop, literally: K backward passes, one Adam a cell, nothing cleared but a cell's own gradient."""
    network, own = search.network, cast(DDartsSettings, search.settings)
    alphas = [row.detach().clone().requires_grad_() for row in search.alphas]
    adam = own.alphas
    optimizers = [
        torch.optim.Adam([row], lr=adam.lr, betas=adam.betas, weight_decay=adam.weight_decay) for row in alphas
    ]
    sgd = torch.optim.SGD(
        network.parameters(),
        lr=own.optimizer.lr,
        momentum=own.optimizer.momentum,
        weight_decay=own.optimizer.weight_decay,
    )
    for train, validation in pairs:
        value = loss(search, validation, torch.stack([row.sigmoid() for row in alphas]))
        for row, optimizer in zip(alphas, optimizers, strict=True):
            (value + weight * l01(row)).backward(retain_graph=True)  # type: ignore[no-untyped-call]
            optimizer.step()
            row.grad = None
        value = loss(search, train, torch.stack([row.sigmoid() for row in alphas]))
        (value + weight * l01(torch.stack(alphas))).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), cast(float, own.optimizer.clip))
        sgd.step()
        sgd.zero_grad()
    return [*alphas, *network.parameters()]


def test_legacy_gradients_are_those_of_the_released_loop() -> None:
    settings = {"legacy_gradients": True, "zero_one_weight": 9.0, "optimizer": SgdSettings(lr=0.1, clip=0.7)}
    reference, ours = make(**settings), make(**settings)
    pairs = batches(reference)
    expected = released_procedure(reference, pairs, 9.0)
    ours.stepper.set_rate(0.1)
    for train, validation in pairs:
        ours.architecture_step(train, validation)
        ours.weight_step(train)
    for mine, other in zip([*ours.alphas, *ours.network.parameters()], expected, strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_the_weights_get_k_times_the_validation_gradient_and_cells_keep_what_is_not_cleared() -> None:
    search = make(legacy_gradients=True)
    (_, validation), *_ = batches(search)
    alphas = search.alphas.detach().clone().requires_grad_()
    value = loss(search, validation, alphas.sigmoid())
    into_alphas, *into_weights = torch.autograd.grad(value, [alphas, *search.network.parameters()])
    search.architecture_step(validation, validation)
    for parameter, gradient in zip(search.network.parameters(), into_weights, strict=True):
        assert torch.allclose(cast(Tensor, parameter.grad), 3 * gradient)
    assert torch.allclose(search.ddarts.leftover, torch.tensor([2.0, 1.0, 0.0]).double().view(3, 1, 1) * into_alphas)


def instead(search: DDartsSearch, owner: int) -> Tensor:
    """The mixing weights that the search gives an ablated cell."""
    mixing = search.alphas.detach().sigmoid()
    inputs = search.held_out.next_batch().inputs
    with mock.patch.object(search.mixed, "without", wraps=search.mixed.without) as called:
        search._loss_without(owner, search.stream.next_batch(), mixing, search.mixed.states(inputs, mixing))
    weights: Tensor = called.call_args.args[3]
    return weights


@pytest.mark.parametrize("without", ["random", "nothing"])
def test_the_ablation_gradient_equals_autograd_through_the_formula(without: str) -> None:
    search = make(ablation_weight=0.7, without=without, zero_one_weight=0.0)
    replaced = [instead(search, owner) for owner in range(3)]
    (_, validation), *_ = batches(search)
    expected = []
    for cell in range(3):
        alphas = search.alphas.detach().clone().requires_grad_()
        mixing = alphas.sigmoid()
        full = loss(search, validation, mixing)
        ablated = []
        for owner in range(3):
            rows = [replaced[owner] if row == owner else mixing[row] for row in range(3)]
            ablated.append(loss(search, validation, torch.stack(rows)))
        contributions = full - torch.stack(ablated)
        mean = contributions.mean()
        objective = full - 0.7 * (contributions[cell] - mean) / (mean.abs() + SMALLEST_MEAN)
        expected.append(torch.autograd.grad(objective, alphas)[0][cell])
    found = search._gradient(validation)
    assert torch.allclose(found, torch.stack(expected), rtol=1e-9, atol=1e-12)


def test_logged_contributions_equal_full_passes_and_change_nothing() -> None:
    silent, logging = make(ablation_weight=0.0), make(ablation_weight=0.0, ablation_every=1)
    pairs = batches(silent)
    replaced = [instead(logging, owner) for owner in range(3)]
    mixing = logging.alphas.detach().sigmoid()
    full = loss(logging, pairs[0][1], mixing)
    expected = []
    for owner in range(3):
        rows = [replaced[owner] if row == owner else mixing[row] for row in range(3)]
        expected.append(float((full - loss(logging, pairs[0][1], torch.stack(rows))).detach()))
    logging.architecture_step(*pairs[0])
    assert logging.ddarts.contributions == expected
    logging.weight_step(pairs[0][0])
    silent.architecture_step(*pairs[0])
    silent.weight_step(pairs[0][0])
    assert torch.equal(silent.alphas, logging.alphas)
    assert all(map(torch.equal, silent.network.parameters(), logging.network.parameters()))


@pytest.mark.parametrize(
    ("entries", "weight", "high"), [(98, 7, 0.952), (98, 9, 0.961), (168, 9, 0.938), (324, 10, 0.901)]
)
def test_the_zero_one_loss_settles_where_weight_decay_holds_it(entries: int, weight: float, high: float) -> None:
    alpha = torch.tensor([math.log(high / (1 - high))], dtype=torch.float64)
    for moved, sign in ((-0.03, -1), (0.03, 1)):
        pull = weight * zero_one_gradient(alpha + moved, entries) + 1e-3 * (alpha + moved)
        assert float(pull) * sign > 0  # the total gradient changes its sign at the fixed point


# -- DARTOpti ----------------------------------------------------------------------------------------------------


START = torch.tensor([[[True, False, False], [False, True, False]]])


def optimising(**settings: Any) -> DartoptiSearch:
    defaults = {"batch_size": 8, "epochs": 40, "warmup_epochs": 1}
    context = toy_context(DartoptiSettings(**{**defaults, **settings}), ToyRelaxedSpace((0, 0), START))
    return DartoptiSearch(context)


def test_tensors_start_at_ten_for_the_baseline_and_cells_share_them() -> None:
    search = optimising()
    assert torch.equal(search.alphas, 10.0 * START)
    assert cast(ToyMixture, search.network).owners == (0, 0)


def test_a_space_without_baseline_is_refused() -> None:
    with pytest.raises(SpaceError, match="baseline=NAME"):
        DartoptiSearch(toy_context(DartoptiSettings(batch_size=8)))


def test_the_tensors_rest_while_the_weights_warm_up() -> None:
    search = optimising(alphas={"lr": 0.1})
    while search.stream.epoch < 1:
        before = search.alphas.detach().clone()
        next(search.run())
        assert torch.equal(search.alphas, before)
    next(search.run())
    assert not torch.equal(search.alphas, before)


def test_the_search_ends_where_the_distance_stands_still() -> None:
    search = optimising(stop_epochs=3, alphas={"lr": 1e-9})
    metrics = list(search.run())[-1]
    assert search.stream.epoch == 1 + 3
    assert metrics["distance"] == 0.0
    assert "the search ends" in " ".join(search.said())


def test_tensors_that_are_not_finite_end_the_search_with_an_error() -> None:
    search = make()
    with torch.no_grad():
        search.alphas[0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        next(search.run())
