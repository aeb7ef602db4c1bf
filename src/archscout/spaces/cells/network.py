"""The evaluation network of cells in a row: the plain module that a user trains and takes home.

Genotypes of two cells and of cells that all differ build the same class, for images and for sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from archscout.nn.drop_path import drop_path
from archscout.nn.fast.layout import concatenate
from archscout.nn.heads import AuxiliaryHead, make_head
from archscout.nn.operations import FactorizedReduce, ReluConvNorm, make_operation
from archscout.nn.stems import make_stem
from archscout.spaces.cells.genotype import Cell
from archscout.spaces.cells.layout import CellLayout, plan_row
from archscout.tasks.spec import TaskSpec

__all__ = ["CellNetwork"]


class EvaluationCell(nn.Module):
    """One cell with fixed operations.

    Args:
        cell: as `Cell.pruned` returns it.
        layout: its place in the network.
        drop_nodes: drop path drops the sum of a node, skips included, instead of single operations.
        dims: 2 for images, 1 for sequences.
    """

    def __init__(
        self,
        cell: Cell,
        layout: CellLayout,
        *,
        drop_nodes: bool = False,
        dims: int = 2,
    ) -> None:
        super().__init__()
        first, second = layout.inputs
        make_first = FactorizedReduce if layout.previous_reduces else ReluConvNorm
        self.preprocess0 = make_first(first, layout.channels, affine=True, dims=dims)
        self.preprocess1 = ReluConvNorm(second, layout.channels, affine=True, dims=dims)
        self.operations = nn.ModuleList()
        self._wiring: list[list[int]] = []
        for inputs in cell.nodes:
            self._wiring.append([source for _, source in inputs])
            for operation, source in inputs:
                stride = 2 if layout.reduces and source < 2 else 1
                self.operations.append(make_operation(operation, layout.channels, stride, search=False, dims=dims))
        self._concat = cell.concat
        self._drop_nodes = drop_nodes

    def forward(self, before: Tensor, last: Tensor, rate: float) -> Tensor:
        """Outputs of the two cells before to this cell's output; `rate` is the drop-path rate."""
        states: list[Tensor | None] = [self.preprocess0(before), self.preprocess1(last)]
        operations = iter(self.operations)
        for sources in self._wiring:
            total: Tensor | None = None
            for source in sources:
                operation = next(operations)
                output = operation(states[source])
                if rate > 0 and not self._drop_nodes and not isinstance(operation, nn.Identity):
                    output = drop_path(output, rate)
                total = output if total is None else total + output
            if rate > 0 and self._drop_nodes and total is not None:
                total = drop_path(total, rate)
            states.append(total)
        return concatenate([cast(Tensor, states[number]) for number in self._concat])


class CellNetwork(nn.Module):
    """Stem, cells of which some reduce, and a head: a linear classifier on the mean, or a linear map of every pixel.

    Args:
        cells: the wiring of each cell; what cannot have an effect is left out (`Cell.pruned`).
        reductions: the cells, by position, that halve height and width and double the channels.
        spec: of the task; images `(C, H, W)` or sequences `(C, L)`; its kind decides the head.
        init_channels: channels of the nodes before the first reduction.
        stem: one of `archscout.nn.stems.STEMS`.
        auxiliary: add the auxiliary head, after the last reduction; in training mode `forward` then returns
            `(logits, auxiliary logits)`.
        drop_nodes: what drop path drops: the sums of nodes (D-DARTS), or else single operations (DARTS).

    Attributes:
        drop_path_rate: set by the training from epoch to epoch; no effect in evaluation mode.

    Raises:
        ArchitectureError: nothing of a cell is left.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        reductions: Sequence[int],
        spec: TaskSpec,
        *,
        init_channels: int,
        stem: str,
        auxiliary: bool,
        drop_nodes: bool = False,
    ) -> None:
        super().__init__()
        self.drop_path_rate = 0.0
        dims = len(spec.input_shape) - 1
        pruned = {cell: cell.pruned(f"cell {position}") for position, cell in reversed(list(enumerate(cells)))}
        row = [pruned[cell] for cell in cells]
        self.stem = make_stem(stem, spec.input_shape[0], init_channels, affine=True, dims=dims)
        widths = [len(cell.concat) for cell in row]
        plan = plan_row(widths, reductions, init_channels, self.stem.channels, self.stem.reduced)
        self.cells = nn.ModuleList(
            EvaluationCell(cell, layout, drop_nodes=drop_nodes, dims=dims)
            for cell, layout in zip(row, plan.cells, strict=True)
        )
        self.auxiliary: AuxiliaryHead | None = None
        self._auxiliary_after = max(reductions, default=2 * len(row) // 3)
        if auxiliary:
            channels = plan.output_channels(self._auxiliary_after)
            size = plan.output_size(self._auxiliary_after, spec.input_shape[1:], self.stem.halvings)
            self.auxiliary = AuxiliaryHead(channels, size, spec.outputs, imagenet=stem == "imagenet")
        channels = plan.output_channels(len(row) - 1)
        self.pool, self.classifier = make_head(channels, spec.outputs, dims=dims, dense=spec.kind == "dense")

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """`(N, *input_shape)` to `(N, outputs)`, or `(N, outputs, *size)` where the task is dense.

        With the auxiliary head in training mode, both logits.
        """
        rate = self.drop_path_rate if self.training else 0.0
        auxiliary_logits: Tensor | None = None
        before, last = self.stem(inputs)
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last, rate)
            if self.training and self.auxiliary is not None and index == self._auxiliary_after:
                auxiliary_logits = self.auxiliary(last)
        logits: Tensor = self.classifier(self.pool(last))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)
