"""The plain twin of a stage of P-DARTS: a module for each operation that an edge has left, two passes a step.

As published code does it, every pass makes gradients for everything: the architecture's step throws those of the
weights away. Contiguous tensors, images or sequences. Correct, not fast; the reference for speed.

Source: docs/methods/pdarts.md#what-the-code-rests-on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PlainProgressiveStep"]

Pair = tuple[Tensor, Tensor]
CONV = {1: nn.Conv1d, 2: nn.Conv2d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d}


def _fit(inputs: int, outputs: int, dims: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), CONV[dims](inputs, outputs, 1, bias=False), NORM[dims](outputs, affine=False))


class _Reduce(nn.Module):
    def __init__(self, inputs: int, outputs: int, dims: int) -> None:
        super().__init__()
        self.first = CONV[dims](inputs, outputs // 2, 1, stride=2, bias=False)
        self.second = CONV[dims](inputs, outputs // 2, 1, stride=2, bias=False)
        self.norm = NORM[dims](outputs, affine=False)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = F.relu(inputs)
        shifted = inputs[:, :, 1:] if inputs.dim() == 3 else inputs[:, :, 1:, 1:]
        joined: Tensor = self.norm(torch.cat([self.first(inputs), self.second(shifted)], 1))
        return joined


def _half(channels: int, kernel: int, stride: int, dilation: int, dims: int) -> list[nn.Module]:
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        CONV[dims](channels, channels, kernel, stride, padding, dilation, channels, bias=False),
        CONV[dims](channels, channels, 1, bias=False),
        NORM[dims](channels, affine=False),
    ]


class _Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        picked = inputs[:, :, :: self.stride]
        return (picked if inputs.dim() == 3 else picked[..., :: self.stride]).mul(0.0)


def _operation(name: str, channels: int, stride: int, dims: int) -> nn.Module:
    if name == "none":
        return _Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else _Reduce(channels, channels, dims)
    if name == "avg_pool_3x3":
        pool = POOL[dims](3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, NORM[dims](channels, affine=False))
    if name == "sep_conv_3x3":
        return nn.Sequential(*_half(channels, 3, stride, 1, dims), *_half(channels, 3, 1, 1, dims))
    return nn.Sequential(*_half(channels, 5, stride, 2, dims))


class _Cell(nn.Module):
    def __init__(
        self,
        inputs: tuple[int, int],
        channels: int,
        reduces: bool,
        previous: bool,
        live: Sequence[Sequence[str]],
        dims: int,
    ) -> None:
        super().__init__()
        make = _Reduce if previous else _fit
        self.before, self.last = make(inputs[0], channels, dims), _fit(inputs[1], channels, dims)
        self.edges = nn.ModuleList()
        node, rows = 2, iter(live)
        for names in rows:
            source = len(self.edges) - sum(range(2, node))
            stride = 2 if reduces and source < 2 else 1
            self.edges.append(nn.ModuleList(_operation(name, channels, stride, dims) for name in names))
            node += source + 1 == node

    def forward(self, before: Tensor, last: Tensor, weights: Sequence[Tensor]) -> Tensor:
        states, edge = [self.before(before), self.last(last)], 0
        while edge < len(self.edges):
            total: Tensor | float = 0.0
            for state in tuple(states):
                for weight, operation in zip(weights[edge], cast(nn.ModuleList, self.edges[edge]), strict=True):
                    total = total + weight * operation(state)
                edge += 1
            states.append(total)
        return torch.cat(states[2:], 1)


class PlainProgressiveStep:
    """A supernet of cells, and one step of architecture and weights.

    Args:
        live: names of what is left on each edge, `none` first: of normal cells, and of reduction cells.
        reductions: the cells that halve the sides.
        layers, channels: of the supernet.
        shape, classes: of the task.
    """

    def __init__(
        self,
        live: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]],
        reductions: Sequence[int],
        layers: int,
        channels: int,
        shape: Sequence[int],
        classes: int,
    ) -> None:
        dims, self.live = len(shape) - 1, live
        nodes = {2: 1, 5: 2, 9: 3, 14: 4}[len(live[0])]
        self.kinds = [int(index in reductions) for index in range(layers)]
        stem = [CONV[dims](shape[0], channels, 3, padding=1, bias=False), NORM[dims](channels)]
        cells, inputs, previous = [], (channels, channels), False
        for kind in self.kinds:
            channels *= 1 + kind
            cells.append(_Cell(inputs, channels, bool(kind), previous, live[kind], dims))
            inputs, previous = (inputs[1], nodes * channels), bool(kind)
        self.stem, self.cells = nn.Sequential(*stem), nn.ModuleList(cells)
        self.classifier = nn.Linear(nodes * channels, classes)
        self.weights = [p for part in (self.stem, self.cells, self.classifier) for p in part.parameters()]
        self.alphas = [[(1e-3 * torch.randn(len(names))).requires_grad_() for names in cell] for cell in live]
        tensors = [row for cell in self.alphas for row in cell]
        self.adam = torch.optim.Adam(tensors, lr=0.05, betas=(0.5, 0.999), weight_decay=5e-4, foreach=False)
        self.sgd = torch.optim.SGD(self.weights, lr=0.1, momentum=0.9, weight_decay=5e-4, foreach=False)

    def __call__(self, train: Pair, validation: Pair) -> None:
        for batch, optimizer in ((validation, self.adam), (train, self.sgd)):
            self.adam.zero_grad()
            self.sgd.zero_grad()
            F.cross_entropy(self._outputs(batch[0]), batch[1]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 5.0)
            optimizer.step()

    def _outputs(self, inputs: Tensor) -> Tensor:
        before = last = self.stem(inputs)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            before, last = last, cell(before, last, [row.softmax(0) for row in self.alphas[kind]])
        outputs: Tensor = self.classifier(last.flatten(2).mean(2))
        return outputs
