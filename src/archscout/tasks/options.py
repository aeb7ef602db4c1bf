"""How to read data and what to learn from it, where a user says more than a path: the section `task_options`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from archscout.errors import SettingsError
from archscout.settings import Settings

__all__ = [
    "CHOICES",
    "DEFAULTS",
    "HOLD_OUT",
    "RULES",
    "Fit",
    "SoundOptions",
    "TaskOptions",
    "options_with",
    "parse_range",
    "parse_size",
]

Fit = Literal["crop", "pad", "squeeze"]

CHOICES = frozenset(("metric", "metrics", "loss", "class_weights", "sampling"))
"""Options that hold for every task, those of registered names included: they change no data."""
HOLD_OUT = frozenset(("order", "groups", "validation_fraction", "test_fraction", "seed", "folds", "fold"))
"""Options of the splits: heeded by every reader that makes its task with `task_of_samples`."""
RULES = 2
"""Version of the rules by which files are read and splits held out; runs keep those that they were started with."""


class TaskOptions(Settings):
    """What may be said of data beside its path. Every default is what most people mean."""

    kind: Literal["auto", "classification", "multilabel", "regression", "dense"] = Field(
        default="auto", description="what to learn; auto: as the targets tell"
    )
    labels: str | None = Field(default=None, description="CSV file with a row for each sample: file name and targets")
    target: tuple[str, ...] = Field(default=(), description="column or columns of targets; default: the only one left")
    classes: str | None = Field(
        default=None, description="classes from names: folder (level by number), or a pattern of file names"
    )
    series_id: str | None = Field(
        default=None, description="column that tells series apart, in a table with a row for each step"
    )
    layout: str = Field(default="auto", description="axes of arrays: NCHW, NHWC, NHW, NCL, NLC, NL")
    value_range: tuple[float, float] | None = Field(
        default=None, description="values of black and white, where the files do not tell"
    )
    image_size: tuple[int, int] | None = Field(default=None, description="height and width that networks see, pixels")
    fit: Fit | None = Field(default=None, description="how images get their size: crop, pad or squeeze")
    augment: str = Field(default="auto", description="auto, crop, crop+flip or none")
    sound: SoundOptions | None = Field(default=None, description="features of sounds")
    ignore: int | None = Field(default=None, description="value of masks that is left out of loss and metrics")
    groups: str | None = Field(
        default=None,
        description="what belongs together in one split: folder (level by number), column or pattern of file names",
    )
    order: Literal["random", "time"] = Field(
        default="random", description="time: the last samples are held out, nothing is shuffled between splits"
    )
    validation_fraction: float = Field(default=1 / 6, gt=0, lt=1, description="held out where there is no such split")
    test_fraction: float = Field(
        default=1 / 6, ge=0, lt=1, description="held out where there is no such split; 0: nothing is tested"
    )
    seed: int = Field(default=0, ge=0, description="of what is held out")
    folds: int | None = Field(default=None, ge=2, description="number of folds of a cross-validation")
    fold: int | None = Field(default=None, ge=1, description="which of them is the test split, from 1")
    metric: str | None = Field(default=None, description="what decides; see docs/tasks.md")
    metrics: tuple[str, ...] = Field(default=(), description="reported beside it")
    loss: str | None = Field(default=None, description="what training minimises; see docs/tasks.md")
    class_weights: Literal["balanced"] | None = Field(default=None, description="of the loss, by frequency")
    sampling: Literal["natural", "balanced"] = Field(default="natural", description="of training batches")
    skip_damaged: bool = Field(default=False, description="go on without files that cannot be read")
    rules: int = Field(default=RULES, ge=1, le=RULES, description="version of the rules of reading")

    @field_validator("target", "metrics", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("image_size")
    @classmethod
    def _positive(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and min(value) < 1:
            raise ValueError("it must be at least 1 pixel")
        return value

    @field_validator("value_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("black must be below white")
        return value

    @model_validator(mode="after")
    def _folds_belong_together(self) -> TaskOptions:
        if self.fold is not None and (self.folds is None or self.fold > self.folds):
            raise ValueError(f"fold {self.fold} needs at least as many folds; folds is {self.folds}")
        return self

    def given(self) -> frozenset[str]:
        """The names of the options that differ from their defaults."""
        return frozenset(self.model_dump(exclude_defaults=True))

    def check_heeded(self, heeded: frozenset[str], what: str) -> None:
        """Raise SettingsError where an option was given that whoever reads `what` does not heed."""
        lost = sorted(self.given() - heeded - CHOICES - {"rules", "skip_damaged"})
        if lost:
            allowed = ", ".join(sorted((heeded | CHOICES) - {"rules"}))
            raise SettingsError(
                f"{what} is read without the option{'s' * (len(lost) > 1)} {', '.join(lost)}; allowed here: {allowed}."
            )


class SoundOptions(Settings):
    """How sounds become features; what is left out follows the recordings. See `SoundSettings`."""

    features: Literal["mel", "wave"] | None = None
    rate: int | None = None
    seconds: float | None = None
    window: float | None = None
    hop: float | None = None
    mels: int | None = None
    transform: int | None = None
    low: float | None = None
    high: float | None = None


TaskOptions.model_rebuild()

DEFAULTS = TaskOptions()


def options_with(options: TaskOptions | None, named: Mapping[str, Any]) -> TaskOptions:
    """The options with some fields set. Raises SettingsError for fields that do not exist or values that are wrong."""
    if not named:
        return options or DEFAULTS
    return TaskOptions.read({**(options or DEFAULTS).model_dump(exclude_defaults=True), **named})


def parse_size(text: str) -> tuple[int, int]:
    """`64` or `48x64` (height x width) as height and width. Raises SettingsError."""
    parts = text.lower().replace("\u00d7", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and len(part) < 7 for part in parts):
        raise SettingsError(f"the image size is '{text}'; give a side in pixels, as 64, or height and width, as 48x64.")
    return int(parts[0]), int(parts[-1])


def parse_range(text: str) -> tuple[float, float]:
    """`0,4095` as two numbers. Raises SettingsError."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"the value range is '{text}'; give two numbers, black and white, as 0,4095.") from None
    return low, high
