"""All mixed edges that leave one node of a cell.

A mixed edge is `sum_o m_o o(x)` over its operations, with mixing weights m that a method computes (softmax in DARTS,
sigmoids in FairDARTS and D-DARTS). The operations are those of `archscout.nn.operations` in their search form, with the
weights and running statistics of all edges stacked; an operation `none` is left out. What has no weights is the same on
every edge and computed once: the ReLU before the convolutions, the pools.

Where memory is short, `recompute` drops what is inside the convolutions after the forward pass; the backward pass
computes it again.

Values are images `(N, C, H, W)` or sequences `(N, C, L)`. Each edge may have a subset of the operations of its own: a
progressive search drops some of them between its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from archscout.nn.fast.depthwise import depthwise_conv
from archscout.nn.fast.layout import as_image, concatenate, on_plain_cpu, relu_halves
from archscout.nn.operations import DILATED, SEPARABLE, make_operation, pad_to_even

__all__ = ["MixedSource"]

POOLS = ("max_pool_3x3", "avg_pool_3x3")
MOMENTUM = 0.1  # of the running statistics, as torch's batch norms have it


class MixedSource(nn.Module):
    """All mixed edges from one node to J later nodes of a cell, in search form (batch norms without affine parameters).

    Args:
        channels: of every node.
        stride: 1, or 2 for an input of a reduction cell.
        targets: J.
        operations: names, in the order of the mixing weights' columns.
        dims: 2 for images, 1 for sequences.
        live: the operations that each of the J edges has; None: all of them have all.
        recompute: compute separable and dilated convolutions again in the backward pass.

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
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.recompute, self.skip_dropout = stride, recompute, 0.0
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
        self.pools = nn.ModuleDict({name: _Norms(1, channels) for name in self._edges if name in POOLS})
        self.others = nn.ModuleDict()
        for name, mine in self._edges.items():
            if name == "skip_connect" and stride == 2:
                self.reduce_even = _uniform((len(mine), channels // 2, channels), channels)
                self.reduce_odd = _uniform((len(mine), channels - channels // 2, channels), channels)
                self.reduce_norms = _Norms(len(mine), channels)
            elif name not in {*separable, *dilated, *POOLS, "skip_connect"}:
                self.others[name] = nn.ModuleList(
                    make_operation(name, channels, stride, search=True, dims=dims) for _ in mine
                )

    def forward(self, inputs: Tensor, mixing: Tensor) -> list[Tensor]:
        """The sum of each edge; an edge without operations gives a zero that has no axes.

        Args:
            inputs: the node's value `(N, C, H, W)` or `(N, C, L)`.
            mixing: `(J, O)`, a column for each operation; finite, also where an edge lacks the operation.
        """
        sums: list[Tensor | None] = [None] * len(mixing)
        rows = [row.unbind() for row in mixing.unbind()]
        activated = F.relu(inputs)
        for name, edges in self._edges.items():
            weights = [rows[edge][self._columns[name]] for edge in edges]
            for edge, term in zip(edges, self._weighted(name, inputs, activated, weights), strict=True):
                before = sums[edge]
                sums[edge] = term if before is None else before + term
        return [inputs.new_zeros(()) if total is None else total for total in sums]

    def _weighted(self, name: str, inputs: Tensor, activated: Tensor, weights: Sequence[Tensor]) -> Iterator[Tensor]:
        """`m_o o(x)` of an operation, for each edge that has it."""
        if name in SEPARABLE:
            rows = (cast(_Stage, stage).rows(name) for stage in (self.first, self.second))
            for each in zip(*rows, weights, strict=True):
                yield self._run(partial(self._separable, activated, *each))
        elif name in DILATED:
            first = cast(_Stage, self.first)
            for row, weight in zip(first.rows(name), weights, strict=True):
                yield self._run(partial(first, activated, row, self.stride, 2, weight))
        elif name in POOLS:
            pooled = cast(_Norms, self.pools[name])(_pool(name, inputs, self.stride), 0)
            yield from (weight * pooled for weight in weights)
        elif name != "skip_connect":
            modules = cast(nn.ModuleList, self.others[name])
            yield from (weight * module(inputs) for weight, module in zip(weights, modules, strict=True))
        elif self.stride == 2:
            even, odd = relu_halves(pad_to_even(inputs))
            kernels = zip(weights, self.reduce_even.unbind(), self.reduce_odd.unbind(), strict=True)
            for place, (weight, *kernel) in enumerate(kernels):
                joined = concatenate([_pointwise(even, kernel[0]), _pointwise(odd, kernel[1])])
                yield self.reduce_norms(joined, place, weight)
        elif self.training and self.skip_dropout:
            apart = inputs.movedim(1, -1).reshape(-1, 1, inputs.shape[1]).expand(-1, len(weights), -1)
            for weight, values in zip(weights, F.dropout(apart, self.skip_dropout).unbind(1), strict=True):
                yield weight * values.reshape(len(inputs), *inputs.shape[2:], -1).movedim(-1, 1)
        else:
            yield from (weight * inputs for weight in weights)

    def _separable(self, activated: Tensor, row: _Row, next_row: _Row, weight: Tensor, momentum: float) -> Tensor:
        first, second = cast(_Stage, self.first), cast(_Stage, self.second)
        middle = F.relu(first(activated, row, self.stride, 1, None, momentum), inplace=True)
        return cast(Tensor, second(middle, next_row, 1, 1, weight, momentum))

    def _run(self, operation: Callable[[float], Tensor]) -> Tensor:
        """An operation, called with the momentum of its running statistics; in the backward pass once more."""
        if not self.recompute:
            return operation(MOMENTUM)
        momenta = chain([MOMENTUM], repeat(0.0))  # the statistics move on once
        again = checkpoint(lambda: operation(next(momenta)), use_reentrant=False, preserve_rng_state=False)
        return cast(Tensor, again)


def _pool(name: str, inputs: Tensor, stride: int) -> Tensor:
    if name == "max_pool_3x3":
        return (F.max_pool1d if inputs.dim() == 3 else F.max_pool2d)(inputs, 3, stride, 1)
    average = F.avg_pool1d if inputs.dim() == 3 else F.avg_pool2d
    return average(inputs, 3, stride, 1, count_include_pad=False)


def _uniform(shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """Drawn as torch draws the weights of a convolution."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _pointwise(inputs: Tensor, weight: Tensor) -> Tensor:
    """A 1 x 1 convolution: where the channels are last in memory, a matrix product."""
    return F.linear(inputs.movedim(1, -1), weight).movedim(-1, 1)


class _Norms(nn.Module):
    """The running statistics of K batch norms without affine parameters."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(count, channels))
        self.register_buffer("running_var", torch.ones(count, channels))

    def forward(self, values: Tensor, place: int, weight: Tensor | None = None, momentum: float = MOMENTUM) -> Tensor:
        """`weight * norm(values)` by one of the norms: the weight is the scale that the norm itself lacks."""
        statistics = self.running_mean[place], self.running_var[place]
        # Copies: for channels_last, torch 2.13 reads the memory of an expanded scale.
        scale = None if weight is None else weight.to(self.running_mean.dtype).repeat(values.shape[1])
        if values.dim() == 3 and on_plain_cpu(values):
            return F.batch_norm(as_image(values), *statistics, scale, None, self.training, momentum).squeeze(2)
        return F.batch_norm(values, *statistics, scale, None, self.training, momentum)


_Row = tuple[int, Tensor, Tensor]
"""An operation of an edge: its place among the norms, depthwise and pointwise weights."""


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
        self.depthwise = nn.ParameterDict(
            {
                name: _uniform((len(targets[name]), channels, 1, *(kernel,) * dims), kernel**dims)
                for name, kernel in kernels.items()
            }
        )
        names = [name for name in kernels for _ in targets[name]]
        self.pointwise = _uniform((len(names), channels, channels), channels)
        self.norms = _Norms(len(names), channels)
        self._start = {name: names.index(name) for name in kernels}

    def rows(self, name: str) -> list[_Row]:
        """An operation on each of its edges."""
        depthwise, start = self.depthwise[name], self._start[name]
        end = start + len(depthwise)
        return list(zip(range(start, end), depthwise.unbind(), self.pointwise[start:end].unbind(), strict=True))

    def forward(
        self, inputs: Tensor, row: _Row, stride: int, dilation: int, weight: Tensor | None, momentum: float
    ) -> Tensor:
        """`weight * norm(pointwise(depthwise(inputs)))`."""
        place, depthwise, pointwise = row
        values = _pointwise(depthwise_conv(inputs, depthwise, stride, dilation), pointwise)
        return cast(Tensor, self.norms(values, place, weight, momentum))
