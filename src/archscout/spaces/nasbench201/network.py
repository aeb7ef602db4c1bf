"""The trainable networks of NAS-Bench-201: the official macro skeleton around one repeated cell.

Source: docs/nasbench201.md#networks.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from archscout.spaces.nasbench201.cell import EDGES, NODES, NasBench201Cell
from archscout.tasks.spec import TaskSpec

__all__ = ["NasBench201Network", "ResidualBlock", "make_edge", "skeleton"]


def relu_conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs))


def make_edge(operation: str, channels: int) -> nn.Module | None:
    """The operation of an edge; None for `none`."""
    match operation:
        case "none":
            return None
        case "skip_connect":
            return nn.Identity()
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        case _:
            return relu_conv_norm(channels, channels, 3 if operation == "nor_conv_3x3" else 1)


class ResidualBlock(nn.Module):
    """Halves height and width, rounding up, and doubles the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(relu_conv_norm(inputs, outputs, 3, 2), relu_conv_norm(outputs, outputs, 3))
        # Rounding up agrees with the convolution on odd sizes; on even ones it changes nothing.
        pool = nn.AvgPool2d(2, 2, ceil_mode=True)
        self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, ceil(H / 2), ceil(W / 2))`."""
        total: Tensor = self.main(inputs) + self.shortcut(inputs)
        return total


class FixedCell(nn.Module):
    """One cell with fixed operations."""

    def __init__(self, cell: NasBench201Cell, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList()
        self._wiring: list[list[int]] = [[] for _ in range(NODES)]
        for (source, target), name in zip(EDGES, cell.operations, strict=True):
            operation = make_edge(name, channels)
            if operation is not None:
                self.operations.append(operation)
                self._wiring[target].append(source)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        nodes = [inputs]
        operations = iter(self.operations)
        for sources in self._wiring[1:]:
            outputs = [next(operations)(nodes[source]) for source in sources]
            nodes.append(sum(outputs[1:], outputs[0]) if outputs else torch.zeros_like(inputs))
        return nodes[-1]


def skeleton(init_channels: int, cells: int) -> Iterator[tuple[str, int]]:
    """The blocks between stem and classifier: ("cell" or "reduce", output channels); 17 of them as published."""
    for stage in range(3):
        channels = init_channels * 2**stage
        if stage:
            yield "reduce", channels
        for _ in range(cells):
            yield "cell", channels


class NasBench201Network(nn.Module):
    """Stem, three stages of equal cells with residual reductions between them, average pooling, linear classifier.

    Args:
        cell: repeated everywhere.
        spec: of the task; images `(C, H, W)`.
        init_channels: of the stem and the first stage; 16 as published.
        cells: in each stage; 5 as published.
    """

    def __init__(self, cell: NasBench201Cell, spec: TaskSpec, *, init_channels: int, cells: int) -> None:
        super().__init__()
        stem = nn.Conv2d(spec.input_shape[0], init_channels, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(init_channels))
        self.blocks = nn.ModuleList(
            FixedCell(cell, channels) if kind == "cell" else ResidualBlock(channels // 2, channels)
            for kind, channels in skeleton(init_channels, cells)
        )
        channels = 4 * init_channels
        self.last = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, spec.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to logits `(N, outputs)`."""
        features = self.stem(inputs)
        for block in self.blocks:
            features = block(features)
        logits: Tensor = self.classifier(self.pool(self.last(features)).flatten(1))
        return logits
