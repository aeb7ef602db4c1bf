"""The plain twin of EDNAS's supernet, policy and two steps: the structure of the published program.

Written from a description of that structure, correct but not fast: every edge holds all operations and looks for its
choice by reading a one-hot mask, unselected edges add a zero, the policy lives in autograd, a policy step runs the
network twice, and the optimiser updates every weight. It is the reference for results (same weights and genotype give
the same outputs and gradients as the library's supernet) and for speed.

Source: docs/methods/ednas.md#what-the-code-rests-on; docs/methods/darts.md#networks. Two defects are left
out, because they change results: the double softmax and the swapped cell types.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.spaces import Cell, CellGenotype, Input
from archscout.spaces.cells.genotype import OPERATIONS

__all__ = [
    "ChildStep",
    "Draw",
    "Masks",
    "PlainNetwork",
    "PlainPolicy",
    "PolicyStep",
    "copy_weights",
    "genotype_of",
    "masks_of",
]

NODES = 4
EDGES = sum(range(2, NODES + 2))


class Masks(NamedTuple):
    """An architecture as the network reads it: for both cells a `(14, 7)` tensor of zeros and ones."""

    normal: Tensor
    reduce: Tensor


class FactorizedReduce(nn.Module):
    """Two 1 x 1 convolutions of stride 2, the second shifted by one pixel; even sizes only."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=False)

    def forward(self, inputs: Tensor) -> Tensor:
        active = F.relu(inputs)
        joined: Tensor = self.norm(torch.cat([self.first(active), self.second(active[:, :, 1:, 1:])], dim=1))
        return joined


def _convolution(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    ]


def _operation(name: str, channels: int, stride: int) -> nn.Module:
    match name:
        case "max_pool_3x3":
            return nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(channels, affine=False))
        case "avg_pool_3x3":
            pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
            return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
        case "sep_conv_3x3" | "sep_conv_5x5":
            kernel = int(name[-1])
            return nn.Sequential(*_convolution(channels, kernel, stride, 1), *_convolution(channels, kernel, 1, 1))
        case "dil_conv_3x3" | "dil_conv_5x5":
            return nn.Sequential(*_convolution(channels, int(name[-1]), stride, 2))
    raise ValueError(f"the twin has no operation {name!r}")


class MixedEdge(nn.ModuleList):
    """All operations of an edge, in the order of `OPERATIONS`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(_operation(name, channels, stride) for name in OPERATIONS)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor | int:
        """The chosen operation's output times its mask value; 0 if none is chosen."""
        for weight, operation in zip(mask, self, strict=True):
            if float(weight) == 0:
                continue
            output: Tensor = weight * operation(inputs)
            return output
        return 0


class PlainCell(nn.Module):
    """One cell; `edges[offset(node) + source][operation]`."""

    def __init__(self, before: int, last: int, channels: int, reduces: bool, previous_reduces: bool) -> None:
        super().__init__()
        self.reduces = reduces
        self.preprocess0 = FactorizedReduce(before, channels) if previous_reduces else _fit(before, channels)
        self.preprocess1 = _fit(last, channels)
        self.edges = nn.ModuleList(
            MixedEdge(channels, 2 if reduces and source < 2 else 1)
            for node in range(2, NODES + 2)
            for source in range(node)
        )

    def forward(self, before: Tensor, last: Tensor, mask: Tensor) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(last)]
        offset = 0
        for _ in range(NODES):
            outputs = [self.edges[offset + source](state, mask[offset + source]) for source, state in enumerate(states)]
            offset += len(states)
            states.append(sum(outputs))
        return torch.cat(states[2:], dim=1)


def _fit(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs, affine=False))


class PlainNetwork(nn.Module):
    """The supernet for small images: 1,930,618 parameters in 1,399 tensors with C=16, 8 cells and 10 classes."""

    def __init__(self, channels: int = 16, layers: int = 8, classes: int = 10, inputs: int = 3) -> None:
        super().__init__()
        before = last = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(inputs, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        previous_reduces = False
        for index in range(layers):
            reduces = index in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduces else 1
            self.cells.append(PlainCell(before, last, channels, reduces, previous_reduces))
            before, last, previous_reduces = last, NODES * channels, reduces
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, classes)

    def forward(self, inputs: Tensor, masks: Masks) -> Tensor:
        """`(N, C, H, W)` to logits `(N, classes)`; height and width divisible by 4."""
        before = last = self.stem(inputs)
        for cell in self.cells:
            before, last = last, cell(before, last, masks.reduce if cell.reduces else masks.normal)
        logits: Tensor = self.classifier(self.pool(last).flatten(1))
        return logits


class Draw(NamedTuple):
    """A sampled architecture, and the log probabilities of its 22 choices, each with its graph."""

    masks: Masks
    log_probabilities: list[Tensor]


def _draw(logits: Tensor, generator: torch.Generator | None) -> tuple[int, Tensor]:
    choice = torch.multinomial(F.softmax(logits, dim=0), 1, generator=generator)
    return int(choice), -F.cross_entropy(logits[None], choice)


class PlainPolicy(nn.Module):
    """Both families of both cells as parameters: 234 numbers (docs/methods/ednas.md#policy)."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()

        def initial(*shape: int) -> nn.Parameter:
            return nn.Parameter(1e-3 * torch.randn(*shape, generator=generator))

        self.structure = nn.ModuleList(
            nn.ParameterList(initial(node * (node - 1) // 2) for node in range(3, NODES + 2)) for _ in range(2)
        )
        self.operations = nn.ParameterList(initial(EDGES, len(OPERATIONS)) for _ in range(2))

    def draw(self, generator: torch.Generator | None = None) -> Draw:
        """Sample both cells."""
        masks, terms = [], []
        for rows, operations in zip(self.structure, self.operations, strict=True):
            structure = list(rows.parameters())
            mask = torch.zeros(EDGES, len(OPERATIONS), device=operations.device)
            offset = 0
            for node in range(2, NODES + 2):
                pairs = [(low, high) for high in range(1, node) for low in range(high)]
                pair = 0
                if node > 2:
                    pair, term = _draw(structure[node - 3], generator)
                    terms.append(term)
                for source in pairs[pair]:
                    choice, term = _draw(operations[offset + source], generator)
                    terms.append(term)
                    mask[offset + source, choice] = 1.0
                offset += node
            masks.append(mask)
        return Draw(Masks(*masks), terms)


class ChildStep:
    """One step of the shared weights (docs/methods/ednas.md#shared-weights): SGD on every weight, used or not."""

    def __init__(self, network: PlainNetwork, policy: PlainPolicy, lr: float = 0.05, clip: float = 5.0) -> None:
        self.network, self.policy, self.clip = network, policy, clip
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=lr, momentum=0.9, weight_decay=3e-4, nesterov=True, foreach=False
        )

    def __call__(self, images: Tensor, labels: Tensor, masks: Masks | None = None) -> float:
        """One step; samples unless masks are given. Returns the loss."""
        self.network.train()
        draw = self.policy.draw()
        self.optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(self.network(images, masks or draw.masks), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        return loss.item()


class PolicyStep:
    """One REINFORCE step (docs/methods/ednas.md#work-of-a-step): two forward passes, 22 terms backward, Adam."""

    def __init__(self, network: PlainNetwork, policy: PlainPolicy, lr: float = 3.5e-4) -> None:
        self.network, self.policy, self.baseline = network, policy, 0.0
        self.optimizer = torch.optim.Adam(
            policy.parameters(), lr=lr, betas=(0.5, 0.999), weight_decay=1e-3, foreach=False
        )
        for row in policy.parameters():
            row.grad = torch.zeros_like(row)

    def __call__(self, images: Tensor, labels: Tensor, masks: Masks | None = None) -> float:
        """One step; the network runs the given masks, if any, in place of the sampled ones. Returns the reward."""
        self.network.eval()
        draw = self.policy.draw()
        masks = masks or draw.masks
        logits = self.network(images, masks)
        F.cross_entropy(logits, labels).item()
        reward = float((self.network(images, masks).argmax(1) == labels).float().mean())
        self.optimizer.zero_grad(set_to_none=False)
        loss = -(reward - self.baseline) * torch.stack(draw.log_probabilities).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.baseline += 0.01 * (reward - self.baseline)
        return reward


def masks_of(genotype: CellGenotype, dtype: torch.dtype = torch.float32) -> Masks:
    """The masks of a genotype of this space."""

    def read(cell: Cell) -> Tensor:
        mask = torch.zeros(EDGES, len(OPERATIONS), dtype=dtype)
        offset = 0
        for node, inputs in enumerate(cell.nodes, start=2):
            for operation, source in inputs:
                mask[offset + source, OPERATIONS.index(operation)] = 1.0
            offset += node
        return mask

    return Masks(read(genotype.normal), read(genotype.reduce))


def genotype_of(masks: Masks) -> CellGenotype:
    """The inverse of `masks_of`."""

    def read(mask: Tensor) -> Cell:
        rows, nodes, offset = mask.tolist(), [], 0
        for node in range(2, NODES + 2):
            chosen = [(source, rows[offset + source]) for source in range(node) if any(rows[offset + source])]
            nodes.append(tuple(Input(OPERATIONS[row.index(1.0)], source) for source, row in chosen))
            offset += node
        return Cell(tuple(nodes), tuple(range(2, NODES + 2)))

    return CellGenotype(read(masks.normal), read(masks.reduce))


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all weights and statistics between two networks that register the same tensors in the same order.

    The library's supernet and the twin do: stem, cells (preprocess0, preprocess1, edges by operation), classifier.
    Raises ValueError where they do not match.
    """
    pairs = list(zip(source.state_dict().items(), target.state_dict().items(), strict=True))
    for (name, value), (other, place) in pairs:
        if value.shape != place.shape:
            raise ValueError(f"{name} {tuple(value.shape)} does not fit {other} {tuple(place.shape)}.")
    with torch.no_grad():
        for (_, value), (_, place) in pairs:
            place.copy_(value)
