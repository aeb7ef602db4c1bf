"""The shared weights of all NAS-Bench-201 cells: edges hold all operations, a path runs one of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from archscout.spaces.nasbench201.cell import EDGES, NODES, OPERATIONS, NasBench201Cell
from archscout.spaces.nasbench201.network import ResidualBlock, make_edge, skeleton
from archscout.tasks.spec import TaskSpec

__all__ = ["NasBench201Supernet"]


class SharedCell(nn.Module):
    """All operations on all edges; `none` and `skip_connect` need no module."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleDict({name: cast(nn.Module, make_edge(name, channels)) for name in OPERATIONS[2:]}) for _ in EDGES
        )

    def operation(self, edge: int, name: str) -> nn.Module:
        """The module of a parametrised or pooling operation."""
        return cast(nn.ModuleDict, self.edges[edge])[name]

    def forward(self, inputs: Tensor, cell: NasBench201Cell) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        nodes = [inputs]
        for target in range(1, NODES):
            outputs: list[Tensor] = []
            for edge, ((source, end), name) in enumerate(zip(EDGES, cell.operations, strict=True)):
                if end != target or name == "none":
                    continue
                state = nodes[source]
                outputs.append(state if name == "skip_connect" else self.operation(edge, name)(state))
            nodes.append(sum(outputs[1:], outputs[0]) if outputs else torch.zeros_like(inputs))
        return nodes[-1]


class NasBench201Supernet(nn.Module):
    """A `PathSupernet` over the skeleton of `NasBench201Network`, with the same arguments."""

    def __init__(self, spec: TaskSpec, *, init_channels: int, cells: int) -> None:
        super().__init__()
        stem = nn.Conv2d(spec.input_shape[0], init_channels, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(init_channels))
        self.blocks = nn.ModuleList(
            SharedCell(channels) if kind == "cell" else ResidualBlock(channels // 2, channels)
            for kind, channels in skeleton(init_channels, cells)
        )
        channels = 4 * init_channels
        self.last = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, spec.outputs)

    def forward(self, inputs: Tensor, architecture: NasBench201Cell) -> Tensor:
        """Logits `(N, outputs)` of one cell."""
        features = self.stem(inputs)
        for block in self.blocks:
            features = block(features, architecture) if isinstance(block, SharedCell) else block(features)
        logits: Tensor = self.classifier(self.pool(self.last(features)).flatten(1))
        return logits

    def grouped(self, inputs: Tensor, architectures: Sequence[NasBench201Cell]) -> Tensor:
        """Logits `(M, N, outputs)` of M cells on one batch."""
        return torch.stack([self(inputs, architecture) for architecture in architectures])

    def path_parameters(self, architecture: NasBench201Cell) -> list[nn.Parameter]:
        """The parameters that this cell uses."""
        modules: list[nn.Module] = [self.stem, self.last, self.classifier]
        for block in self.blocks:
            if isinstance(block, SharedCell):
                modules += [
                    block.operation(edge, name)
                    for edge, name in enumerate(architecture.operations)
                    if name in OPERATIONS[2:]
                ]
            else:
                modules.append(block)
        return [parameter for module in modules for parameter in module.parameters()]
