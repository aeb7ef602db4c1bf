"""All mixed edges that leave one node of a cell, evaluated together.

A mixed edge is `sum_o m_o o(x)` over its operations, with mixing weights m that a method computes (softmax in DARTS,
sigmoids in FairDARTS and D-DARTS). `MixedSource` equals that plain formula with one module for each edge and operation,
and shares what the edges have in common: the ReLU, the pools and their norms, and the rearranged inputs of dilated and
strided operations are computed once; pointwise convolutions, batch norms and mixing weights become one product that is
added to the node's sum (see `pointwise_norm`). An operation `none` is simply left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.depthwise import depthwise_conv2d, from_phases, to_phases
from archscout.nn.layout import pick_even, relu_halves
from archscout.nn.operations import make_operation
from archscout.nn.pointwise_norm import RunningNorms, as_matrix, from_matrix

__all__ = ["MixedSource", "NodeSum"]

SEPARABLE = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7}
DILATED = {"dil_conv_3x3": 3, "dil_conv_5x5": 5}
POOLS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max_pool_3x3": lambda inputs, stride: F.max_pool2d(inputs, 3, stride, 1),
    "avg_pool_3x3": lambda inputs, stride: F.avg_pool2d(inputs, 3, stride, 1, count_include_pad=False),
}


class NodeSum:
    """The sum at a node while the edges that enter it are evaluated: matrices `(N H W, C)` are added in place."""

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

    def add_scaled(self, values: Tensor, scale: Tensor) -> None:
        """Add `scale * values`."""
        if self._plain is None:
            self._plain = values * scale
        else:
            self._plain.addcmul_(values, scale)

    def finish(self, count: int, height: int, width: int) -> Tensor:
        """The sum as `(N, C, H, W)`."""
        parts = []
        if self._plain is not None:
            parts.append(from_matrix(self._plain, count, height, width))
        if self._phased is not None:
            parts.append(from_phases(from_matrix(self._phased, 4 * count, height // 2, width // 2)))
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if self._shifts:
            total = total + torch.stack(self._shifts).sum(0).view(1, -1, 1, 1)
        return total


class _Stage(nn.Module):
    """One half of separable convolutions, or the first halves and the dilated ones: depthwise, pointwise, norm.

    Each of several operations on each of J edges has a row: all edges of the first operation, then of the second, ...
    """

    def __init__(self, targets: int, channels: int, kernels: dict[str, int]) -> None:
        super().__init__()
        self.names = tuple(kernels)
        self.depthwise = nn.ParameterDict(
            {
                name: _uniform((targets, channels, 1, kernel, kernel), kernel * kernel)
                for name, kernel in kernels.items()
            }
        )
        rows = len(kernels) * targets
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
    """

    def __init__(self, channels: int, stride: int, targets: int, operations: Sequence[str]) -> None:
        super().__init__()
        self.stride, self._targets = stride, targets
        self._columns = {name: column for column, name in enumerate(operations) if name != "none"}
        separable = {name: SEPARABLE[name] for name in self._columns if name in SEPARABLE}
        dilated = {name: DILATED[name] for name in self._columns if name in DILATED}
        self.first = _Stage(targets, channels, {**separable, **dilated}) if separable or dilated else None
        self.second = _Stage(targets, channels, separable) if separable else None
        self.pools = nn.ModuleDict(
            {name: nn.BatchNorm2d(channels, affine=False) for name in self._columns if name in POOLS}
        )
        self.others = nn.ModuleDict()
        for name in self._columns:
            if name == "skip_connect" and stride == 2:
                self.reduce_even = _uniform((targets, channels // 2, channels), channels)
                self.reduce_odd = _uniform((targets, channels - channels // 2, channels), channels)
                self.reduce_norms = RunningNorms(targets, channels)
            elif name not in {*separable, *dilated, *POOLS, "skip_connect"}:
                self.others[name] = nn.ModuleList(
                    make_operation(name, channels, stride, search=True) for _ in range(targets)
                )

    def forward(self, inputs: Tensor, mixing: Tensor, sums: Sequence[NodeSum]) -> None:
        """Add every edge to the sum of its target.

        Args:
            inputs: the node's value `(N, C, H, W)`.
            mixing: `(J, O)`, a column for each operation.
            sums: of the J targets.
        """
        scales = {name: mixing[:, column] for name, column in self._columns.items()}
        for name, norm in self.pools.items():
            pooled = as_matrix(norm(POOLS[name](inputs, self.stride)))
            _add_scaled(pooled, scales[name], sums)
        if "skip_connect" in scales:
            if self.stride == 1:
                _add_scaled(as_matrix(inputs), scales["skip_connect"], sums)
            else:
                self._factorized_reduce(inputs, scales["skip_connect"], sums)
        if self.first is None and not self.others:
            return
        activated = F.relu(inputs)
        if self.first is not None:
            self._convolutions(self.first, activated, scales, sums)
        for name, modules in self.others.items():
            for module, scale, total in zip(cast(nn.ModuleList, modules), scales[name].unbind(), sums, strict=True):
                total.add_scaled(as_matrix(_without_relu(module, activated)), scale)

    def _factorized_reduce(self, inputs: Tensor, scales: Tensor, sums: Sequence[NodeSum]) -> None:
        height, width = inputs.shape[-2:]
        if height % 2 or width % 2:
            inputs = F.pad(inputs, (0, width % 2, 0, height % 2))
        halves = torch.cat([as_matrix(half) for half in relu_halves(inputs)], dim=1)
        channels = inputs.shape[1]
        weights = torch.cat([F.pad(self.reduce_even, (0, channels)), F.pad(self.reduce_odd, (channels, 0))], dim=1)
        products = self.reduce_norms.fold(weights, [halves], scales, [0] * self._targets)
        for total, factor, shift in zip(sums, *(part.unbind() for part in products), strict=True):
            total.add_product(halves, factor, shift)

    def _convolutions(
        self, stage: _Stage, activated: Tensor, scales: dict[str, Tensor], sums: Sequence[NodeSum]
    ) -> None:
        """The separable and the dilated convolutions."""
        dilated = _DilatedInputs(activated, self.stride)
        outputs: list[Tensor] = []
        for name in stage.names:
            inputs, stride, dilation = (activated, self.stride, 1) if name in SEPARABLE else dilated.arrange()
            outputs += [depthwise_conv2d(inputs, weight, stride, dilation) for weight in stage.depthwise[name].unbind()]
        matrices = [as_matrix(output) for output in outputs]
        # The first half of a separable convolution is not weighted: its second half is.
        ones = torch.ones_like(next(iter(scales.values())))
        rows = torch.cat([ones if name in SEPARABLE else scales[name] for name in stage.names])
        folded = stage.norms.fold(stage.pointwise, matrices, rows)
        products = list(zip(matrices, *(part.unbind() for part in folded), strict=True))
        halves = sum(name in SEPARABLE for name in stage.names) * self._targets
        for row, (matrix, factor, shift) in enumerate(products[halves:]):
            sums[row % self._targets].add_product(matrix, factor, shift, phased=dilated.phased)
        if self.second is not None:
            self._second_halves(self.second, outputs[0].shape, products[:halves], scales, sums)

    def _second_halves(
        self,
        stage: _Stage,
        shape: torch.Size,
        products: Sequence[tuple[Tensor, Tensor, Tensor]],
        scales: dict[str, Tensor],
        sums: Sequence[NodeSum],
    ) -> None:
        """The second halves of the separable convolutions, on the products of the first ones."""
        count, _, height, width = shape
        weights = [weight for name in stage.names for weight in stage.depthwise[name].unbind()]
        matrices = []
        for weight, (matrix, factor, shift) in zip(weights, products, strict=True):
            inner = from_matrix(torch.addmm(shift, matrix, factor).relu_(), count, height, width)
            matrices.append(as_matrix(depthwise_conv2d(inner, weight)))
        folded = stage.norms.fold(stage.pointwise, matrices, torch.cat([scales[name] for name in stage.names]))
        for row, (matrix, factor, shift) in enumerate(zip(matrices, *(part.unbind() for part in folded), strict=True)):
            sums[row % self._targets].add_product(matrix, factor, shift)


def _add_scaled(values: Tensor, scales: Tensor, sums: Sequence[NodeSum]) -> None:
    for total, scale in zip(sums, scales.unbind(), strict=True):
        total.add_scaled(values, scale)


class _DilatedInputs:
    """The inputs of dilated convolutions, rearranged once for all of them so that dilation 2 becomes dilation 1."""

    def __init__(self, activated: Tensor, stride: int) -> None:
        even = activated.shape[-2] % 2 == 0 and activated.shape[-1] % 2 == 0
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
