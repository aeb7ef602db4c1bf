from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from archscout.engine import Engine
from archscout.methods.base import SearchContext
from archscout.methods.differentiable.bilevel import Order
from archscout.methods.differentiable.recurrent import RecurrentDartsSearch, RecurrentDartsSettings
from archscout.nn.recurrent.mixture import mixture_segment
from archscout.nn.recurrent.reference import ACTIVATION_FUNCTIONS, reference_segment
from archscout.nn.recurrent.word_model import RecurrentSize
from archscout.spaces import RecurrentSpace, get_space
from archscout.spaces.recurrent.genotype import edge_index
from archscout.testing.cases import small_text


def search(order: Order = "second", **settings: Any) -> RecurrentDartsSearch:
    space = get_space("recurrent", {"nodes": 3})
    size = space.size_model.read({"width": 6})
    return RecurrentDartsSearch(
        SearchContext(
            task=small_text(),
            space=space,
            settings=RecurrentDartsSettings.read({"epochs": 1, "order": order, "batch_size": 4, **settings}),
            supernet_size=size,
            network_size=size,
            engine=Engine(torch.device("cpu")),
            seed=0,
        )
    )


def tensors(nodes: int = 4, width: int = 5) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"products": (6, 3, 2 * width), "hidden": (3, width), "recurrent": (width, 2 * width)}
    made = {name: torch.randn(*shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    made["nodes"] = torch.randn(nodes, width, 2 * width, generator=draw, dtype=torch.float64)
    made["mask"] = (torch.rand(3, width, generator=draw) < 0.7).double() / 0.7
    return made


def inputs_of(given: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return given["products"], given["hidden"], given["recurrent"], given["nodes"]


def test_the_mixture_is_the_sum_over_edges_and_activations() -> None:
    given = tensors()
    weights = torch.rand(10, 4, dtype=torch.float64)
    norm = torch.nn.BatchNorm1d(5, affine=False).double()
    found = mixture_segment(*inputs_of(given), weights, given["mask"], norm)
    hidden, mask = given["hidden"], given["mask"]
    outputs = []
    for product in given["products"]:
        c, h = (product + (hidden * mask) @ given["recurrent"]).chunk(2, dim=1)
        states = [norm(hidden + c.sigmoid() * (h.tanh() - hidden))]
        for node in range(1, 5):
            total = torch.zeros_like(hidden)
            for source in range(node):
                state = states[source]
                c, h = ((state * mask) @ given["nodes"][node - 1]).chunk(2, dim=1)
                for k, function in enumerate(ACTIVATION_FUNCTIONS.values()):
                    blend = state + c.sigmoid() * (function(h) - state)
                    total = total + weights[edge_index(node, source), k] * blend
            states.append(norm(total))
        hidden = sum(states[1:]) / 4
        outputs.append(hidden)
    torch.testing.assert_close(found, torch.stack(outputs), atol=1e-10, rtol=0)


def test_a_mixture_of_one_choice_is_the_cell() -> None:
    given = tensors(nodes=3)
    cell = [("relu", 0), ("sigmoid", 0), ("identity", 2)]
    weights = torch.zeros(6, 4, dtype=torch.float64)
    for node, (activation, source) in enumerate(cell, start=1):
        weights[edge_index(node, source), list(ACTIVATION_FUNCTIONS).index(activation)] = 1
    arguments = inputs_of(given)
    found = mixture_segment(*arguments, weights, given["mask"])
    torch.testing.assert_close(found, reference_segment(*arguments, cell, (1, 2, 3), given["mask"]))


def test_alphas_and_discretization() -> None:
    space = RecurrentSpace()
    network = space.mixture(small_text().spec, RecurrentSize.read({"width": 4}))
    (alphas,) = network.initial_alphas(torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert alphas.shape == (36, 5) and float(alphas.detach().abs().max()) < 0.01
    with torch.no_grad():
        alphas.zero_()
        alphas[:, 0] = 9  # none is never chosen
        alphas[edge_index(5, 3), 3] = 10  # sigmoid from node 3
    genotype = network.discretize([alphas])  # type: ignore[operator]
    assert genotype.nodes[4] == ("sigmoid", 3)
    assert genotype.nodes[0].source == 0


@pytest.mark.parametrize("order", ["first", "second", "finite_difference"])
def test_a_step_moves_weights_and_alphas_and_keeps_states_apart(order: Order) -> None:
    job = search(order)
    weights = [weight.detach().clone() for weight in job.network.parameters()]
    alphas = job.alphas[0].detach().clone()
    statistics = job.network.norm.num_batches_tracked.clone()  # type: ignore[operator,union-attr]
    job.step(job.train.next_batch(), job.validation.next_batch(), 0)
    assert all(not torch.equal(old, new) for old, new in zip(weights, job.network.parameters(), strict=True))
    assert not torch.equal(alphas, job.alphas[0])
    hidden = job.hidden.states
    assert hidden["train"] is not None and hidden["validation"] is not None
    assert not torch.equal(hidden["train"], hidden["validation"])
    # Only the step of the weights touches running statistics: 4 times for each of the segment's time steps.
    seen = int(job.network.norm.num_batches_tracked - statistics)  # type: ignore[operator,union-attr]
    assert seen in (4 * 35, 4 * 17)


def test_the_second_order_gradient_is_the_derivative_through_the_step() -> None:
    """With clips out of reach, on the real network and losses, in float64."""
    job = search("second", optimizer={"lr": 0.5, "momentum": 0, "clip": 1e9, "schedule": {"kind": "constant"}})
    job.network.double()
    job.alphas[0] = job.alphas[0].detach().double().requires_grad_()
    train, validation = job.train.next_batch(), job.validation.next_batch()
    functional = job._functional
    losses = [
        job._loss(batch, None, ("test", number), lambda hidden: None)
        for number, batch in enumerate((train, validation))
    ]
    from archscout.methods.differentiable.bilevel import VirtualStep, bilevel_gradient

    step = VirtualStep(0.5, 0.0, 1e-3)
    found = bilevel_gradient("second", losses[0], losses[1], functional.weights, job.alphas, step).gradients[0]
    gradients = torch.autograd.grad(losses[0](functional.weights, job.alphas), functional.weights, create_graph=True)
    ahead = [w - 0.5 * (g + 1e-3 * w) for w, g in zip(functional.weights, gradients, strict=True)]
    (expected,) = torch.autograd.grad(losses[1](ahead, job.alphas), job.alphas)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_a_resumed_search_ends_alike() -> None:
    reference, first, second = (search("first") for _ in range(3))
    for _ in reference.run():
        pass
    next(first.run())
    second.load_state_dict(first.state_dict())
    for _ in second.run():
        pass
    assert torch.equal(reference.alphas[0], second.alphas[0])
    assert reference.result().architecture == second.result().architecture
