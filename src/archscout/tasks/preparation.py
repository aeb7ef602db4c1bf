"""How what a user has becomes what a network was trained on: the same for new samples as for those of the training.

A preparation has two halves. What needs files, Pillow or numpy happens outside the network (`archscout.deployment`
calls the readers); what is arithmetic on a batch is `to_stored`, in torch, and travels inside exported networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from archscout.errors import DataError, SettingsError
from archscout.tasks.sound_features import SoundSettings, sound_features

__all__ = [
    "ArrayPreparation",
    "ImagePreparation",
    "Preparation",
    "SoundPreparation",
    "TextPreparation",
    "preparation_from_json",
]


class Preparation(Protocol):
    """How new samples are read. Frozen, and plain data as JSON.

    Attributes:
        kind: as in JSON files.
    """

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `preparation_from_json` reads."""
        ...

    def given_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one sample as an exported network takes it, from that of the network's input."""
        ...

    def given_dtype(self) -> torch.dtype:
        """The type of the values that an exported network takes."""
        ...

    def to_stored(self, given: Tensor) -> Tensor:
        """A batch as an exported network takes it, to inputs `(N, C, ...)` before normalisation, float32."""
        ...


@dataclass(frozen=True)
class ImagePreparation:
    """Image files: decoded to `(N, height, width, channels)`, uint8, by `decoding` (its `to_json`)."""

    decoding: Mapping[str, Any]
    kind: ClassVar[str] = "images"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "decoding": dict(self.decoding)}

    def given_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = input_shape
        return (height, width, channels)

    def given_dtype(self) -> torch.dtype:
        return torch.uint8

    def to_stored(self, given: Tensor) -> Tensor:
        return given.permute(0, 3, 1, 2).to(torch.float32) / 255


@dataclass(frozen=True)
class ArrayPreparation:
    """Arrays of numbers, images or series.

    Attributes:
        layout: of the arrays that were given, as in `archscout.tasks.readers.layouts.LAYOUTS`.
        divisor: of their values: 255 for pixels, 65535 for 16 bits, else 1.
        whole: they are uint8.
        length: of series, in steps; shorter ones are followed by `fill`. None: all had one length.
        fill: for each channel.
        empty: of series, for each channel, what stands for its values in a series that has none of it; default: `fill`.
        columns: of tables of series, the part that each column plays, as `series_columns.Columns.to_json` writes it.
        step: of time, to which series with time stamps are brought.
    """

    layout: str
    divisor: float = 1.0
    whole: bool = False
    length: int | None = None
    fill: tuple[float, ...] = ()
    empty: tuple[float, ...] = ()
    columns: Mapping[str, Any] | None = None
    step: float | None = None
    kind: ClassVar[str] = "arrays"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self), "fill": list(self.fill), "empty": list(self.empty)}

    def given_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.layout in ("NHW", "NL"):
            return input_shape[1:]
        return (*input_shape[1:], input_shape[0]) if self.layout in ("NHWC", "NLC") else input_shape

    def given_dtype(self) -> torch.dtype:
        return torch.uint8 if self.whole else torch.float32

    def to_stored(self, given: Tensor) -> Tensor:
        values = given.to(torch.float32) / self.divisor
        if self.layout in ("NHW", "NL"):
            return values.unsqueeze(1)
        return values.movedim(-1, 1) if self.layout in ("NHWC", "NLC") else values


@dataclass(frozen=True)
class SoundPreparation:
    """Sounds as samples `(N, samples)` at the rate and of the length of the settings; features are made of them."""

    settings: SoundSettings
    kind: ClassVar[str] = "sounds"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "settings": self.settings.model_dump(mode="json")}

    def given_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.settings.length,)

    def given_dtype(self) -> torch.dtype:
        return torch.float32

    def to_stored(self, given: Tensor) -> Tensor:
        return sound_features(given, self.settings)


@dataclass(frozen=True)
class TextPreparation:
    """Words between blanks, as numbers in the order of the vocabulary."""

    kind: ClassVar[str] = "text"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def given_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def given_dtype(self) -> torch.dtype:
        return torch.int64

    def to_stored(self, given: Tensor) -> Tensor:
        return given


def preparation_from_json(values: Mapping[str, Any]) -> Preparation:
    """The preparation that `to_json` wrote. Raises DataError for anything else."""
    fields = {key: value for key, value in values.items() if key != "kind"}
    try:
        if values.get("kind") == ImagePreparation.kind:
            return ImagePreparation(**fields)
        if values.get("kind") == ArrayPreparation.kind:
            numbers = {name: tuple(map(float, fields.get(name, ()))) for name in ("fill", "empty")}
            return ArrayPreparation(**{**fields, **numbers})
        if values.get("kind") == SoundPreparation.kind:
            return SoundPreparation(SoundSettings.read(fields["settings"]))
        if values.get("kind") == TextPreparation.kind:
            return TextPreparation(**fields)
    except (TypeError, ValueError, KeyError, SettingsError) as error:
        raise DataError(f"the model file does not say how its inputs are prepared ({error}).") from None
    raise DataError(
        f"inputs are prepared as '{values.get('kind')}', which this version of archscout does not know; a newer "
        "version wrote the file. Upgrade archscout."
    )
