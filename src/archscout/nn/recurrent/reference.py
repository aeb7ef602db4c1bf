"""The equations of the recurrent cell, as they are written down: the yardstick of the fast paths.

Source: arXiv 1806.09055; docs/methods/darts_recurrent.md#the-cell.

[c0, h0] = [x * mask_x ; h * mask_h] W_0        s_0 = h + sigmoid(c0) * (tanh(h0) - h)
[c, g]   = (s_j * mask_h) W_i                   s_i = s_j + sigmoid(c) * (f_i(g) - s_j)       j = source of node i
output and next h = mean of the chosen nodes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["ACTIVATIONS", "ACTIVATION_FUNCTIONS", "reference_segment", "scanned_segment"]


def _identity(inputs: Tensor) -> Tensor:
    return inputs


ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": _identity,
}
ACTIVATIONS = tuple(ACTIVATION_FUNCTIONS)
"""The activations, in the order of their indices (docs/methods/darts_recurrent.md#the-cell)."""


def reference_segment(
    products: Tensor,
    hidden: Tensor,
    recurrent: Tensor,
    nodes: Tensor,
    cell: Sequence[tuple[str, int]],
    concat: Sequence[int],
    mask: Tensor | None = None,
) -> Tensor:
    """A segment in a plain loop over time and nodes.

    Args:
        products: `(T, N, 2d)`, the inputs times their part of `W_0`.
        hidden: `(N, d)`, the state before the segment.
        recurrent: `(d, 2d)`, the hidden state's part of `W_0`.
        nodes: `(number of nodes, d, 2d)`, the matrices `W_i`.
        cell: activation and source of the nodes 1, 2, ...
        concat: the nodes whose mean is the output.
        mask: `(N, d)`, applied to the hidden state and to every node's state before its product; None: ones.

    Returns:
        The outputs `(T, N, d)`; the last one is the next hidden state.
    """
    outputs = []
    for product in products.unbind():
        gate, candidate = (product + _masked(hidden, mask) @ recurrent).chunk(2, dim=-1)
        states = [hidden + gate.sigmoid() * (candidate.tanh() - hidden)]
        for (activation, source), matrix in zip(cell, nodes.unbind(), strict=True):
            state = states[source]
            gate, candidate = (_masked(state, mask) @ matrix).chunk(2, dim=-1)
            states.append(state + gate.sigmoid() * (ACTIVATION_FUNCTIONS[activation](candidate) - state))
        hidden = torch.stack([states[number] for number in concat]).mean(0)
        outputs.append(hidden)
    return torch.stack(outputs)


def scanned_segment(
    products: Tensor,
    hidden: Tensor,
    recurrent: Tensor,
    nodes: Tensor,
    cell: Sequence[tuple[str, int]],
    concat: Sequence[int],
) -> Tensor:
    """The same without masks, as one operation that loops: an exported segment is no larger than a step."""
    from torch._higher_order_ops.scan import scan

    def step(state: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
        output = reference_segment(product.unsqueeze(0), state, recurrent, nodes, cell, concat)[0]
        return output, output.clone()  # the loop's two results may not share memory

    outputs: Tensor = scan(step, hidden, products)[1]
    return outputs


def _masked(state: Tensor, mask: Tensor | None) -> Tensor:
    return state if mask is None else state * mask
