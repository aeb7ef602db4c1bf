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
from archscout.deployment.devices import DEVICE_FORMATS, export_for_device
from archscout.deployment.standalone import FILE_NAME, standalone_source
from archscout.exporting import ExportedInParts, ExportInput, ExportReport, export_model

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

        Args:
            formats: `onnx`, `torch`, `openvino`, `executorch`.
        """
        facts = self.metadata()
        general = [each for each in formats if each not in DEVICE_FORMATS]
        if not self.raw:
            # Numbers in the user's units are as large as those: the tolerance is of a deviation.
            largest = max(self.card.scale[1], default=1.0) if self.card.scale is not None else 1.0
            tolerance *= max(1.0, largest)
        reports = []
        for name, module, inputs, outputs in self._parts():
            if general:
                reports += export_model(
                    module,
                    inputs,
                    folder,
                    outputs=outputs,
                    formats=general,
                    tolerance=tolerance,
                    metadata=facts,
                    name=name,
                )
            for kind in formats:
                if kind in DEVICE_FORMATS:
                    reports.append(
                        export_for_device(
                            module,
                            inputs,
                            folder,
                            kind,
                            outputs=outputs,
                            tolerance=tolerance,
                            metadata=facts,
                            name=name,
                        )
                    )
        if "onnx" in formats and not self.raw:
            write_atomic(folder / FILE_NAME, standalone_source())
        return reports

    def metadata(self) -> dict[str, str]:
        """The card as it lies in files."""
        return {KEY: json.dumps({**self.card.to_json(), "raw": self.raw})}

    def _parts(self) -> list[tuple[str, nn.Module, list[ExportInput], list[str]]]:
        """What becomes a file each: name, module, inputs, names of the outputs."""
        if isinstance(self.network, ExportedInParts):
            parts = self.network.export_parts().items()
            return [(name, module, list(inputs), list(outputs)) for name, (module, inputs, outputs) in parts]
        if self.raw:
            return [("model", self.network, [ExportInput("input", self.card.spec.input_shape)], ["output"])]
        return [("model", self.network, [given_input(self.card)], [OUTPUT_NAMES[self.card.spec.kind]])]
