"""The shape of DSM-NAS's controller: its parameters, its settings, what it decides (docs/methods/dsm.md#controller)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = [
    "GLOBAL_SQUASH",
    "GNN_LAYERS",
    "HIDDEN",
    "INITIAL_RANGE",
    "LOCAL_SQUASH",
    "ControllerShape",
    "Decisions",
    "OptimizerSettings",
]

HIDDEN = 64
GNN_LAYERS = 2
INITIAL_RANGE = 0.1  # every parameter starts uniform in [-0.1, 0.1], biases included
GLOBAL_SQUASH = 1.5  # logits are bounded by 1.5 tanh(.) where a slot is picked
LOCAL_SQUASH = GLOBAL_SQUASH / 2.5  # and by 0.6 tanh(.) where layers and operations are


@dataclass(frozen=True)
class ControllerShape:
    """What a controller decides.

    Attributes:
        slots: centres to pick from (K).
        edits: pairs of layer and operation for each proposal (M).
        allowed: of each layer, which operations it may have.
        features: length of a centre's one-hot code.
    """

    slots: int
    edits: int
    allowed: tuple[tuple[bool, ...], ...]
    features: int

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.allowed)

    @property
    def operations(self) -> int:
        """Number of operations."""
        return len(self.allowed[0])

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters of one trial; matrices are `(inputs, outputs)`."""
        d, features = HIDDEN, self.features + 1  # the score is a feature
        shapes: dict[str, tuple[int, ...]] = {
            "node": (features, d),
            "node_bias": (d,),
            "edge": (features, d),
            "edge_bias": (d,),
        }
        for layer in range(GNN_LAYERS):
            shapes |= {
                f"message{layer}": (3 * d, d),
                f"pool{layer}": (d, d),
                f"pool_bias{layer}": (d,),
                f"update{layer}": (2 * d, d),
                f"edge_update{layer}": (3 * d, d),
            }
        return shapes | {
            "lstm_input": (d, 4 * d),
            "lstm_hidden": (d, 4 * d),
            "lstm_input_bias": (4 * d,),
            "lstm_hidden_bias": (4 * d,),
            "attend_node": (d, d),
            "attend_hidden": (d, d),
            "attend_out": (d, 1),
            "slot_embedding": (self.slots, d),
            "layer_embedding": (self.layers, d),
            "operation_embedding": (self.operations, d),
            "layer_head": (d, self.layers),
            "layer_head_bias": (self.layers,),
            "operation_head": (d, self.operations),
            "operation_head_bias": (self.operations,),
            # The published controller has one more layer that nothing reads; kept, so that sizes compare.
            "unused": (d, self.slots),
            "unused_bias": (self.slots,),
        }

    @property
    def parameters(self) -> int:
        """Their number: 122,062 for NAS-Bench-201 with 3 slots, 146,408 for the MobileNet space with 10."""
        return sum(math.prod(shape) for shape in self.tensors().values())

    @property
    def largest_entropy(self) -> float:
        """Of a proposal, in nats, if every choice were uniform."""
        choices = max(sum(row) for row in self.allowed)
        return math.log(self.slots) + self.edits * (math.log(self.layers) + math.log(choices))


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam's settings, and the weight of the entropy in the objective."""

    lr: float
    weight_decay: float
    entropy: float


class Decisions(NamedTuple):
    """Proposals of T trials, B each: `slots`, `log_probability`, `entropy` are `(T, B)`, the edits `(T, B, M)`."""

    slots: Tensor
    layers: Tensor
    operations: Tensor
    log_probability: Tensor
    entropy: Tensor
