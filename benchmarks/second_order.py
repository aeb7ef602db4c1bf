"""The exact mixed derivative of second-order DARTS against finite differences. `python -m benchmarks.second_order`.

In float64, on batches of the digits, for a supernet that first-order DARTS trains: how far the difference of two
gradients (the published approximation, radius 0.01 over the norm of the direction) is from the derivative, and how
small the radius must be until both agree. A ReLU network is not differentiable everywhere: between two points some
ReLUs and pools switch, and each switch is a jump of the gradient.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.engine import Engine
from archscout.methods.base import SearchContext
from archscout.methods.differentiable import bilevel
from archscout.methods.differentiable.darts import DartsSearch, DartsSettings
from archscout.spaces.cells.space import CellSize, CellSpace
from archscout.tasks import load_task
from archscout.tasks.batch import Batch

__all__ = ["compare", "main"]

RADII = (bilevel.RADIUS, 1e-4, 1e-6, 1e-8)
STEPS = (0, 50, 200)


def _implicit(search: DartsSearch, train: Batch, validation: Batch) -> dict[str, Tensor]:
    """The mixed derivative times the validation gradient of the weights, exact and by differences, in float64."""
    network: nn.Module = copy.deepcopy(search.network).double()
    functional = bilevel.Functional(network)
    weights, alphas = functional.weights, [search.alphas.detach().double().requires_grad_()]

    def loss_of(batch: Batch) -> bilevel.LossFunction:
        def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
            outputs = functional(weights, batch.inputs.double(), search.mixing(alphas[0]))
            return F.cross_entropy(outputs, batch.targets)

        return loss

    direction = torch.autograd.grad(loss_of(validation)(weights, alphas), weights)
    train_loss = loss_of(train)
    gradients = torch.autograd.grad(train_loss(weights, alphas), weights, create_graph=True)
    found = {"exact": bilevel.mixed_derivative(gradients, direction, alphas)[0]}
    for radius in RADII:
        found[f"{radius:g}"] = bilevel.finite_difference(train_loss, weights, alphas, direction, radius)[0]
    return found


def compare(seed: int) -> list[dict[str, Any]]:
    """Relative error and cosine of the differences for every number of steps and radius."""
    task, engine = load_task("digits"), Engine.create("cpu")
    settings = DartsSettings(batch_size=32, order="first")
    size = CellSize(init_channels=8, layers=5)
    search = DartsSearch(SearchContext(task, CellSpace(), settings, size, size, engine, seed=seed))
    search.network.train()
    rows: list[dict[str, Any]] = []
    for step in range(max(STEPS) + 1):
        train, validation = search.stream.next_batch(), search.held_out.next_batch()
        if step in STEPS:
            exact, *others = _implicit(search, train, validation).items()
            for radius, found in others:
                error = float((found - exact[1]).norm() / exact[1].norm())
                cosine = float(F.cosine_similarity(found.flatten(), exact[1].flatten(), dim=0))
                rows.append({"seed": seed, "steps": step, "radius": radius, "error": error, "cosine": cosine})
        search.architecture_step(train, validation)
        search.weight_step(train)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write JSON on request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.second_order", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    options = parser.parse_args(arguments)
    print(f"{'seed':>4} {'steps':>6} {'radius':>7} {'relative error':>15} {'cosine':>7}")
    rows = []
    for seed in options.seeds:
        for row in compare(seed):
            rows.append(row)
            print(
                f"{row['seed']:4} {row['steps']:6} {row['radius']:>7} {row['error']:15.2g} {row['cosine']:7.3f}",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
