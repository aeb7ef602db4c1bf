"""The batched controller against its plain twin: decisions, probabilities, all gradients, one Adam step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from archscout.methods.dsm.controller import GLOBAL_SQUASH, LOCAL_SQUASH, Controller, ControllerShape, OptimizerSettings
from archscout.seeds import generator
from archscout.spaces import NasBench201Space
from benchmarks.plain_controller import PlainController

FREE = ((True,) * 5,) * 6
# As in the MobileNet space: the first operation deletes a layer, which the first two of every four must not.
MASKED = (((False,) + (True,) * 9,) * 2 + ((True,) * 10,) * 2) * 2
SHAPES = {
    "nasbench201": ControllerShape(3, 4, FREE, 36),
    "masked": ControllerShape(5, 2, MASKED, 80),
    "two slots": ControllerShape(2, 1, FREE, 30),
}
OPTIMIZER = OptimizerSettings(lr=0.0094, weight_decay=0.01, entropy=0.3)
TRIALS = 3


def make(shape: ControllerShape, trials: int = TRIALS) -> Controller:
    return Controller(shape, [generator(seed, "test") for seed in range(trials)], OPTIMIZER, dtype=torch.float64)


def random_nodes(shape: ControllerShape, seed: int, trials: int = TRIALS) -> Tensor:
    nodes = torch.rand(trials, shape.slots, shape.features + 1, generator=generator(seed, "nodes"), dtype=torch.float64)
    nodes[0, :2, -1] = 0.5  # a tie
    return nodes


def twin_of(controller: Controller, trial: int) -> PlainController:
    """The plain controller with the weights of one trial."""
    shape = controller.shape
    twin = PlainController(shape.slots, shape.edits, shape.allowed, shape.features).double()
    with torch.no_grad():
        for name, parameter in named(twin):
            value = controller.weights[name][trial]
            parameter.copy_(value if "embedding" in name or value.dim() == 1 else value.T)
    return twin


def named(twin: PlainController) -> Iterator[tuple[str, torch.Tensor]]:
    """The twin's parameters under the names of the batched controller."""
    yield "node", twin.node.weight
    yield "node_bias", twin.node.bias
    yield "edge", twin.edge.weight
    yield "edge_bias", twin.edge.bias
    for number in range(2):
        layer = twin.graph[number]
        yield f"message{number}", layer.message.weight  # type: ignore[union-attr, misc]
        yield f"pool{number}", layer.pool.weight  # type: ignore[union-attr, misc]
        yield f"pool_bias{number}", layer.pool.bias  # type: ignore[union-attr, misc]
        yield f"update{number}", layer.update.weight  # type: ignore[union-attr, misc]
        yield f"edge_update{number}", layer.edge_update.weight  # type: ignore[union-attr, misc]
    yield "lstm_input", twin.lstm.weight_ih
    yield "lstm_hidden", twin.lstm.weight_hh
    yield "lstm_input_bias", twin.lstm.bias_ih
    yield "lstm_hidden_bias", twin.lstm.bias_hh
    for name in ("attend_node", "attend_hidden", "attend_out"):
        yield name, getattr(twin, name).weight
    for name in ("slot_embedding", "layer_embedding", "operation_embedding"):
        yield name, getattr(twin, name).weight
    for name, module in (
        ("layer_head", twin.layer_head),
        ("operation_head", twin.operation_head),
        ("unused", twin.unused),
    ):
        yield name, module.weight
        yield f"{name}_bias", module.bias


def chooser(draws: Tensor) -> Callable[[Categorical], Tensor]:
    """Choices by the given uniform numbers, one after the other."""
    numbers = iter(draws)
    return lambda distribution: (
        (distribution.probs.cumsum(-1) <= next(numbers)).sum().clamp(max=len(distribution.probs) - 1)
    )


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("proposals", [1, 3])
def test_decisions_and_gradients_equal_the_twins(name: str, proposals: int) -> None:
    shape, controller = SHAPES[name], make(SHAPES[name])
    nodes = random_nodes(shape, 1)
    draws = torch.rand(TRIALS, proposals, 1 + 2 * shape.edits, generator=generator(2, "draws"), dtype=torch.float64)
    decisions = controller.propose(nodes, draws)
    advantages = torch.randn(TRIALS, proposals, generator=generator(3, "advantages"), dtype=torch.float64)
    controller.backward(advantages)
    for trial in range(TRIALS):
        twin = twin_of(controller, trial)
        loss = torch.zeros((), dtype=torch.float64)
        for number in range(proposals):
            order = nodes[trial, :, -1].sort(stable=True).indices
            # The batched side draws slots in the order of scores; the twin decides in the order of slots.
            slot, edits, log_p, entropy = twin(nodes[trial], in_order(draws[trial, number], order))
            assert slot == int(decisions.slots[trial, number])
            found = torch.stack([decisions.layers[trial, number], decisions.operations[trial, number]], 1).tolist()
            assert [list(edit) for edit in edits] == found
            assert all(shape.allowed[layer][operation] for layer, operation in edits)
            assert log_p.item() == pytest.approx(float(decisions.log_probability[trial, number]), abs=1e-12)
            assert entropy.item() == pytest.approx(float(decisions.entropy[trial, number]), abs=1e-12)
            loss = loss - (advantages[trial, number] * log_p + OPTIMIZER.entropy * entropy) / proposals
        loss.backward()  # type: ignore[no-untyped-call]
        for key, parameter in named(twin):
            wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if "embedding" not in key and wanted.dim() == 2:
                wanted = wanted.T
            assert torch.allclose(controller.gradients[key][trial], wanted, atol=1e-12), key


def in_order(draws: Tensor, order: Tensor) -> Callable[[Categorical], Tensor]:
    plain = chooser(draws)
    first = [True]

    def choose(distribution: Categorical) -> Tensor:
        if first.pop() if first else False:
            return order[plain(Categorical(probs=distribution.probs[order]))]
        return plain(distribution)

    return choose


def test_a_step_of_all_trials_equals_adam_on_each() -> None:
    shape, controller = SHAPES["nasbench201"], make(SHAPES["nasbench201"])
    starts = [controller.flat[trial].clone() for trial in range(TRIALS)]
    gradients = []
    for step in range(3):
        draws = torch.rand(TRIALS, 1, 9, generator=generator(step, "draws"), dtype=torch.float64)
        controller.propose(random_nodes(shape, step), draws)
        controller.learn(torch.ones(TRIALS, 1))
        gradients.append(controller._gradient.clone())
    for trial, start in enumerate(starts):
        adam = torch.optim.Adam([start], lr=OPTIMIZER.lr, weight_decay=OPTIMIZER.weight_decay)
        for gradient in gradients:
            start.grad = gradient[trial]
            adam.step()
        assert torch.allclose(start, controller.flat[trial], atol=1e-12)


def test_trials_do_not_touch_each_other() -> None:
    shape = SHAPES["nasbench201"]
    together, alone = make(shape, 3), Controller(shape, [generator(1, "test")], OPTIMIZER, dtype=torch.float64)
    for step in range(4):
        nodes = random_nodes(shape, step)
        draws = torch.rand(3, 1, 9, generator=generator(step, "draws"), dtype=torch.float64)
        many, one = together.propose(nodes, draws), alone.propose(nodes[1:2], draws[1:2])
        assert torch.equal(many.layers[1:2], one.layers)
        together.learn(torch.ones(3, 1))
        alone.learn(torch.ones(1, 1))
    assert torch.allclose(together.flat[1], alone.flat[0], atol=1e-12)


def test_sizes_are_the_published_ones() -> None:
    space = NasBench201Space().layer_code
    assert space.width + 1 == 37
    assert ControllerShape(3, 4, space.allowed, space.width).parameters == 122_062
    mobile = (((False,) + (True,) * 9,) * 2 + ((True,) * 10,) * 2) * 5
    assert ControllerShape(10, 2, mobile, 200).parameters == 146_408
    assert ControllerShape(3, 4, space.allowed, space.width).largest_entropy == pytest.approx(14.703, abs=5e-4)


@pytest.mark.parametrize(
    ("choices", "bound", "lowest", "highest"),
    [(3, GLOBAL_SQUASH, None, 0.909), (6, LOCAL_SQUASH, 0.057, 0.399), (5, LOCAL_SQUASH, 0.070, 0.454)],
)
def test_the_squash_bounds_probabilities(choices: int, bound: float, lowest: float | None, highest: float) -> None:
    peak = torch.full((choices,), -bound)
    peak[0] = bound
    assert float(peak.softmax(0)[0]) == pytest.approx(highest, abs=6e-4)
    if lowest is not None:
        assert float((-peak).softmax(0)[0]) == pytest.approx(lowest, abs=6e-4)


def test_the_bounds_hold_for_any_weights() -> None:
    shape = SHAPES["nasbench201"]
    controller = make(shape)
    controller.flat *= 1000
    for seed in range(20):
        draws = torch.rand(TRIALS, 1, 9, generator=generator(seed, "draws"), dtype=torch.float64)
        decisions = controller.propose(random_nodes(shape, seed), draws)
        lowest = math.log(1 / (1 + 2 * math.exp(2 * GLOBAL_SQUASH))) + 4 * (math.log(0.057) + math.log(0.070)) - 0.1
        assert float(decisions.log_probability.min()) > lowest


def test_a_uniform_controller_draws_uniformly_and_never_learns() -> None:
    shape = SHAPES["nasbench201"]
    controller = Controller(shape, [generator(0, "test")], OPTIMIZER, uniform=True)
    before = controller.flat.clone()
    draws = torch.rand(1, 6000, 9, generator=generator(1, "draws"))
    decisions = controller.propose(random_nodes(shape, 0, 1).float(), draws)
    controller.learn(torch.ones(1, 6000))
    assert torch.equal(controller.flat, before)
    for values, count in ((decisions.slots, 3), (decisions.layers, 6), (decisions.operations, 5)):
        shares = values.flatten().bincount(minlength=count) / values.numel()
        assert torch.allclose(shares, torch.full((count,), 1 / count), atol=0.03)
    assert float(decisions.entropy[0, 0]) == pytest.approx(shape.largest_entropy, abs=1e-4)


@pytest.mark.parametrize(("radius", "size"), [(1, 25), (2, 265), (3, 1545), (4, 5385), (5, 11529), (6, 15625)])
def test_subspaces_have_the_published_sizes(radius: int, size: int) -> None:
    code = (2, 0, 1, 3, 4, 0)
    inside = sum(
        sum(a != b for a, b in zip(code, other, strict=True)) <= radius for other in product(range(5), repeat=6)
    )
    assert inside == size == sum(math.comb(6, changed) * 4**changed for changed in range(radius + 1))
