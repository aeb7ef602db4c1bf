"""Where a network fails: confusion, calibration, the worst samples, intervals; of a run, or on another labelled set."""

from archscout.pipeline.insight.content import (
    Bin,
    Calibration,
    ClassScore,
    Insight,
    Interval,
    Mistake,
    NumberScore,
    PositionErrors,
    WordBand,
)

__all__ = [
    "Bin",
    "Calibration",
    "ClassScore",
    "Insight",
    "Interval",
    "Mistake",
    "NumberScore",
    "PositionErrors",
    "WordBand",
]
