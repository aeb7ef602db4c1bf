"""The decoder of language models, fused with its loss: the logits of all words are never held whole.

A batch of 64 segments of 35 words over a vocabulary of 10,000 has 22 million logits, and a plain cross-entropy keeps
them several times. Here rows are taken in chunks: logits, loss and gradients of a chunk, then the next.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.nn.fast.layout import without_autocast

__all__ = ["IGNORED", "DeferredLogits", "linear_cross_entropy"]

IGNORED = -100
"""A target that counts nothing."""

CHUNK_ELEMENTS = 2_000_000  # logits held at a time: 8 MB; smaller chunks make the matrix products slow


class DeferredLogits:
    """The logits of a linear decoder that are not computed yet.

    Attributes:
        features: `(T, N, d)`, time first.
        weight, bias: of the decoder, `(V, d)` and `(V,)`.
        penalty: a scalar that the loss adds in training, or None.
    """

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor, penalty: Tensor | None = None) -> None:
        self.features, self.weight, self.bias, self.penalty = features, weight, bias, penalty
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the logits would be."""
        return self.features.device

    def negative_log_likelihood(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over all words of targets `(N, T)`, and the number of those that count.

        Remembered for the same targets: loss and metric of a step share it.
        """
        if self._known is None or self._known[0] is not targets:
            flat = targets.t().flatten()
            total = linear_cross_entropy(self.features.flatten(0, 1), self.weight, self.bias, flat)
            self._known = (targets, total, (flat != IGNORED).sum())
        return self._known[1], self._known[2]

    def logits(self) -> Tensor:
        """The logits, `(N, T, V)`, whole."""
        return F.linear(self.features.transpose(0, 1), self.weight, self.bias)

    def detach(self) -> DeferredLogits:
        """The same without gradients."""
        copy = DeferredLogits(self.features.detach(), self.weight.detach(), self.bias.detach())
        if self._known is not None:
            targets, total, words = self._known
            copy._known = (targets, total.detach(), words)
        return copy

    def float(self) -> DeferredLogits:
        """In float32, which they are already."""
        return self


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def _in_chunks(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, gradients: bool
) -> tuple[Tensor, Gradients]:
    """The loss, and on request its gradients, computed while a chunk of logits is at hand."""
    total = features.new_zeros(())
    d_features = torch.empty_like(features) if gradients else None
    d_weight = torch.zeros_like(weight) if gradients else None
    d_bias = torch.zeros_like(bias) if gradients else None
    rows = max(1, CHUNK_ELEMENTS // len(weight))
    for start in range(0, len(features), rows):
        part = features[start : start + rows]
        truth = targets[start : start + rows]
        counts = (truth != IGNORED).to(features.dtype).unsqueeze(1)
        index = truth.clamp(min=0).unsqueeze(1)
        logits = torch.addmm(bias, part, weight.t())
        # In place: logits become their exponentials, then the gradient of the loss with respect to the logits.
        logits -= logits.amax(1, keepdim=True)
        chosen = logits.gather(1, index)
        sums = logits.exp_().sum(1, keepdim=True)
        total += ((sums.log() - chosen) * counts).sum()
        if d_features is not None and d_weight is not None and d_bias is not None:
            logits *= counts / sums
            logits.scatter_add_(1, index, -counts)
            torch.mm(logits, weight, out=d_features[start : start + rows])
            d_weight.addmm_(logits.t(), part)
            d_bias += logits.sum(0)
    return total, (d_features, d_weight, d_bias)


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, and hands them out in the backward pass."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        total, ctx.gradients = _in_chunks(features, weight, bias, targets, gradients=any(ctx.needs_input_grad[:3]))
        ctx.save_for_backward(features, weight, bias, targets)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = outputs
        if not torch.is_grad_enabled():
            return (*(None if part is None else scale * part for part in ctx.gradients), None)
        # Somebody differentiates this gradient: written in operations that autograd follows.
        features, weight, bias, targets = ctx.saved_tensors
        logits = torch.addmm(bias, features, weight.t())
        truth = F.one_hot(targets.clamp(min=0), len(weight)).to(logits.dtype)
        slope = scale * (logits.softmax(1) - truth) * (targets != IGNORED).unsqueeze(1)
        return slope @ weight, slope.t() @ features, slope.sum(0), None


def linear_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of `features @ weight.T + bias`, added up over the rows, in chunks of rows.

    Equals `F.cross_entropy(F.linear(features, weight, bias), targets, reduction="sum")`. Its gradient can be
    differentiated once more; that pass holds all logits. Computed in the weight's type, whatever autocast says.

    Args:
        features: `(R, d)`.
        weight, bias: `(V, d)` and `(V,)`.
        targets: `(R,)` class indices; `IGNORED` ones count nothing.
    """
    with without_autocast(features.device):
        features = features.to(weight.dtype)
        if not torch.is_grad_enabled():
            return _in_chunks(features, weight, bias, targets, gradients=False)[0]
        total: Tensor = _LinearCrossEntropy.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
        return total
