"""The relaxed supernet of recurrent cells: weights for all edges and activations instead of a choice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.nn.recurrent.mixture import mixture_segment
from archscout.nn.recurrent.reference import ACTIVATIONS
from archscout.nn.recurrent.word_model import RecurrentSize, WordModel
from archscout.spaces.recurrent.genotype import Node, RecurrentGenotype, edge_index

__all__ = ["RecurrentMixture"]

INITIAL_DEVIATION = 1e-3  # logits start at 1e-3 N(0, 1); docs/methods/darts_recurrent.md#the-cell


class RecurrentMixture(WordModel):
    """DARTS's search network for recurrent cells; the weights are those of `RecurrentSupernet`.

    The architecture parameters are one tensor of logits `(edges, 1 + 4)`, none first: `none` takes part in the softmax
    and adds nothing. One batch norm without affine parameters serves node 0 and all nodes.
    """

    def __init__(self, words: int, nodes: int, size: RecurrentSize) -> None:
        super().__init__(words, nodes, size)
        self.nodes = nodes
        self.norm = nn.BatchNorm1d(size.width, affine=False)

    def initial_alphas(self, draw: torch.Generator) -> list[Tensor]:
        """Fresh logits, as leaves that want gradients."""
        shape = (edge_index(self.nodes + 1, 0), 1 + len(ACTIVATIONS))
        return [(INITIAL_DEVIATION * torch.randn(shape, generator=draw)).requires_grad_()]

    def forward(self, words: Tensor, hidden: Tensor | None, alphas: Sequence[Tensor]) -> tuple[DeferredLogits, Tensor]:
        """A segment `(N, T)` from a hidden state `(N, d)`: logits to come, next hidden state."""
        state = self.start(words) if hidden is None else hidden
        weights = alphas[0].softmax(1)[:, 1:]
        outputs = mixture_segment(
            self.products(words),
            state,
            self.recurrent_matrix,
            self.node_matrices,
            weights,
            self.hidden_mask(state),
            self.norm,
        )
        return self.decode(outputs), outputs[-1]

    def discretize(self, alphas: Sequence[Tensor]) -> RecurrentGenotype:
        """For each node the edge with the largest weight of an activation, and that activation.

        Source: docs/methods/darts.md#discretization.
        """
        weights = alphas[0].detach().softmax(1)[:, 1:].cpu()
        found = []
        for node in range(1, self.nodes + 1):
            rows = weights[edge_index(node, 0) : edge_index(node + 1, 0)]
            source, activation = divmod(int(rows.argmax()), len(ACTIVATIONS))
            found.append(Node(ACTIVATIONS[activation], source))
        return RecurrentGenotype(tuple(found), tuple(range(1, self.nodes + 1)))
