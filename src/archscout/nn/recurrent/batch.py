"""Several recurrent cells with shared matrices at once: the architecture is data.

Sources are rows to gather, activations are numbers to select by: the operations that run, and their shapes, do not
depend on the architectures, so that one captured graph serves all of them, and nothing is read back from the device
(docs/methods/ednas.md#architectures-together). The states of M architectures are M times as many rows of each
matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archscout.nn.recurrent.reference import ACTIVATIONS

__all__ = ["CellBatch", "batched_segment", "encode_cells"]

# value = slope * tanh(scale * x) + offset + linear * max(x, floor)
_SCALE, _SLOPE, _OFFSET, _LINEAR, _FLOOR = range(5)
_COEFFICIENTS = {
    "tanh": (1.0, 1.0, 0.0, 0.0, 0.0),
    "relu": (1.0, 0.0, 0.0, 1.0, 0.0),
    "sigmoid": (0.5, 0.5, 0.5, 0.0, 0.0),  # sigmoid(x) = (1 + tanh(x / 2)) / 2
    "identity": (1.0, 0.0, 0.0, 1.0, -torch.inf),
}


@dataclass(frozen=True)
class CellBatch:
    """M cells of n nodes as tensors.

    Attributes:
        rows: `(n, M)`, which row of the `(n + 1) * M` states feeds a node.
        coefficients: `(n, 5, M, 1, 1)`, of the activations.
        outputs: `(n, M, 1, 1)`, the share of each node in the output.
    """

    rows: Tensor
    coefficients: Tensor
    outputs: Tensor


def encode_cells(
    cells: Sequence[Sequence[tuple[str, int]]], concats: Sequence[Sequence[int]], like: Tensor
) -> CellBatch:
    """Cells of equal size, as tensors on the device and of the type of `like`."""
    count, nodes = len(cells), len(cells[0])
    sources = torch.tensor([[cell[node][1] for cell in cells] for node in range(nodes)])
    kinds = torch.tensor([[ACTIVATIONS.index(cell[node][0]) for cell in cells] for node in range(nodes)])
    table = torch.tensor([_COEFFICIENTS[name] for name in ACTIVATIONS])
    shares = torch.tensor(
        [[(node + 1 in concat) / len(concat) for concat in concats] for node in range(nodes)], dtype=torch.float64
    )
    return CellBatch(
        (sources * count + torch.arange(count)).to(like.device, non_blocking=True),
        table[kinds].transpose(1, 2)[..., None, None].to(like, non_blocking=True),
        shares[..., None, None].to(like, non_blocking=True),
    )


def batched_segment(products: Tensor, hidden: Tensor, recurrent: Tensor, nodes: Tensor, cells: CellBatch) -> Tensor:
    """A segment of M cells, without masks and without gradients.

    Args:
        products: `(T, N, 2d)`, common to all cells.
        hidden: `(M, N, d)`, of every cell.
        recurrent, nodes: as for `recurrent_reference.reference_segment`.

    Returns:
        Outputs `(T, M, N, d)`.
    """
    count, rows, width = hidden.shape
    states = products.new_empty(1 + len(nodes), count, rows, width)
    gathered = torch.empty_like(hidden)
    outputs = products.new_empty(len(products), count, rows, width)
    with torch.no_grad():
        for time, product in enumerate(products.unbind()):
            gate, candidate = ((hidden.flatten(0, 1) @ recurrent).view(count, rows, -1) + product).chunk(2, dim=-1)
            torch.lerp(hidden, candidate.tanh_(), gate.sigmoid_(), out=states[0])
            hidden = outputs[time].zero_()
            for node, (index, coefficients) in enumerate(zip(cells.rows, cells.coefficients, strict=True)):
                torch.index_select(states.flatten(0, 1), 0, index, out=gathered)
                gated = (gathered.flatten(0, 1) @ nodes[node]).view(count, rows, -1)
                gate, candidate = gated.chunk(2, dim=-1)
                value = _select(candidate, coefficients)
                torch.lerp(gathered, value, gate.sigmoid_(), out=states[node + 1])
                hidden.addcmul_(states[node + 1], cells.outputs[node])
    return outputs


def _select(inputs: Tensor, coefficients: Tensor) -> Tensor:
    """The activation of every cell, by its coefficients `(5, M, 1, 1)`."""
    curve = (inputs * coefficients[_SCALE]).tanh_()
    value = torch.maximum(inputs, coefficients[_FLOOR]).mul_(coefficients[_LINEAR])
    return value.addcmul_(curve, coefficients[_SLOPE]).add_(coefficients[_OFFSET])
