"""Text from a trained language model, word by word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from archscout.errors import RunError, SettingsError
from archscout.nn.protocols import Stepwise
from archscout.seeds import generator
from archscout.tasks.readers.text import END, UNKNOWN

__all__ = ["generate_text"]


def generate_text(
    network: nn.Module, vocabulary: Sequence[str], prompt: str, *, words: int, temperature: float, seed: int
) -> str:
    """The prompt and what the network writes after it; `<unk>` is never written, `<eos>` is a line break.

    Args:
        network: with `step(words, hidden)`, in evaluation mode.
        vocabulary: the words in the order of their numbers.
        prompt: words between blanks, lines between line breaks; others than those of the vocabulary count as `<unk>`.
        words: how many to write.
        temperature: by which the logits are divided.
        seed: of the draws.

    Raises:
        SettingsError: a number is out of range.
        RunError: the network is no recurrent language model, or has another vocabulary.
    """
    if words < 1:
        raise SettingsError(f"words = {words}: must be at least 1.")
    if not 0 < temperature < float("inf"):
        raise SettingsError(f"temperature = {temperature}: must be above 0; 1 leaves the model's probabilities.")
    if not isinstance(network, Stepwise):
        raise RunError("the network is no language model that goes on word by word; train one with a text task.")
    numbers = {word: number for number, word in enumerate(vocabulary)}
    lines = prompt.split("\n")
    given = [word for line in lines[:-1] for word in (*line.split(), END)] + lines[-1].split()
    draw = generator(seed, "generate")
    # A text begins after the end of a line.
    known = torch.tensor([[numbers[END], *(numbers.get(word, numbers[UNKNOWN]) for word in given)]])
    written: list[str] = []
    with torch.inference_mode():
        logits, hidden = network.step(known, network.start(known))
        if logits.shape[-1] != len(vocabulary):
            raise RunError(
                f"the network knows {logits.shape[-1]:,} words, the vocabulary has {len(vocabulary):,}; train it again."
            )
        while True:
            scores = logits[0, -1].double() / temperature
            scores[numbers[UNKNOWN]] = -torch.inf
            chosen = int(torch.multinomial(scores.softmax(0), 1, generator=draw))
            written.append(vocabulary[chosen])
            if len(written) == words:
                break
            logits, hidden = network.step(torch.tensor([[chosen]]), hidden)
    return _joined([*given, *written])


def _joined(words: Sequence[str]) -> str:
    text = " ".join("\n" if word == END else word for word in words)
    return "\n".join(line.strip() for line in text.split("\n")).rstrip("\n")
