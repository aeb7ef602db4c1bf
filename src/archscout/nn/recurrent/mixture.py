"""The relaxed recurrent cell of DARTS: every node is fed by all nodes before it, with all activations.

Source: arXiv 1806.09055; docs/methods/darts_recurrent.md#the-cell.

    node i = BN( sum over j < i and activations k of  w[j, k] * [s_j + sigmoid(c_j) * (f_k(g_j) - s_j)] )

where `[c_j, g_j] = (s_j * mask) W_i`. All predecessors of a node are one matrix product, every state is masked once,
and the sum over activations is taken before the gate: with `w[j] = sum over k of w[j, k]`, the term of a predecessor is
`w[j] s_j + sigmoid(c_j) * (sum over k of w[j, k] f_k(g_j) - w[j] s_j)`. Written in operations that autograd follows any
number of times: second order needs it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from archscout.nn.recurrent.reference import ACTIVATION_FUNCTIONS

__all__ = ["mixture_segment"]


def mixture_segment(
    products: Tensor,
    hidden: Tensor,
    recurrent: Tensor,
    nodes: Tensor,
    weights: Tensor,
    mask: Tensor | None = None,
    normalize: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """A segment of the relaxed cell; the output is the mean of all computed nodes.

    Args:
        products, hidden, recurrent, nodes, mask: as for `recurrent_reference.reference_segment`.
        weights: `(edges, 4)`, of activation `k` on the edge `j -> i` in row `i (i - 1) / 2 + j`.
        normalize: of node 0 and of every node's sum, `(N, d)` to `(N, d)`; None: nothing.

    Returns:
        The outputs `(T, N, d)`.
    """
    count, outputs = len(nodes), []
    matrices = nodes.unbind()
    # (number of predecessors, 1, 1) for every node: of each activation, and of all together.
    parts = weights.split(list(range(1, count + 1)))  # type: ignore[no-untyped-call]
    of_nodes = [part.t()[:, :, None, None].unbind() for part in parts]
    totals = [part.sum(1)[:, None, None] for part in parts]
    for product in products.unbind():
        gate, candidate = (product + _masked(hidden, mask) @ recurrent).chunk(2, dim=-1)
        state = torch.lerp(hidden, candidate.tanh(), gate.sigmoid())
        states = [state if normalize is None else normalize(state)]
        masked = [_masked(states[0], mask)]
        for matrix, shares, total in zip(matrices, of_nodes, totals, strict=True):
            before = torch.stack(states)
            gate, candidate = (torch.stack(masked) @ matrix).chunk(2, dim=-1)
            functions = ACTIVATION_FUNCTIONS.values()
            mixed = torch.stack([w * f(candidate) for w, f in zip(shares, functions, strict=True)]).sum(0)
            state = torch.lerp(total * before, mixed, gate.sigmoid()).sum(0)
            states.append(state if normalize is None else normalize(state))
            masked.append(_masked(states[-1], mask))
        hidden = torch.stack(states[1:]).mean(0)
        outputs.append(hidden)
    return torch.stack(outputs)


def _masked(state: Tensor, mask: Tensor | None) -> Tensor:
    return state if mask is None else state * mask
