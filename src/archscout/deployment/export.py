"""What is exported of a trained network, and the card that goes into each file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from archscout.atomic import write_atomic
from archscout.deployment.card import KEY, ModelCard
from archscout.deployment.deployed import OUTPUT_NAMES, Deployed, given_input
from archscout.deployment.standalone import FILE_NAME, standalone_source
from archscout.exporting import ExportedInParts, ExportReport, export_model, export_network

__all__ = ["ExportSubject"]


@dataclass(frozen=True)
class ExportSubject:
    """A network to export: with its preprocessing inside, or alone.

    Attributes:
        network: to export.
        card: written into the files.
        raw: the network alone: normalised inputs, raw outputs.
        note: why it is exported alone although nobody asked for that; else empty.
    """

    network: nn.Module
    card: ModelCard
    raw: bool
    note: str = ""

    @classmethod
    def of(cls, network: nn.Module, card: ModelCard, *, raw: bool = False) -> ExportSubject:
        """The network with its preprocessing, unless it is wanted alone or cannot have it.

        Args:
            network: in evaluation mode.
        """
        if raw:
            return cls(network, card, True)
        if isinstance(network, ExportedInParts):
            return cls(
                network, card, True, "the parts of the network take words as numbers, in the order of the vocabulary."
            )
        if not card.is_whole:
            why = f"{card.spec.name} prepares its samples in a way of its own: the network is exported alone."
            return cls(network, card, True, why)
        return cls(Deployed(network, card), card, False)

    def export(self, folder: Path, *, formats: Sequence[str], tolerance: float) -> list[ExportReport]:
        """Write the files, each with the card inside and compared with the network.

        Beside an ONNX file that takes samples as they are given lies `predict_onnx.py`, which needs no archscout.
        """
        facts = {KEY: json.dumps({**self.card.to_json(), "raw": self.raw})}
        if self.raw:
            shape = self.card.spec.input_shape
            return export_network(self.network, shape, folder, formats=formats, tolerance=tolerance, metadata=facts)
        # Numbers in the user's units are as large as those: the tolerance is of a deviation.
        largest = max(self.card.scale[1], default=1.0) if self.card.scale is not None else 1.0
        reports = export_model(
            self.network,
            [given_input(self.card)],
            folder,
            outputs=(OUTPUT_NAMES[self.card.spec.kind],),
            formats=formats,
            tolerance=tolerance * max(1.0, largest),
            metadata=facts,
        )
        if "onnx" in formats:
            write_atomic(folder / FILE_NAME, standalone_source())
        return reports
