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
    """Depthwise and pointwise weights of some edges, J of each: one half of a separable, or a dilated convolution."""

    def __init__(self, targets: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = _uniform((targets, channels, 1, kernel, kernel), kernel * kernel)
        self.pointwise = _uniform((targets, channels, channels), channels)
        self.norms = RunningNorms(targets, channels)


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
        self.first = nn.ModuleDict()
        self.second = nn.ModuleDict()
        self.pools = nn.ModuleDict()
        self.others = nn.ModuleDict()
        for name in self._columns:
            if name in SEPARABLE:
                self.first[name] = _Stage(targets, channels, SEPARABLE[name])
                self.second[name] = _Stage(targets, channels, SEPARABLE[name])
            elif name in DILATED:
                self.first[name] = _Stage(targets, channels, DILATED[name])
            elif name in POOLS:
                self.pools[name] = nn.BatchNorm2d(channels, affine=False)
            elif name == "skip_connect":
                if stride == 2:
                    self.reduce_even = _uniform((targets, channels // 2, channels), channels)
                    self.reduce_odd = _uniform((targets, channels - channels // 2, channels), channels)
                    self.reduce_norms = RunningNorms(targets, channels)
            else:
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
        for name, norm in self.pools.items():
            pooled = as_matrix(norm(POOLS[name](inputs, self.stride)))
            for total, scale in zip(sums, mixing[:, self._columns[name]].unbind(), strict=True):
                total.add_scaled(pooled, scale)
        if "skip_connect" in self._columns:
            self._skip(inputs, mixing[:, self._columns["skip_connect"]], sums)
        if self.first or self.others:
            activated = F.relu(inputs)
            self._separable_and_dilated(activated, mixing, sums)
            for name, modules in self.others.items():
                scales = mixing[:, self._columns[name]].unbind()
                for module, scale, total in zip(cast(nn.ModuleList, modules), scales, sums, strict=True):
                    total.add_scaled(as_matrix(_without_relu(module, activated)), scale)

    def _skip(self, inputs: Tensor, scales: Tensor, sums: Sequence[NodeSum]) -> None:
        if self.stride == 1:
            for total, scale in zip(sums, scales.unbind(), strict=True):
                total.add_scaled(as_matrix(inputs), scale)
            return
        height, width = inputs.shape[-2:]
        if height % 2 or width % 2:
            inputs = F.pad(inputs, (0, width % 2, 0, height % 2))
        halves = torch.cat([as_matrix(half) for half in relu_halves(inputs)], dim=1)
        channels = inputs.shape[1]
        weights = torch.cat([F.pad(self.reduce_even, (0, channels)), F.pad(self.reduce_odd, (channels, 0))], dim=1)
        factors, shifts = self.reduce_norms.fold(weights, [halves], scales, [0] * self._targets)
        for total, factor, shift in zip(sums, factors, shifts, strict=True):
            total.add_product(halves, factor, shift)

    def _separable_and_dilated(self, activated: Tensor, mixing: Tensor, sums: Sequence[NodeSum]) -> None:
        sources = _Sources(activated, self.stride)
        for name, module in self.first.items():
            stage = cast(_Stage, module)
            scales = mixing[:, self._columns[name]]
            if name in DILATED:
                inputs, dilation = sources.dilated()
                outputs = [depthwise_conv2d(inputs, weight, 1, dilation) for weight in stage.depthwise]
                matrices = [as_matrix(output) for output in outputs]
                factors, shifts = stage.norms.fold(stage.pointwise, matrices, scales)
                for total, matrix, factor, shift in zip(sums, matrices, factors, shifts, strict=True):
                    total.add_product(matrix, factor, shift, phased=sources.phased)
                continue
            outputs = [depthwise_conv2d(activated, weight, self.stride) for weight in stage.depthwise]
            matrices = [as_matrix(output) for output in outputs]
            factors, shifts = stage.norms.fold(stage.pointwise, matrices, None)
            self._second_half(name, outputs[0].shape, zip(matrices, factors, shifts, strict=True), scales, sums)

    def _second_half(self, name, shape, products, scales, sums) -> None:  # type: ignore[no-untyped-def]
        stage = cast(_Stage, self.second[name])
        count, _, height, width = shape
        matrices = []
        for weight, (matrix, factor, shift) in zip(stage.depthwise, products, strict=True):
            inner = from_matrix(torch.addmm(shift, matrix, factor).relu_(), count, height, width)
            matrices.append(as_matrix(depthwise_conv2d(inner, weight)))
        factors, shifts = stage.norms.fold(stage.pointwise, matrices, scales)
        for total, matrix, factor, shift in zip(sums, matrices, factors, shifts, strict=True):
            total.add_product(matrix, factor, shift)


class _Sources:
    """The inputs of dilated convolutions, rearranged once for all of them so that dilation 2 becomes dilation 1."""

    def __init__(self, activated: Tensor, stride: int) -> None:
        even = activated.shape[-2] % 2 == 0 and activated.shape[-1] % 2 == 0
        self._activated, self._stride = activated, stride
        self.phased = stride == 1 and even and activated.device.type == "cpu"
        self._rearranged: Tensor | None = None

    def dilated(self) -> tuple[Tensor, int]:
        """The inputs, and the dilation that is left."""
        if self._rearranged is None:
            if self._stride == 2:  # the padding is even: only even pixels are read
                self._rearranged = pick_even(self._activated)
            else:
                self._rearranged = to_phases(self._activated) if self.phased else self._activated
        return self._rearranged, 2 if self._stride == 1 and not self.phased else 1


def _without_relu(operation: nn.Module, activated: Tensor) -> Tensor:
    """An operation that begins with a ReLU, on inputs that went through it already."""
    for module in list(operation.children())[1:]:
        activated = module(activated)
    return activated
