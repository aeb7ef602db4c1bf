"""The evaluation network of a recurrent genotype: a plain module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from archscout.exporting import ExportInput
from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.nn.recurrent.segment import recurrent_segment
from archscout.nn.recurrent.word_model import RecurrentSize, WordModel
from archscout.spaces.recurrent.genotype import RecurrentGenotype

__all__ = ["RecurrentNetwork"]


EXPORTED_LENGTH = 35  # words of the exported segment


class RecurrentNetwork(WordModel):
    """A language model with one recurrent cell (docs/methods/darts_recurrent.md#the-cell).

    22,960,000 parameters at width 850 and 10,000 words.

    Args:
        words: how many the vocabulary has.
    """

    def __init__(self, genotype: RecurrentGenotype, words: int, size: RecurrentSize) -> None:
        super().__init__(words, len(genotype.nodes), size)
        self.genotype = genotype

    def _segment(self, words: Tensor, hidden: Tensor | None) -> Tensor:
        state = self.start(words) if hidden is None else hidden
        return recurrent_segment(
            self.products(words),
            state,
            self.recurrent_matrix,
            self.node_matrices,
            self.genotype.nodes,
            self.genotype.concat,
            self.hidden_mask(state),
        )

    def unroll(self, words: Tensor, hidden: Tensor | None = None) -> tuple[DeferredLogits, Tensor]:
        """A segment `(N, T)` from a hidden state `(N, d)`: the logits, not computed yet, and the next hidden state."""
        outputs = self._segment(words, hidden)
        return self.decode(outputs), outputs[-1]

    def step(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A segment `(N, T)`, or with `T = 1` a single step: logits `(N, T, V)` and the next hidden state."""
        deferred, hidden = self.unroll(words, hidden)
        return deferred.logits(), hidden

    def export_parts(self) -> dict[str, tuple[nn.Module, Sequence[ExportInput], Sequence[str]]]:
        """What is exported: one step, and a segment of 35 words, both from a hidden state to the next one."""
        inputs = {
            name: [ExportInput("words", (length,), len(self.embedding)), ExportInput("hidden", (self.size.width,))]
            for name, length in (("step", 1), ("segment", EXPORTED_LENGTH))
        }
        return {name: (_Step(self), each, ("logits", "next_hidden")) for name, each in inputs.items()}

    def forward(self, words: Tensor) -> Tensor:
        """Logits `(N, T, V)` of the word after each word of texts `(N, T)`, which begin here."""
        return self.unroll(words)[0].logits()


class _Step(nn.Module):
    """A network whose forward pass takes the hidden state and gives the next one."""

    def __init__(self, network: RecurrentNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(words, hidden)
