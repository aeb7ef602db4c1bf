"""What a recurrent network remembers from one batch to the next, beside networks that remember nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from archscout.nn.protocols import Recurrent

if TYPE_CHECKING:
    from archscout.engine import Engine

__all__ = ["Carry"]


class Carry:
    """Runs a network batch after batch; where it is `Recurrent`, the hidden state goes along.

    No gradient flows from one batch into the one before.

    Args:
        network: any; see `archscout.nn.protocols.Recurrent`.
        engine: of the job that saves the hidden state, which is that of all processes together; None: it is not saved.

    Attributes:
        hidden: of the last batch; None before the first one, and for other networks.
    """

    def __init__(self, network: nn.Module, engine: Engine | None = None) -> None:
        self._network: Any = network
        self._engine = engine
        self._recurrent = isinstance(network, Recurrent)
        self.hidden: Tensor | None = None

    def __call__(self, inputs: Tensor, *arguments: Any, starts: bool = False) -> Any:
        """The network's outputs; `starts` forgets what was before."""
        if not self._recurrent:
            return self._network(inputs, *arguments)
        outputs, hidden = self._network.unroll(inputs, None if starts else self.hidden, *arguments)
        self.hidden = hidden.detach()
        return outputs

    def grouped(
        self, inputs: Tensor, architectures: Sequence[Any], *, starts: bool = False, common: bool = False
    ) -> Sequence[Any]:
        """The outputs of several architectures on one batch.

        Args:
            common: all start from one hidden state, and the first one's goes on: for architectures that change from
                batch to batch. Otherwise each keeps its own.
        """
        if not self._recurrent:
            outputs: Sequence[Any] = self._network.grouped(inputs, architectures)
            return outputs
        before = None if starts else self.hidden
        if common and before is not None:
            before = before.expand(len(architectures), *before.shape)
        outputs, hidden = self._network.unroll_grouped(inputs, before, architectures)
        # A clone: inference mode's tensors may not go into a later training step.
        self.hidden = (hidden[0] if common else hidden).clone()
        return outputs

    def state_dict(self) -> dict[str, Any]:
        """The hidden states of all processes."""
        return {"hidden": self._saving.join_rows(self.hidden)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with this process's part of a saved hidden state."""
        self.hidden = self._saving.own_rows(state["hidden"])

    @property
    def _saving(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("a carry without an engine has no state to save")
        return self._engine
