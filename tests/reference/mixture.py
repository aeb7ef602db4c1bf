"""The twin of `archscout.nn.mixture`: one module of `archscout.nn.operations` for each edge and operation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from archscout.nn.mixture import POOLS, MixedSource
from archscout.nn.operations import DILATED, SEPARABLE, make_operation

__all__ = ["PlainSource", "copy_weights"]


class PlainSource(nn.Module):
    """The edges from one node to J others, each a weighted sum over its operations, or over a subset of its own."""

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
        self.names = list(operations)
        self.live = live or [operations] * targets
        self.edges = nn.ModuleList(
            nn.ModuleList(make_operation(name, channels, stride, search=True, dims=dims) for name in operations)
            for _ in range(targets)
        )

    def forward(self, inputs: Tensor, mixing: Tensor) -> list[Tensor]:
        outputs = []
        for edge, row, live in zip(self.edges, mixing, self.live, strict=True):
            modules = zip(self.names, row, cast(nn.ModuleList, edge), strict=True)
            terms = [weight * module(inputs) for name, weight, module in modules if name in live]
            outputs.append(torch.stack(terms).sum(0))
        return outputs


def copy_weights(fast: MixedSource, plain: PlainSource) -> list[tuple[nn.Parameter, int | None, nn.Parameter]]:
    """Copy the source's weights to the twin.

    Returns:
        `(ours, row, theirs)`: the twin's parameter equals the row of ours, or the whole of it.
    """
    ties: list[tuple[nn.Parameter, int | None, nn.Parameter]] = []

    def tie(stacked: Any, parts: Sequence[Any], first_row: int = 0) -> None:
        ties.extend((stacked, row, part) for row, part in enumerate(parts, start=first_row))

    def targets_of(name: str) -> list[int]:
        return [target for target, names in enumerate(plain.live) if name in names]

    for column, name in enumerate(plain.names):
        modules: list[Any] = [plain.edges[target][column] for target in targets_of(name)]  # type: ignore[index]
        if not modules:
            continue
        if name in SEPARABLE or name in DILATED:
            for stage, offset in ((fast.first, 0), (fast.second, 4)):
                if stage is not None and name in stage.depthwise:
                    tie(stage.depthwise[name], [module[offset + 1].weight for module in modules])
                    tie(stage.pointwise, [module[offset + 2].weight for module in modules], stage._start[name])
        elif name == "skip_connect" and fast.stride == 2:
            tie(fast.reduce_even, [module.even.weight for module in modules])
            tie(fast.reduce_odd, [module.odd.weight for module in modules])
        elif name in fast.others:
            others: Any = fast.others[name]
            for ours, theirs in zip(others, modules, strict=True):
                ties += [
                    (mine, None, other) for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True)
                ]
        else:
            assert name in POOLS or name in ("none", "skip_connect"), name
    assert len({id(ours) for ours, _, _ in ties}) == len(list(fast.parameters()))
    with torch.no_grad():
        for ours, row, theirs in ties:
            theirs.copy_((ours if row is None else ours[row]).reshape(theirs.shape))
    return ties
