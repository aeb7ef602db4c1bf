"""All mixed edges that leave one node of a cell, evaluated together.

A mixed edge is `sum_o m_o o(x)` over its operations, with mixing weights m that a method computes (softmax in DARTS,
sigmoids in FairDARTS and D-DARTS). `MixedSource` equals that plain formula with one module for each edge and operation,
and shares what the edges have in common: the ReLU, the pools and their norms, and the rearranged inputs of dilated and
strided operations are computed once; pointwise convolutions, batch norms and mixing weights become one product that is
added to the node's sum (see `pointwise_norm`). An operation `none` is simply left out.

Values are pictures `(N, C, H, W)` or sequences `(N, C, L)`. Each edge may have a subset of the operations of its own: a
progressive search drops some of them between its stages.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.depthwise import depthwise_conv, from_phases, to_phases
from archscout.nn.layout import pick_even, relu, relu_halves
from archscout.nn.operations import make_operation, pad_to_even
from archscout.nn.pointwise_norm import RunningNorms, as_matrix, from_matrix

__all__ = ["MixedSource", "NodeSum"]

SEPARABLE = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7}
DILATED = {"dil_conv_3x3": 3, "dil_conv_5x5": 5}
POOLS = ("max_pool_3x3", "avg_pool_3x3")


def _pool(name: str, inputs: Tensor, stride: int) -> Tensor:
    if name == "max_pool_3x3":
        return (F.max_pool1d if inputs.dim() == 3 else F.max_pool2d)(inputs, 3, stride, 1)
    average = F.avg_pool1d if inputs.dim() == 3 else F.avg_pool2d
    return average(inputs, 3, stride, 1, count_include_pad=False)


class NodeSum:
    """The sum at a node while the edges that enter it are evaluated: matrices `(N H W, C)` add up in place."""

    def __init__(self) -> None:
        self._plain: Tensor | None = None
        self._phased: Tensor | None = None
        self._shifts: list[Tensor] = []

    def add_product(self, inputs: Tensor, factor: Tensor, shift: Tensor, *, phased: bool = False) -> None:
        """Add `inputs @ factor + shift`; `phased` where the rows are in the order of `to_phases`."""
        total = self._phased if phased else self._plain
        self._shifts.append(shift)
        if total is not None:
            total.addmm_(inputs, factor)
        elif phased:
            self._phased = inputs @ factor
        else:
            self._plain = inputs @ factor

    def add_scaled(self, values: Tensor, scale: Tensor, shift: Tensor | None = None) -> None:
        """Add `values * scale + shift`; the scale is a number or a row."""
        if shift is not None:
            self._shifts.append(shift)
        if self._plain is None:
            self._plain = values * scale
        else:
            self._plain.addcmul_(values, scale)

    def finish(self, count: int, size: Sequence[int]) -> Tensor:
        """The sum as `(N, C, *size)`."""
        parts = []
        if self._plain is not None:
            parts.append(from_matrix(self._plain, count, size))
        if self._phased is not None:
            halves = [length // 2 for length in size]
            parts.append(from_phases(from_matrix(self._phased, 2 ** len(size) * count, halves)))
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if self._shifts:
            total = total + torch.stack(self._shifts).sum(0).view(1, -1, *(1,) * len(size))
        return total


class _Stage(nn.Module):
    """One half of separable convolutions, or the first halves and the dilated ones: depthwise, pointwise, norm.

    Each of several operations on each of its edges has a row: all edges of the first operation, then of the second, ...

    Args:
        channels: of every row.
        kernels: kernel size of each operation.
        targets: the edges that have the operation, by operation.
        dims: of the kernels.
    """

    def __init__(self, channels: int, kernels: dict[str, int], targets: dict[str, list[int]], dims: int) -> None:
        super().__init__()
        self.names = tuple(kernels)
        self.depthwise = nn.ParameterDict(
            {
                name: _uniform((len(targets[name]), channels, 1, *(kernel,) * dims), kernel**dims)
                for name, kernel in kernels.items()
            }
        )
        rows = sum(len(targets[name]) for name in kernels)
        self.pointwise = _uniform((rows, channels, channels), channels)
        self.norms = RunningNorms(rows, channels)


def _uniform(shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """Drawn as torch draws the weights of a convolution."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class MixedSource(nn.Module):
    """All mixed edges from one node to J later nodes of a cell, in search form (batch norms without affine parameters).

    Args:
        channels: of every node.
        stride: 1, or 2 for an input of a reduction cell.
        targets: J.
        operations: names, in the order of the mixing weights' columns.
        dims: 2 for pictures, 1 for sequences.
        live: the operations that each of the J edges has; None: all of them have all.

    Attributes:
        skip_dropout: share of the values of skip connections of stride 1 that training drops, on each edge by itself;
            draws from torch's default generator.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        targets: int,
        operations: Sequence[str],
        *,
        dims: int = 2,
        live: Sequence[Collection[str]] | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.skip_dropout = stride, 0.0
        edges = {
            name: [target for target in range(targets) if live is None or name in live[target]]
            for name in operations
            if name != "none"
        }
        self._edges = {name: targets for name, targets in edges.items() if targets}
        self._columns = {name: column for column, name in enumerate(operations)}
        separable = {name: SEPARABLE[name] for name in self._edges if name in SEPARABLE}
        dilated = {name: DILATED[name] for name in self._edges if name in DILATED}
        both = {**separable, **dilated}
        self.first = _Stage(channels, both, self._edges, dims) if both else None
        self.second = _Stage(channels, separable, self._edges, dims) if separable else None
        self.pools = nn.ModuleDict({name: RunningNorms(1, channels) for name in self._edges if name in POOLS})
        self.others = nn.ModuleDict()
        for name, mine in self._edges.items():
            if name == "skip_connect" and stride == 2:
                self.reduce_even = _uniform((len(mine), channels // 2, channels), channels)
                self.reduce_odd = _uniform((len(mine), channels - channels // 2, channels), channels)
                self.reduce_norms = RunningNorms(len(mine), channels)
            elif name not in {*separable, *dilated, *POOLS, "skip_connect"}:
                self.others[name] = nn.ModuleList(
                    make_operation(name, channels, stride, search=True, dims=dims) for _ in mine
                )

    def forward(self, inputs: Tensor, mixing: Tensor, sums: Sequence[NodeSum]) -> None:
        """Add every edge to the sum of its target.

        Args:
            inputs: the node's value `(N, C, H, W)` or `(N, C, L)`.
            mixing: `(J, O)`, a column for each operation; only those that an edge has are read.
            sums: of the J targets.
        """
        scales = {
            name: mixing[:, self._columns[name]] if len(mine) == len(sums) else mixing[mine, self._columns[name]]
            for name, mine in self._edges.items()
        }
        targets = {name: [sums[target] for target in mine] for name, mine in self._edges.items()}
        for name, norm in self.pools.items():
            pooled = as_matrix(_pool(name, inputs, self.stride))
            folded = cast(RunningNorms, norm).scale(pooled, scales[name])
            for total, factor, shift in zip(targets[name], *(part.unbind() for part in folded), strict=True):
                total.add_scaled(pooled, factor, shift)
        if "skip_connect" in scales:
            skip = self._skip if self.stride == 1 else self._factorized_reduce
            skip(inputs, scales["skip_connect"], targets["skip_connect"])
        if self.first is None and not self.others:
            return
        activated = relu(inputs)
        if self.first is not None:
            self._convolutions(self.first, activated, scales, targets)
        for name, modules in self.others.items():
            pairs = zip(cast(nn.ModuleList, modules), scales[name].unbind(), targets[name], strict=True)
            for module, scale, total in pairs:
                total.add_scaled(as_matrix(_without_relu(module, activated)), scale)

    def _skip(self, inputs: Tensor, scales: Tensor, sums: Sequence[NodeSum]) -> None:
        rate = self.skip_dropout if self.training else 0.0
        for total, scale in zip(sums, scales.unbind(), strict=True):
            total.add_scaled(as_matrix(F.dropout(inputs, rate) if rate else inputs), scale)

    def _factorized_reduce(self, inputs: Tensor, scales: Tensor, sums: Sequence[NodeSum]) -> None:
        halves = torch.cat([as_matrix(half) for half in relu_halves(pad_to_even(inputs))], dim=1)
        channels = inputs.shape[1]
        weights = torch.cat([F.pad(self.reduce_even, (0, channels)), F.pad(self.reduce_odd, (channels, 0))], dim=1)
        products = self.reduce_norms.fold(weights, [halves], scales, [0] * len(sums))
        for total, factor, shift in zip(sums, *(part.unbind() for part in products), strict=True):
            total.add_product(halves, factor, shift)

    def _convolutions(
        self, stage: _Stage, activated: Tensor, scales: dict[str, Tensor], targets: dict[str, list[NodeSum]]
    ) -> None:
        """The separable and the dilated convolutions."""
        dilated = _DilatedInputs(activated, self.stride)
        outputs: list[Tensor] = []
        for name in stage.names:
            inputs, stride, dilation = (activated, self.stride, 1) if name in SEPARABLE else dilated.arrange()
            outputs += [depthwise_conv(inputs, weight, stride, dilation) for weight in stage.depthwise[name].unbind()]
        matrices = [as_matrix(output) for output in outputs]
        # The first half of a separable convolution is not weighted: its second half is.
        rows = torch.cat([torch.ones_like(scales[name]) if name in SEPARABLE else scales[name] for name in stage.names])
        folded = stage.norms.fold(stage.pointwise, matrices, rows)
        products = list(zip(matrices, *(part.unbind() for part in folded), strict=True))
        halves = sum(len(targets[name]) for name in stage.names if name in SEPARABLE)
        sums = [total for name in stage.names if name in DILATED for total in targets[name]]
        for total, (matrix, factor, shift) in zip(sums, products[halves:], strict=True):
            total.add_product(matrix, factor, shift, phased=dilated.phased)
        if self.second is not None:
            self._second_halves(self.second, outputs[0].shape, products[:halves], scales, targets)

    def _second_halves(
        self,
        stage: _Stage,
        shape: torch.Size,
        products: Sequence[tuple[Tensor, Tensor, Tensor]],
        scales: dict[str, Tensor],
        targets: dict[str, list[NodeSum]],
    ) -> None:
        """The second halves of the separable convolutions, on the products of the first ones."""
        weights = [weight for name in stage.names for weight in stage.depthwise[name].unbind()]
        matrices = []
        for weight, (matrix, factor, shift) in zip(weights, products, strict=True):
            inner = from_matrix(relu(torch.addmm(shift, matrix, factor), inplace=True), shape[0], shape[2:])
            matrices.append(as_matrix(depthwise_conv(inner, weight)))
        folded = stage.norms.fold(stage.pointwise, matrices, torch.cat([scales[name] for name in stage.names]))
        sums = [total for name in stage.names for total in targets[name]]
        for total, matrix, factor, shift in zip(sums, matrices, *(part.unbind() for part in folded), strict=True):
            total.add_product(matrix, factor, shift)


class _DilatedInputs:
    """The inputs of dilated convolutions, rearranged once for all of them so that dilation 2 becomes dilation 1."""

    def __init__(self, activated: Tensor, stride: int) -> None:
        even = all(length % 2 == 0 for length in activated.shape[2:])
        self._activated, self._stride = activated, stride
        self.phased = stride == 1 and even and activated.device.type == "cpu"
        self._rearranged: Tensor | None = None

    def arrange(self) -> tuple[Tensor, int, int]:
        """The inputs, and the stride and the dilation that are left."""
        if self._rearranged is None:
            if self._stride == 2:  # the padding is even: only even pixels are read
                self._rearranged = pick_even(self._activated)
            else:
                self._rearranged = to_phases(self._activated) if self.phased else self._activated
        return self._rearranged, 1, 2 if self._stride == 1 and not self.phased else 1


def _without_relu(operation: nn.Module, activated: Tensor) -> Tensor:
    """An operation that begins with a ReLU, on inputs that went through it already."""
    for module in list(operation.children())[1:]:
        activated = module(activated)
    return activated
