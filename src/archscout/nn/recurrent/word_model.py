"""What all recurrent language models share: embedding, dropouts, matrices of the cell, tied decoder.

Source: docs/methods/darts_recurrent.md#the-cell and docs/methods/darts_recurrent.md#dropout.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.settings import Settings

__all__ = ["RecurrentSize", "WordModel"]

INITIAL_RANGE = 0.04  # all weights start uniformly in +-0.04; docs/methods/darts_recurrent.md#the-cell


class RecurrentSize(Settings):
    """Size of a language model, its dropouts and the penalties on its states; shared by networks and supernets.

    Every dropout has one mask for a segment, common to all its time steps, and scales what it keeps.
    """

    width: int = Field(default=300, ge=1, description="of embedding and hidden state")
    dropout_words: float = Field(default=0.0, ge=0, lt=1, description="of whole words in the embedding")
    dropout_embedding: float = Field(default=0.2, ge=0, lt=1)
    dropout_input: float = Field(default=0.75, ge=0, lt=1, description="of the cell's input")
    dropout_hidden: float = Field(default=0.25, ge=0, lt=1, description="of the hidden state and every node's state")
    dropout_output: float = Field(default=0.75, ge=0, lt=1, description="of the cell's output before the decoder")
    activation_penalty: float = Field(default=0.0, ge=0, description="times the mean square of the dropped-out outputs")
    temporal_penalty: float = Field(
        default=1e-3, ge=0, description="times the mean square of the outputs' change from one step to the next"
    )


class WordModel(nn.Module):
    """A recurrent language model without its cell: subclasses say how a segment is computed.

    With `V` words, width `d` and `n` nodes it has `V d + V + 2d * 2d + n * d * 2d` parameters; the decoder's matrix is
    the embedding.

    Args:
        words: in the vocabulary.
        nodes: computed nodes of the cell.
        size: see there.
    """

    def __init__(self, words: int, nodes: int, size: RecurrentSize) -> None:
        super().__init__()
        self.size = size
        width = size.width
        self.embedding = nn.Parameter(torch.empty(words, width))
        self.decoder_bias = nn.Parameter(torch.zeros(words))
        self.input_matrix = nn.Parameter(torch.empty(2 * width, 2 * width))
        self.node_matrices = nn.Parameter(torch.empty(nodes, width, 2 * width))
        for weight in (self.embedding, self.input_matrix, self.node_matrices):
            nn.init.uniform_(weight, -INITIAL_RANGE, INITIAL_RANGE)

    @property
    def recurrent_matrix(self) -> Tensor:
        """The hidden state's part of `W_0`, `(d, 2d)`."""
        return self.input_matrix[self.size.width :]

    def _mask(self, like: Tensor, *shape: int, rate: float) -> Tensor | None:
        if not self.training or rate == 0:
            return None
        return like.new_empty(shape).bernoulli_(1 - rate).div_(1 - rate)

    def products(self, words: Tensor) -> Tensor:
        """The inputs of a segment times their part of `W_0`, in one product: `(N, T)` to `(T, N, 2d)`."""
        size, rows = self.size, words.shape[0]
        ordered = words.t()
        inputs = F.embedding(ordered, self.embedding)
        kept = self._mask(inputs, len(self.embedding), rate=size.dropout_words)
        if kept is not None:
            inputs = inputs * kept[ordered].unsqueeze(-1)
        for rate in (size.dropout_embedding, size.dropout_input):
            mask = self._mask(inputs, 1, rows, size.width, rate=rate)
            inputs = inputs if mask is None else inputs * mask
        products = inputs.flatten(0, 1) @ self.input_matrix[: size.width]
        found: Tensor = products.unflatten(0, ordered.shape)  # type: ignore[no-untyped-call]
        return found

    def hidden_mask(self, hidden: Tensor) -> Tensor | None:
        """The mask of hidden state and node states, `(N, d)`."""
        return self._mask(hidden, *hidden.shape, rate=self.size.dropout_hidden)

    def start(self, words: Tensor, *leading: int) -> Tensor:
        """The hidden state before a text: zeros `(*leading, N, d)`."""
        return self.embedding.new_zeros(*leading, words.shape[0], self.size.width)

    def decode(self, outputs: Tensor) -> DeferredLogits:
        """The logits of outputs `(T, N, d)`, not computed yet; in training with dropout and the penalties."""
        size = self.size
        mask = self._mask(outputs, 1, *outputs.shape[1:], rate=size.dropout_output)
        dropped = outputs if mask is None else outputs * mask
        penalty = None
        if self.training:
            if size.activation_penalty:
                penalty = size.activation_penalty * dropped.square().mean()
            if size.temporal_penalty and len(outputs) > 1:
                change = size.temporal_penalty * (outputs[1:] - outputs[:-1]).square().mean()
                penalty = change if penalty is None else penalty + change
        return DeferredLogits(dropped, self.embedding, self.decoder_bias, penalty)
