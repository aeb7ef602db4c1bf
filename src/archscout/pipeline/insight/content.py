"""What is known of where a network fails, as plain values that a JSON file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from archscout.errors import RunError

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

FORMAT, VERSION = "archscout.insight", 1

T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a metric, from bootstrap resamples.

    Attributes:
        low, high: the 2.5th and the 97.5th percentile of the resampled values.
        resamples: how many; 0: they all agree, as without a single mistake, and the exact binomial interval is told in
            their place.
        unit: what was drawn: samples, groups (all samples of one together), or segments of a text.
    """

    low: float
    high: float
    resamples: int
    unit: str = "samples"


@dataclass(frozen=True)
class ClassScore:
    """How one class, or one label, is recognised.

    Attributes:
        name: of the class.
        precision, recall, f1: 0 where they have no value, as in scikit-learn.
        support: how often it is true: samples, or positions of masks.
        predicted: how often it was predicted.
        iou: intersection over union, of masks; None of others, and where the class neither is nor was predicted.
        average_precision: of labels; None of others, and where the label never occurs.
        threshold: of labels, from which probability they are given.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int
    iou: float | None = None
    average_precision: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence lies in `(low, high]`: how many, their mean confidence, and the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities mean what they say.

    Attributes:
        error: the expected calibration error (ECE): `|accuracy - confidence|` of the bins, weighted by their counts.
        confidence, accuracy: means over all answers.
        temperature: by which logits were divided.
        what: an answer is: samples, labels (the probability of each label against how often it is true), positions.
        bins: equally wide ones; empty ones are left out.
    """

    error: float
    confidence: float
    accuracy: float
    temperature: float
    what: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Mistake:
    """A sample on which the network is far off.

    Attributes:
        sample: its name.
        position: in the split.
        true, predicted: names of classes, or numbers; empty for maps.
        probability: that the network gave to what it predicted; of a label that was not given, to its absence.
        value: of maps the share of right positions or the error of the sample; of numbers predicted minus true.
    """

    sample: str
    position: int
    true: str = ""
    predicted: str = ""
    probability: float | None = None
    value: float | None = None


@dataclass(frozen=True)
class NumberScore:
    """The errors of one number, in its units; `bias` is the mean of predicted minus true."""

    name: str
    mean_absolute_error: float
    root_mean_squared_error: float
    r_squared: float
    bias: float
    largest: float


@dataclass(frozen=True)
class PositionErrors:
    """The mean error at each position, over all samples.

    Attributes:
        shape: of the positions.
        cells: rows of numbers, one row for a series; blocks of neighbouring positions are averaged where there are more
            than 32 along an axis. None where no sample has a target.
        what: is counted: the share of wrong classes, or the mean absolute error.
    """

    shape: tuple[int, ...]
    cells: tuple[tuple[float | None, ...], ...]
    what: str


@dataclass(frozen=True)
class WordBand:
    """Words that are about equally frequent in the training text.

    Attributes:
        low, high: how often they occur there; high None: or more.
        words: how many words of the judged text are such.
        perplexity: on them.
    """

    low: int
    high: int | None
    words: int
    perplexity: float


@dataclass(frozen=True)
class Insight:
    """Where a network fails on a labelled set.

    Attributes:
        form: of the targets: classes, labels, numbers, masks, fields, words; other where they have a form of their own.
        task: its name.
        part: which split, or which other set.
        samples: how many.
        metric: the name of the deciding one.
        values: of the metrics, and the loss.
        intervals: of the metrics, where they could be resampled.
        class_names: in the order of the outputs.
        confusion: true class, predicted class, how often; what never happened is left out.
        classes: in the order of the outputs.
        calibration: None where there are no probabilities.
        mistakes: the worst first, at most 100.
        wrong: how many samples (of labels: decisions) are wrong; None where nothing is simply wrong or right.
        numbers: of numeric targets.
        positions: of targets at every position; None where samples have different sizes.
        bands: of texts, the rarest first.
        costly: of texts, words with their number, their perplexity and their share of the whole loss.
        notes: what is to be said of these numbers.
    """

    form: str
    task: str
    part: str
    samples: int
    metric: str
    values: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    confusion: tuple[tuple[int, int, int], ...] = ()
    classes: tuple[ClassScore, ...] = ()
    calibration: Calibration | None = None
    mistakes: tuple[Mistake, ...] = ()
    wrong: int | None = None
    numbers: tuple[NumberScore, ...] = ()
    positions: PositionErrors | None = None
    bands: tuple[WordBand, ...] = ()
    costly: tuple[tuple[str, int, float, float], ...] = ()
    notes: tuple[str, ...] = ()

    def confusion_matrix(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """`(classes, classes)`: a row for each true class, a column for each predicted one."""
        size = len(self.class_names)
        matrix = np.zeros((size, size), np.int64)
        for true, predicted, count in self.confusion:
            matrix[true, predicted] = count
        return matrix

    def confused_pairs(self, most: int | None = None) -> list[tuple[str, str, int]]:
        """True class, predicted class, how often; the most frequent confusion first."""
        wrong = sorted((entry for entry in self.confusion if entry[0] != entry[1]), key=lambda entry: -entry[2])
        names = self.class_names
        return [(names[true], names[predicted], count) for true, predicted, count in wrong[:most]]

    def worst_classes(self, most: int | None = None) -> list[ClassScore]:
        """The classes that occur, the lowest F1 first."""
        return sorted((each for each in self.classes if each.support), key=lambda each: each.f1)[:most]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Any) -> Insight:
        """The insight of `to_json`. Raises RunError where it is something else."""
        try:
            if values["format"] != FORMAT or values["version"] > VERSION:
                raise RunError("insight.json was written by a newer version of archscout. Upgrade archscout.")
            known = {each.name for each in fields(cls)}
            plain = {name: value for name, value in values.items() if name in known}
            calibration, positions = plain["calibration"], plain["positions"]
            return cls(
                **{
                    **plain,
                    "intervals": {name: Interval(**each) for name, each in plain["intervals"].items()},
                    "class_names": tuple(plain["class_names"]),
                    "confusion": tuple((true, found, count) for true, found, count in plain["confusion"]),
                    "classes": _each(ClassScore, plain["classes"]),
                    "calibration": None
                    if calibration is None
                    else Calibration(**{**calibration, "bins": _each(Bin, calibration["bins"])}),
                    "mistakes": _each(Mistake, plain["mistakes"]),
                    "numbers": _each(NumberScore, plain["numbers"]),
                    "positions": None
                    if positions is None
                    else PositionErrors(
                        tuple(positions["shape"]), tuple(map(tuple, positions["cells"])), positions["what"]
                    ),
                    "bands": _each(WordBand, plain["bands"]),
                    "costly": tuple(tuple(each) for each in plain["costly"]),
                    "notes": tuple(plain["notes"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"insight.json is damaged ({type(error).__name__}: {error}).") from None


def _each(kind: type[T], values: Sequence[Mapping[str, Any]]) -> tuple[T, ...]:
    return tuple(kind(**value) for value in values)
