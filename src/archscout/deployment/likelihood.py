"""How likely texts are to a language model: line by line, and as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.deployment.card import ModelCard
from archscout.errors import DataError
from archscout.nn.recurrent.carry import Carry
from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.readers.text import END, UNKNOWN, TextSource
from archscout.tasks.segments import evaluation_segments
from archscout.tasks.task import Split

__all__ = ["Likelihood", "columns_of", "line_likelihoods", "text_likelihoods"]

LINES = 64  # judged at a time


@dataclass(frozen=True)
class Likelihood:
    """Of a line, or of a whole text.

    Attributes:
        line: its number from 1; 0: the whole text.
        words: that were judged, ends of lines among them.
        unknown: words among them that are not in the vocabulary and count as `<unk>`.
        log_likelihood: natural logarithm of the probability of all judged words; 0 where there are none.
    """

    line: int
    words: int
    unknown: int
    log_likelihood: float

    @property
    def perplexity(self) -> float:
        """The inverse of the mean probability of a word (geometric); NaN where no word was judged."""
        if not self.words:
            return math.nan
        mean = -self.log_likelihood / self.words
        return math.exp(mean) if mean < 700 else math.inf


def columns_of(card: ModelCard) -> int:
    """The columns in which the test text was read when the network was evaluated."""
    return max(1, int(card.metric.get("columns", 1)))


def _numbers(words: Sequence[str], card: ModelCard) -> tuple[Tensor, Tensor]:
    """The words as numbers, and which of them are unknown."""
    known = {word: number for number, word in enumerate(card.class_names)}
    if UNKNOWN not in known or END not in known:
        raise DataError(f"the model of {card.spec.name} has no vocabulary with {END} and {UNKNOWN} in it.")
    numbers = torch.tensor([known.get(word, known[UNKNOWN]) for word in words])
    return numbers, torch.tensor([word not in known for word in words])


def text_likelihoods(
    network: nn.Module, card: ModelCard, words: Sequence[str], *, columns: int, device: torch.device
) -> Iterator[Likelihood]:
    """Of each line of a text that goes on from line to line, as in training, and last of the whole.

    The first word has nothing before it and is not judged.

    Args:
        words: as `archscout.tasks.readers.text.read_text` gives them, with `<eos>` after each line.
        columns: pieces of the text that are read at the same time; each begins without what was before it.
    """
    numbers, unknown = _numbers(words, card)
    split = Split(TextSource(numbers), torch.arange(len(numbers)))
    carry = Carry(network)
    with torch.inference_mode():
        parts = [
            _losses(carry(batch.inputs, starts=batch.starts), batch.targets)
            for batch in evaluation_segments(split, columns, device)
        ]
    losses = torch.cat(parts, dim=1).flatten()[: len(numbers) - 1]
    ends = (numbers == card.class_names.index(END)).nonzero().view(-1)
    start = 0
    for line, end in enumerate(ends.tolist(), start=1):
        judged = losses[max(start - 1, 0) : end]
        yield Likelihood(line, len(judged), int(unknown[max(start, 1) : end + 1].sum()), -float(judged.sum()))
        start = end + 1
    yield Likelihood(0, len(losses), int(unknown[1:].sum()), -float(losses.sum()))


def line_likelihoods(
    network: nn.Module, card: ModelCard, lines: Sequence[Sequence[str]], *, device: torch.device
) -> Iterator[Likelihood]:
    """Of each line as a text of its own, that begins after the end of another one; last of all together.

    Args:
        lines: words without `<eos>`; the end of each is judged, too.
    """
    end = card.class_names.index(END) if END in card.class_names else 0
    total = Likelihood(0, 0, 0, 0.0)
    for start in range(0, len(lines), LINES):
        part = [_numbers(line, card) for line in lines[start : start + LINES]]
        longest = max(len(numbers) for numbers, _ in part) + 1
        inputs = torch.full((len(part), longest), end)
        targets = torch.full((len(part), longest), IGNORED)
        for row, (numbers, _) in enumerate(part):
            inputs[row, 1 : len(numbers) + 1] = numbers
            targets[row, : len(numbers)] = numbers
            targets[row, len(numbers)] = end
        with torch.inference_mode():
            losses = _losses(Carry(network)(inputs.to(device), starts=True), targets.to(device))
        for row, (numbers, unknown) in enumerate(part):
            found = Likelihood(start + row + 1, len(numbers) + 1, int(unknown.sum()), -float(losses[row].sum()))
            total = Likelihood(
                0,
                total.words + found.words,
                total.unknown + found.unknown,
                total.log_likelihood + found.log_likelihood,
            )
            yield found
    yield total


def _losses(outputs: Tensor | DeferredLogits, targets: Tensor) -> Tensor:
    """Negative log-likelihoods `(N, T)`, float64, on the CPU; 0 where targets are ignored."""
    logits = outputs.logits() if isinstance(outputs, DeferredLogits) else outputs
    flat = F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten().to(logits.device), reduction="none", ignore_index=IGNORED
    )
    return flat.view(targets.shape).double().cpu()
