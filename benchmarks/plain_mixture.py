"""The plain twin of mixed supernets and of differentiable steps: the structure of the published programs.

Every edge runs all its operations as modules of their own, in contiguous NCHW, and adds up their weighted outputs. The
D-DARTS step makes K + 3 forward and K + 1 backward passes, the second-order DARTS step builds a second network for the
look-ahead and takes finite differences. Correct, not fast; the reference for speed.

Source: docs/methods/ddarts.md#what-the-code-rests-on; docs/methods/darts.md#second-order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain_twin import EDGES, NODES, MixedEdge, PlainCell, PlainNetwork

__all__ = ["DDartsStep", "DartsStep", "MixedNetwork", "SupernetPass"]

OPERATION_COUNT = 7


class MixedNetwork(PlainNetwork):
    """The supernet with a weighted sum of all operations on every edge."""

    def mixed(self, inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits for mixing weights `(14, 7)` of each cell."""
        before = last = self.stem(inputs)
        for module, mixing in zip(self.cells, weights, strict=True):
            before, last = last, _run_cell(cast(PlainCell, module), before, last, mixing)
        logits: Tensor = self.classifier(self.pool(last).flatten(1))
        return logits


def _run_cell(cell: PlainCell, before: Tensor, last: Tensor, mixing: Tensor) -> Tensor:
    states = [cell.preprocess0(before), cell.preprocess1(last)]
    offset = 0
    for _ in range(NODES):
        total: Tensor | int = 0
        for source, state in enumerate(states):
            edge = cast(MixedEdge, cell.edges[offset + source])
            terms = zip(mixing[offset + source], edge, strict=True)
            total = total + sum(weight * operation(state) for weight, operation in terms)
        offset += len(states)
        states.append(cast(Tensor, total))
    return torch.cat(states[2:], dim=1)


def _sgd(network: nn.Module, lr: float) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=3e-4, foreach=False)


class SupernetPass:
    """One forward and one backward pass of the supernet, with gradients for weights and architecture."""

    def __init__(self, channels: int, layers: int, classes: int) -> None:
        self.network = MixedNetwork(channels, layers, classes)
        self.alphas = [torch.zeros(EDGES, OPERATION_COUNT, requires_grad=True) for _ in range(layers)]

    def __call__(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> None:
        self.network.zero_grad()
        outputs = self.network.mixed(train[0], [row.sigmoid() for row in self.alphas])
        F.cross_entropy(outputs, train[1]).backward()  # type: ignore[no-untyped-call]


class DDartsStep:
    """One step of D-DARTS as released."""

    def __init__(self, channels: int, layers: int, classes: int) -> None:
        self.network = MixedNetwork(channels, layers, classes)
        self.alphas = [torch.zeros(EDGES, OPERATION_COUNT, requires_grad=True) for _ in range(layers)]
        self.optimizers = [torch.optim.Adam([row], lr=3e-3, weight_decay=1e-3, foreach=False) for row in self.alphas]
        self.sgd = _sgd(self.network, 0.005)

    def _loss(self, batch: tuple[Tensor, Tensor], without: int | None = None) -> Tensor:
        weights = [row.sigmoid() for row in self.alphas]
        if without is not None:
            rows = [[random.random() for _ in range(OPERATION_COUNT)] for _ in range(EDGES)]
            weights[without] = torch.tensor(rows)
        return F.cross_entropy(self.network.mixed(batch[0], weights), batch[1])

    def __call__(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> None:
        full = self._loss(validation).item()
        contributions = [full - self._loss(validation, cell).item() for cell in range(len(self.alphas))]
        mean = sum(contributions) / len(contributions)
        loss = self._loss(validation)
        for row, optimizer, contribution in zip(self.alphas, self.optimizers, contributions, strict=True):
            ablation = -(contribution - mean) / mean if mean else 0.0
            zero_one = -(row.sigmoid() - 0.5).square().mean()
            (loss + 9.0 * zero_one + 0.7 * ablation).backward(retain_graph=True)  # type: ignore[no-untyped-call]
            optimizer.step()
            row.grad = None
        self._loss(train).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.sgd.step()
        self.network.zero_grad()


class DartsStep:
    """One step of second-order DARTS as published: look-ahead in a second network, then finite differences."""

    def __init__(self, channels: int, layers: int, classes: int) -> None:
        self._sizes = (channels, layers, classes)
        self.network = MixedNetwork(*self._sizes)
        self.alphas = [torch.randn(EDGES, OPERATION_COUNT + 1).mul_(1e-3).requires_grad_() for _ in range(2)]
        self.adam = torch.optim.Adam(self.alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3, foreach=False)
        self.sgd = _sgd(self.network, 0.025)

    def _loss(self, network: MixedNetwork, batch: tuple[Tensor, Tensor]) -> Tensor:
        both = [row.softmax(1)[:, 1:] for row in self.alphas]
        weights = [both[cast(PlainCell, cell).reduces] for cell in network.cells]
        return F.cross_entropy(network.mixed(batch[0], weights), batch[1])

    def _ahead(self, train: tuple[Tensor, Tensor]) -> MixedNetwork:
        weights = list(self.network.parameters())
        gradients = torch.autograd.grad(self._loss(self.network, train), weights)
        ahead = MixedNetwork(*self._sizes)
        ahead.load_state_dict(self.network.state_dict())
        with torch.no_grad():
            for target, weight, gradient in zip(ahead.parameters(), weights, gradients, strict=True):
                momentum = self.sgd.state[weight].get("momentum_buffer")
                step = gradient + 3e-4 * weight + (0.9 * momentum if momentum is not None else 0.0)
                target.sub_(0.025 * step)
        return ahead

    def _difference(self, train: tuple[Tensor, Tensor], direction: list[Tensor]) -> list[Tensor]:
        radius = 0.01 / float(torch.cat([part.flatten() for part in direction]).norm())
        sides: list[tuple[Tensor, ...]] = []
        for shift in (radius, -2 * radius, radius):
            with torch.no_grad():
                for weight, part in zip(self.network.parameters(), direction, strict=True):
                    weight.add_(part, alpha=shift)
            if len(sides) < 2:
                sides.append(torch.autograd.grad(self._loss(self.network, train), self.alphas))
        return [(plus - minus) / (2 * radius) for plus, minus in zip(*sides, strict=True)]

    def __call__(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> None:
        ahead = self._ahead(train)
        for row in self.alphas:
            row.grad = None
        self._loss(ahead, validation).backward()  # type: ignore[no-untyped-call]
        direction = [cast(Tensor, weight.grad) for weight in ahead.parameters()]
        for row, implicit in zip(self.alphas, self._difference(train, direction), strict=True):
            cast(Tensor, row.grad).sub_(0.025 * implicit)
        self.adam.step()
        self.network.zero_grad()
        self._loss(self.network, train).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.sgd.step()
