"""The supernet of recurrent cells: one matrix for each node, whichever node feeds it and whatever its activation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archscout.nn.recurrent.batch import batched_segment, encode_cells
from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.nn.recurrent.segment import recurrent_segment
from archscout.nn.recurrent.word_model import WordModel
from archscout.spaces.recurrent.genotype import RecurrentGenotype

__all__ = ["RecurrentSupernet"]


class RecurrentSupernet(WordModel):
    """The shared weights of all recurrent genotypes; runs one genotype at a time, or several at once to judge them.

    4,810,000 parameters with 8 nodes at width 300 and 10,000 words
    (docs/methods/darts_recurrent.md#settings-of-search-and-training).
    """

    def unroll(
        self, words: Tensor, hidden: Tensor | None, architecture: RecurrentGenotype
    ) -> tuple[DeferredLogits, Tensor]:
        """A segment `(N, T)` of one genotype from a hidden state `(N, d)`: logits to come, next hidden state."""
        state = self.start(words) if hidden is None else hidden
        outputs = recurrent_segment(
            self.products(words),
            state,
            self.recurrent_matrix,
            self.node_matrices,
            architecture.nodes,
            architecture.concat,
            self.hidden_mask(state),
        )
        return self.decode(outputs), outputs[-1]

    def unroll_grouped(
        self, words: Tensor, hidden: Tensor | None, architectures: Sequence[RecurrentGenotype]
    ) -> tuple[list[DeferredLogits], Tensor]:
        """A segment of M genotypes, from hidden states `(M, N, d)`, in evaluation mode and without gradients.

        Equals M calls of `unroll`: the input product is computed once, and each node is one matrix product of all M
        architectures' states.
        """
        if self.training:
            raise RuntimeError("grouped evaluation needs evaluation mode: it has no dropouts.")
        states = self.start(words, len(architectures)) if hidden is None else hidden
        with torch.no_grad():
            cells = encode_cells(
                [each.nodes for each in architectures], [each.concat for each in architectures], self.embedding
            )
            outputs = batched_segment(self.products(words), states, self.recurrent_matrix, self.node_matrices, cells)
            return [self.decode(outputs[:, number]) for number in range(len(architectures))], outputs[-1]

    def forward(self, words: Tensor, architecture: RecurrentGenotype) -> Tensor:
        """Logits `(N, T, V)` of one genotype, from the beginning of a text."""
        return self.unroll(words, None, architecture)[0].logits()

    def grouped(self, words: Tensor, architectures: Sequence[RecurrentGenotype]) -> Tensor:
        """Logits `(M, N, T, V)` of M genotypes, from the beginning of a text."""
        deferred, _ = self.unroll_grouped(words, None, architectures)
        return torch.stack([each.logits() for each in deferred])

    def path_parameters(self, architecture: RecurrentGenotype) -> list[nn.Parameter]:
        """All of them: every genotype uses every matrix."""
        return list(self.parameters())
