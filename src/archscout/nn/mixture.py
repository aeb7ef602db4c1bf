"""All mixed edges that leave one node of a cell, evaluated together.

A mixed edge is `sum_o m_o o(x)` over its operations, with mixing weights m that a method computes (softmax in DARTS,
sigmoids in FairDARTS and D-DARTS). `MixedSource` equals that plain formula with one module for each edge and operation,
and shares what the edges have in common: the ReLU, the pools and their norms, and the rearranged inputs of dilated and
strided operations are computed once; pointwise convolutions, batch norms and mixing weights become one product that is
added to the node's sum (see `pointwise_norm`). The outputs of an operation on all edges lie side by side in the
channels: it takes as many calls for all of them as for one. An operation `none` is simply left out.

Values are images `(N, C, H, W)` or sequences `(N, C, L)`. Each edge may have a subset of the operations of its own: a
progressive search drops some of them between its stages.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.fast.depthwise import depthwise_conv
from archscout.nn.fast.edge_sums import EdgeSums, NodeSum, Stack
from archscout.nn.fast.layout import pick_even, relu, relu_halves, repeat_channels
from archscout.nn.fast.matrices import as_matrix
from archscout.nn.fast.phases import to_phases
from archscout.nn.fast.pointwise_norm import RunningNorms, channel_factors, products
from archscout.nn.fast.separable import separable_middle
from archscout.nn.operations import make_operation, pad_to_even

__all__ = ["MixedSource"]

SEPARABLE = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7}
DILATED = {"dil_conv_3x3": 3, "dil_conv_5x5": 5}
POOLS = ("max_pool_3x3", "avg_pool_3x3")


def _pool(name: str, inputs: Tensor, stride: int) -> Tensor:
    if name == "max_pool_3x3":
        return (F.max_pool1d if inputs.dim() == 3 else F.max_pool2d)(inputs, 3, stride, 1)
    average = F.avg_pool1d if inputs.dim() == 3 else F.avg_pool2d
    return average(inputs, 3, stride, 1, count_include_pad=False)


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
        dims: 2 for images, 1 for sequences.
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
            mixing: `(J, O)`, a column for each operation; finite, also where an edge lacks the operation.
            sums: of the J targets.
        """
        scales = {
            name: mixing[:, self._columns[name]] if len(mine) == len(sums) else mixing[mine, self._columns[name]]
            for name, mine in self._edges.items()
            if name not in POOLS
        }
        size = [(length + self.stride - 1) // self.stride for length in inputs.shape[2:]]
        totals = EdgeSums(sums, len(inputs), size)
        if self.first is not None or self.others:
            activated = relu(inputs)
            if self.first is not None:
                self._convolutions(self.first, activated, scales, totals)
            for name, modules in self.others.items():
                values = [as_matrix(_without_relu(module, activated)) for module in cast(nn.ModuleList, modules)]
                totals.add(self._edges[name], _scaled_apart(torch.stack(values, dim=1), scales[name]))
        if "skip_connect" in scales:
            skip = self._skip if self.stride == 1 else self._factorized_reduce
            skip(inputs, scales["skip_connect"], totals)
        if self.pools:
            self._pools(inputs, mixing, totals)
        totals.hand_over()

    def _pools(self, inputs: Tensor, mixing: Tensor, totals: EdgeSums) -> None:
        pooled = [as_matrix(_pool(name, inputs, self.stride)) for name in self.pools]
        scales = torch.stack([mixing[:, self._columns[name]] for name in self.pools])
        norms = [cast(RunningNorms, norm) for norm in self.pools.values()]
        parts = zip(self.pools, pooled, *channel_factors(norms, pooled, scales), strict=True)
        for name, matrix, factors, shifts in parts:
            mine = self._edges[name]
            own = [each if len(mine) == len(mixing) else each[mine] for each in (factors, shifts)]
            totals.add_scaled(mine, matrix, own[0])
            totals.add_shifts(mine, own[1])

    def _skip(self, inputs: Tensor, scales: Tensor, totals: EdgeSums) -> None:
        rate, mine = self.skip_dropout if self.training else 0.0, self._edges["skip_connect"]
        values = as_matrix(inputs)
        if rate:
            apart = F.dropout(values.unsqueeze(1).expand(-1, len(scales), -1), rate)
            totals.add(mine, _scaled_apart(apart, scales))
        else:
            totals.add_scaled(mine, values, scales.unsqueeze(1).expand(-1, values.shape[1]))

    def _factorized_reduce(self, inputs: Tensor, scales: Tensor, totals: EdgeSums) -> None:
        halves = torch.cat([as_matrix(half) for half in relu_halves(pad_to_even(inputs))], dim=1)
        channels = inputs.shape[1]
        weights = torch.cat([F.pad(self.reduce_even, (0, channels)), F.pad(self.reduce_odd, (channels, 0))], dim=1)
        # All edges read the same: one product.
        rows = scales.repeat_interleave(channels)
        kernels, shifts, folded = self.reduce_norms.fold(weights.flatten(0, 1).unsqueeze(0), [halves], rows)
        (found,) = products(kernels, folded, [0])
        totals.add(self._edges["skip_connect"], found)
        totals.add_shifts(self._edges["skip_connect"], shifts.view(-1, channels))

    def _convolutions(self, stage: _Stage, activated: Tensor, scales: dict[str, Tensor], totals: EdgeSums) -> None:
        """The separable and the dilated convolutions."""
        separable, rest = ([name for name in stage.names if name in kind] for kind in (SEPARABLE, DILATED))
        stacks = {name: totals.stacks(self._edges[name], activated.shape[1]) for name in stage.names}

        def depthwise(names: Sequence[str], inputs: Tensor, stride: int, dilation: int) -> list[Tensor]:
            kernels, channels = _kernels(stage, names, stacks), inputs.shape[1]
            repeated = {times: repeat_channels(inputs, times) for times in {len(each) // channels for each in kernels}}
            read = [repeated[len(kernel) // channels] for kernel in kernels]
            return [as_matrix(depthwise_conv(*pair, stride, dilation)) for pair in zip(read, kernels, strict=True)]

        matrices, phased = depthwise(separable, activated, self.stride, 1), False
        halves, inner = sum(len(self._edges[name]) for name in separable), len(matrices)
        if rest:
            inputs, dilation, phased = _dilated_inputs(activated, self.stride)
            matrices += depthwise(rest, inputs, 1, dilation)
        rows = torch.cat([stage.pointwise.new_ones(halves), *(scales[name] for name in rest)])
        factors, shifts, folded = stage.norms.fold(stage.pointwise, matrices, rows)
        sizes = [halves, len(rows) - halves]
        (inner_factors, factors), (inner_shifts, shifts) = torch.split(factors, sizes), torch.split(shifts, sizes)
        if rest:
            self._add_products(factors, shifts, folded[inner:], rest, stacks, totals, phased=phased)
        if self.second is not None:
            kernels = _kernels(self.second, separable, stacks)
            middle = separable_middle(inner_factors, inner_shifts, folded[:inner], kernels, totals.count, totals.size)
            rows = torch.cat([scales[name] for name in separable])
            found = self.second.norms.fold(self.second.pointwise, middle, rows)
            self._add_products(*found, separable, stacks, totals)

    def _add_products(
        self,
        kernels: Tensor,
        shifts: Tensor,
        matrices: Sequence[Tensor],
        names: Sequence[str],
        stacks: dict[str, list[Stack]],
        totals: EdgeSums,
        *,
        phased: bool = False,
    ) -> None:
        """Add the products of some operations to the sums of their edges."""
        owners = [stack for name in names for stack in stacks[name]]
        distinct = list(dict.fromkeys(owners))
        found = products(kernels, matrices, [distinct.index(owner) for owner in owners])
        for stack, values in zip(distinct, found, strict=True):
            totals.add(stack, values, phased=phased)
        totals.add_shifts([edge for name in names for edge in self._edges[name]], shifts)


def _kernels(stage: _Stage, names: Sequence[str], stacks: dict[str, list[Stack]]) -> list[Tensor]:
    """The kernels of depthwise convolutions, side by side for the edges of a stack."""
    weights = [(stage.depthwise[name], stacks[name]) for name in names]
    return [part for weight, mine in weights for part in (weight.unbind() if len(mine) > 1 else [weight.flatten(0, 1)])]


def _dilated_inputs(activated: Tensor, stride: int) -> tuple[Tensor, int, bool]:
    """The inputs of convolutions with dilation 2, rearranged so that stride and dilation become 1 where they can.

    Returns:
        The inputs, the dilation that is left, and whether the outputs are in the order of `to_phases`.
    """
    if stride == 2:  # the padding is even: only even pixels are read
        return pick_even(activated), 1, False
    if activated.device.type == "cpu" and all(length % 2 == 0 for length in activated.shape[2:]):
        return to_phases(activated), 1, True
    return activated, 2, False


def _without_relu(operation: nn.Module, activated: Tensor) -> Tensor:
    """An operation that begins with a ReLU, on inputs that went through it already."""
    for module in list(operation.children())[1:]:
        activated = module(activated)
    return activated


def _scaled_apart(values: Tensor, scales: Tensor) -> Tensor:
    """Values `(P, G, C)` times `(G,)`, as a stacked matrix."""
    return (values * scales.unsqueeze(1)).flatten(1)
