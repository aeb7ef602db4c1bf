"""A network with its preprocessing and its decoding inside: takes what a user has, gives what a user wants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archscout.deployment.card import ModelCard
from archscout.errors import DataError
from archscout.exporting import ExportInput

__all__ = ["OUTPUT_NAMES", "Deployed", "decode_outputs", "given_input"]

OUTPUT_NAMES = {
    "classification": "probabilities",
    "multilabel": "probabilities",
    "regression": "values",
    "dense": "map",
    "language": "log_probabilities",
}


class Deployed(nn.Module):
    """From samples as they are given to what people ask for.

    Inputs are `(N, *given_shape)` as the card's preparation says: images uint8 `(N, H, W, C)`, arrays in their own
    layout and range, series in their units, sounds as samples. Outputs, by kind:

    - classification: probabilities `(N, classes)`; multilabel: `(N, labels)`;
    - regression: values in the units of the targets, `(N, K)`;
    - dense: values `(N, K, *positions)` in their units, or for classes their probabilities.

    Args:
        network: in evaluation mode.
        card: what it takes and gives.

    Raises:
        DataError: the card does not say how samples are prepared.
    """

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        if card.preparation is None:
            raise DataError(
                f"the task {card.spec.name} prepares its samples in a way of its own; only the network alone can be "
                "exported: --raw."
            )
        self.network = network
        self.card = card
        self.preparation = card.preparation
        width = (1, -1) + (1,) * (len(card.spec.input_shape) - 1)
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer("mean", None if card.mean is None else torch.tensor(card.mean).view(width))
        self.register_buffer("std", None if card.std is None else torch.tensor(card.std).view(width))

    def prepared(self, given: Tensor) -> Tensor:
        """Samples as they are given, to the network's inputs."""
        inputs = self.preparation.to_stored(given)
        if self.mean is not None and self.std is not None:
            inputs = (inputs - self.mean) / self.std
        return inputs

    def forward(self, given: Tensor) -> Tensor:
        return decode_outputs(self.network(self.prepared(given)), self.card)


def decode_outputs(outputs: Tensor, card: ModelCard) -> Tensor:
    """What the network gives, as probabilities or in the units of the targets."""
    outputs = outputs.to(torch.float32)
    scale = card.target_scale
    if scale is not None:
        shape = (1, -1) + (1,) * (outputs.dim() - 2)
        return outputs * torch.tensor(scale.std).view(shape) + torch.tensor(scale.mean).view(shape)
    if card.spec.kind == "multilabel":
        return torch.sigmoid(outputs / card.temperature)
    if card.spec.kind == "classification" or card.is_map_of_classes:
        return torch.softmax(outputs / card.temperature, dim=1)
    return outputs


def given_input(card: ModelCard) -> ExportInput:
    """The input of an exported `Deployed` network."""
    if card.preparation is None:
        raise DataError(f"the card of {card.spec.name} does not say how samples are prepared.")
    return ExportInput(
        "input", card.preparation.given_shape(card.spec.input_shape), dtype=card.preparation.given_dtype()
    )
