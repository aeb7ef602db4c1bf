"""Settings of the tuning of training hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from archscout.settings import Settings, flat, merge

__all__ = ["RangeSettings", "TuningSettings", "Value", "nested", "published_share"]

Value = bool | int | float | str | None

# docs/methods/d2nas.md#tuning: share of an epoch's batches by the number of batches.
PUBLISHED_SHARES = ((50, 0.3), (100, 0.2), (300, 0.1), (500, 0.05))
SMALLEST_SHARE = 0.01


class RangeSettings(Settings):
    """Numbers that a sampler may draw, both ends included."""

    low: float
    high: float
    log: bool = Field(default=False, description="draw uniformly in the logarithm")
    integer: bool = Field(default=False, description="whole numbers only")

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("low must be below high, and above 0 with log")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError("low and high must be whole numbers with integer")
        return self


class TuningSettings(Settings):
    """How the hyper-parameters of the final training are tuned. The defaults: docs/methods/d2nas.md#tuning.

    The names of `parameters` are settings of `train`, as in `optimizer.lr`; the values are lists, or ranges where a
    sampler draws. The first parameter of a grid is its outer loop.
    """

    kind: Literal["grid", "halving", "hyperband"] = Field(
        default="grid", description="all combinations; or a sampler whose trials are ended early when they are behind"
    )
    parameters: Mapping[str, tuple[Value, ...] | RangeSettings] = Field(
        default_factory=lambda: {
            "optimizer.lr": (0.1, 0.01, 0.001),
            "optimizer.weight_decay": (5e-4, 5e-5),
            "optimizer.momentum": (0.9, 0.99),
            "drop_path": (0.0, 0.3),
        }
    )
    skip_rest: bool = Field(
        default=True, description="grid: leave out the rest once a value of the first parameter brought nothing better"
    )
    epochs: int = Field(default=40, ge=1, description="of each trial")
    epoch_share: float | None = Field(
        default=None, gt=0, le=1, description="of an epoch's batches; null: as published, by their number"
    )
    trials: int = Field(default=24, ge=1, description="of a sampler")
    sampler: Literal["tpe", "random"] = "tpe"
    min_epochs: int = Field(default=3, ge=1, description="of a trial that is ended early")
    reduction_factor: int = Field(default=3, ge=2, description="one trial of so many goes on")
    concurrent: int = Field(default=4, ge=1, description="trials at a time; what a sampler draws depends on it")
    workers: int | None = Field(default=None, ge=1, description="processes; null takes one for each core, or one GPU")
    batch_size: int = Field(default=250, ge=1, description="of the evaluation on the validation split")
    storage: str | None = Field(default=None, description="database URL; null: tuning.db in the run directory")

    @field_validator("parameters", mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """Names may be nested too, as overrides make them: `tuning.parameters.drop_path=[0.1, 0.2]`."""
        return flat(value) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        if not self.parameters:
            raise ValueError("parameters must name what to tune, for example optimizer.lr: [0.1, 0.01]")
        for name, values in self.parameters.items():
            if isinstance(values, RangeSettings):
                if self.kind == "grid":
                    raise ValueError(f"{name}: a grid needs a list of values, not a range")
            elif not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: {list(values)} must have values, each once")
        if self.kind != "grid" and self.min_epochs > self.epochs:
            raise ValueError(f"min_epochs {self.min_epochs} must not be above epochs {self.epochs}")
        return self

    @property
    def configurations(self) -> int:
        """The largest number of trials."""
        if self.kind != "grid":
            return self.trials
        return math.prod(len(values) for values in self.parameters.values() if not isinstance(values, RangeSettings))

    def what_decides(self) -> dict[str, Any]:
        """The settings that results depend on, as JSON types."""
        aside = {"workers", "storage", *(["concurrent"] if self.kind == "grid" else [])}
        return self.model_dump(mode="json", exclude=aside)


def published_share(batches: int) -> float:
    """The share of an epoch's batches that a trial trains on (docs/methods/d2nas.md#tuning).

    Args:
        batches: of an epoch of the final training.
    """
    return next((share for limit, share in PUBLISHED_SHARES if batches < limit), SMALLEST_SHARE)


def nested(parameters: Mapping[str, Value]) -> dict[str, Any]:
    """Dotted names as nested mappings."""
    content: dict[str, Any] = {}
    for name, value in parameters.items():
        entry: Any = value
        for key in reversed(name.split(".")):
            entry = {key: entry}
        content = merge(content, entry)
    return content
