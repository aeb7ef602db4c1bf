"""Whole supernets of mixed edges against a plain pass: images, sequences, dense networks, subsets of operations."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from archscout.methods.differentiable.bilevel import Functional
from archscout.nn.mixture import MixedSource
from archscout.spaces import get_space
from archscout.spaces.cells.mixture import MixtureSupernet
from archscout.tasks.spec import TaskSpec
from tests.reference.mixture import PlainSource, copy_weights

SPECS = [
    TaskSpec("images", "classification", (2, 9, 8), 3),
    TaskSpec("sequences", "multilabel", (2, 22), 3),
    TaskSpec("dense images", "dense", (2, 7, 6), 1),
    TaskSpec("dense sequences", "dense", (2, 9), 2),
]


def plain_pass(network: MixtureSupernet, inputs: Tensor, mixing: Tensor, live: Tensor, names: list[str]) -> Tensor:
    """The formula with one module for each edge and operation; the twins' weights are the network's."""
    owners = network._owners
    before, last = network.stem(inputs)
    for cell, owner in zip(cast(Any, network.cells), owners, strict=True):
        states = [cell.preprocess0(before), cell.preprocess1(last)]
        sums: list[Any] = [0] * cell._nodes
        for number, (source, rows) in enumerate(zip(cell.sources, cell._rows, strict=True)):
            if number >= 2:
                states.append(sums[number - 2])
            fast = cast(MixedSource, source)
            channels = cell.preprocess1[1].out_channels
            left = [[name for name, kept in zip(names, live[owner, row], strict=True) if kept] for row in rows]
            dims = inputs.dim() - 2
            plain = PlainSource(channels, fast.stride, len(rows), names, dims=dims, live=left).double()
            for ours, row, theirs in copy_weights(fast, plain):
                _tie(plain, theirs, ours if row is None else ours[row].reshape(theirs.shape))
            for offset, output in enumerate(plain(states[number], mixing[owner][rows])):
                sums[len(sums) - len(rows) + offset] = sums[len(sums) - len(rows) + offset] + output
        states.append(sums[-1])
        before, last = last, torch.cat(states[-cell._width :], 1)
    return network.head(last)


def _tie(twin: nn.Module, parameter: nn.Parameter, value: Tensor) -> None:
    """Put a function of the network's weight in place of the twin's, so that gradients reach the network."""
    for module in twin.modules():
        for name, candidate in list(module._parameters.items()):
            if candidate is parameter:
                del module._parameters[name]
                setattr(module, name, value)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("subsets", [False, True])
def test_outputs_and_gradients_equal_the_plain_pass(spec: TaskSpec, subsets: bool) -> None:
    space: Any = get_space("diverse-cells", {"nodes": 3})
    relaxation = space.relaxation(spec, space.size_model(init_channels=4, layers=3))
    names = list(relaxation.operations)
    draw = torch.Generator().manual_seed(0)
    live = torch.ones(relaxation.shape, dtype=torch.bool)
    if subsets:
        dropped = torch.rand(relaxation.shape, generator=draw).argsort(2)[..., :2]
        live.scatter_(2, dropped, False)
    torch.manual_seed(0)
    network = relaxation.supernet(live if subsets else None).double().train()
    inputs = torch.randn(4, *spec.input_shape, dtype=torch.float64, generator=draw).requires_grad_()
    mixing = torch.rand(relaxation.shape, dtype=torch.float64, generator=draw).requires_grad_()
    ours, theirs = network(inputs, mixing), plain_pass(network, inputs, mixing, live, names)
    assert ours.shape == ((4, spec.outputs) if spec.kind != "dense" else (4, spec.outputs, *spec.input_shape[1:]))
    assert (ours - theirs).abs().max() < 1e-10
    direction = torch.randn(ours.shape, dtype=torch.float64, generator=draw)
    leaves = [inputs, mixing, *network.parameters()]
    found = torch.autograd.grad(ours, leaves, direction, materialize_grads=True)
    expected = torch.autograd.grad(theirs, leaves, direction, materialize_grads=True)
    for mine, other in zip(found, expected, strict=True):
        assert (mine - other).abs().max() <= 1e-10 * max(1.0, float(other.abs().max()))
    assert not found[1][~live].any()


@pytest.mark.parametrize("name", ["cells", "per-cell", "diverse-cells"])
def test_a_supernet_that_recomputes_has_the_gradients_at_other_weights_too(name: str) -> None:
    found = []
    for recompute in (False, True):
        space: Any = get_space(name, {"nodes": 2} if name == "diverse-cells" else {})
        sizes = {"init_channels": 2, "layers": None if name == "per-cell" else 3, "recompute": recompute}
        relaxation = space.relaxation(SPECS[0], space.size_model(**sizes))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = relaxation.supernet().double()
        inputs = torch.linspace(-1, 1, 4 * 144, dtype=torch.float64).view(4, 2, 9, 8)
        mixing = torch.full(relaxation.shape, 0.5, dtype=torch.float64, requires_grad=True)
        functional = Functional(network)
        moved = [(1.1 * weight).detach().requires_grad_() for weight in functional.weights]
        loss = functional(moved, inputs, mixing).square().sum()
        found.append([loss, *torch.autograd.grad(loss, [mixing, *moved], allow_unused=True, materialize_grads=True)])
    assert all(torch.equal(kept, again) for kept, again in zip(*found, strict=True))
