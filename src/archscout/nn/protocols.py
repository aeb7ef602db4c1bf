"""What a network may offer beside its forward pass; one that offers nothing of it can be searched and trained, too."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["DropsPaths", "DropsSkips", "Recurrent", "Stepwise"]


@runtime_checkable
class DropsPaths(Protocol):
    """Drops whole paths of a sample in training.

    Attributes:
        drop_path_rate: set by the training from epoch to epoch; no effect in evaluation mode.
    """

    drop_path_rate: float


@runtime_checkable
class DropsSkips(Protocol):
    """A mixture of operations that drops values of its skip connections in training.

    Attributes:
        skip_dropout: the share, set by the search from epoch to epoch; no effect in evaluation mode.
    """

    skip_dropout: float


@runtime_checkable
class Recurrent(Protocol):
    """Carries a hidden state from one batch to the next."""

    def unroll(self, inputs: Tensor, hidden: Any, *arguments: Any) -> tuple[Any, Tensor]:
        """Outputs and next hidden state; a `hidden` of None is the start. A supernet takes an architecture, too.

        A supernet that is judged also has `unroll_grouped(inputs, hidden, architectures)`, whose states have a leading
        dimension of architectures.
        """
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A language model that goes on word by word."""

    def start(self, words: Tensor) -> Tensor:
        """The hidden state `(N, d)` in which texts `(N, T)` begin."""
        ...

    def step(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(N, T, V)` of the word after each of `(N, T)`, and the next hidden state."""
        ...
