"""The card of a model: all that is needed to use a network, in its file.

The same card lies in the metadata of `model.safetensors`, in `metadata_props` of ONNX files, in the extra files of
`.pt2` and in `model.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from archscout.errors import DataError
from archscout.tasks.metrics.classification import Metric
from archscout.tasks.preparation import Preparation, preparation_from_json
from archscout.tasks.scale import TargetScale
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Task
from archscout.tasks.transforms import Normalizer
from archscout.version import __version__

__all__ = ["KEY", "ModelCard", "card_of_task"]

FORMAT = "archscout.card"
VERSION = 1
KEY = "archscout.card"  # in ONNX files and .pt2 files


@dataclass(frozen=True)
class ModelCard:
    """What a network takes, what it gives, and how good it is.

    Attributes:
        spec: name, kind, shapes.
        preparation: of new samples; None: the task prepares its samples in a way of its own (`is_whole` is false).
        mean, std: of each channel, by which inputs are normalised after the preparation; None: they are not.
        class_names: one for each output, where they have names; of a text its vocabulary.
        scale: of numeric outputs.
        metric: name, direction and whether it is read in percent.
        values: of the metrics, by split: {"validation": {...}, "test": {...}}.
        temperature: by which logits are divided; 1 unless it was fitted.
        thresholds: of each label of a multilabel task; 0.5 where there are none.
        data: digests of the splits.
        versions: of archscout and torch that wrote it.
    """

    spec: TaskSpec
    preparation: Preparation | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    metric: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the card tells how new samples become inputs."""
        return self.preparation is not None

    @property
    def target_scale(self) -> TargetScale | None:
        """The units of numeric outputs."""
        return None if self.scale is None else TargetScale(*self.scale)

    @property
    def is_map_of_classes(self) -> bool:
        """Whether the network tells a class at every position."""
        return self.spec.kind == "dense" and self.scale is None and self.spec.outputs > 1

    def output_name(self, output: int) -> str:
        """The name of an output."""
        return self.class_names[output] if output < len(self.class_names) else str(output)

    def with_values(self, split: str, values: Mapping[str, float]) -> ModelCard:
        """The card with the metrics of a split."""
        return replace(self, values={**self.values, split: dict(values)})

    def to_json(self) -> dict[str, Any]:
        """Plain data, in a fixed order."""
        spec = self.spec
        return {
            "format": FORMAT,
            "version": VERSION,
            "task": {
                "name": spec.name,
                "kind": spec.kind,
                "input_shape": list(spec.input_shape),
                "outputs": spec.outputs,
            },
            "preparation": None if self.preparation is None else self.preparation.to_json(),
            "normalisation": None if self.mean is None else {"mean": list(self.mean), "std": list(self.std or ())},
            "class_names": list(self.class_names),
            "scale": None if self.scale is None else {"mean": list(self.scale[0]), "std": list(self.scale[1])},
            "metric": dict(self.metric),
            "values": {split: dict(values) for split, values in self.values.items()},
            "temperature": self.temperature,
            "thresholds": list(self.thresholds),
            "data": dict(self.data),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, values: Any) -> ModelCard:
        """The card of `to_json`.

        Raises:
            DataError: it is no card, a damaged one, or one of a newer version.
        """
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise DataError("there is no card of archscout in it, which says what the network takes and gives.")
        if not isinstance(values.get("version"), int) or values["version"] > VERSION:
            raise DataError(
                f"its card has version {values.get('version')}, this archscout reads up to {VERSION}. Upgrade "
                "archscout."
            )
        try:
            task, normal, scale = values["task"], values["normalisation"], values["scale"]
            return cls(
                spec=TaskSpec(task["name"], task["kind"], tuple(map(int, task["input_shape"])), int(task["outputs"])),
                preparation=None if values["preparation"] is None else preparation_from_json(values["preparation"]),
                mean=None if normal is None else tuple(map(float, normal["mean"])),
                std=None if normal is None else tuple(map(float, normal["std"])),
                class_names=tuple(map(str, values["class_names"])),
                scale=None if scale is None else (tuple(map(float, scale["mean"])), tuple(map(float, scale["std"]))),
                metric=dict(values["metric"]),
                values={str(split): dict(each) for split, each in values["values"].items()},
                temperature=float(values["temperature"]),
                thresholds=tuple(map(float, values["thresholds"])),
                data=dict(values["data"]),
                versions=dict(values["versions"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"its card is damaged ({type(error).__name__}: {error}).") from None

    @classmethod
    def from_text(cls, text: str) -> ModelCard:
        """The card of JSON text. Raises DataError."""
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, RecursionError):
            raise DataError("its card is no JSON text.") from None


def card_of_task(task: Task, data: Mapping[str, Any] | None = None) -> ModelCard:
    """The card of a network that was trained on a task, before it is evaluated.

    Args:
        data: digests of the splits.
    """
    plain = isinstance(task.normalize, Normalizer)
    scale = task.scale
    return ModelCard(
        spec=task.spec,
        preparation=task.preparation if plain or task.spec.is_text else None,
        mean=task.normalize.mean if isinstance(task.normalize, Normalizer) else None,
        std=task.normalize.std if isinstance(task.normalize, Normalizer) else None,
        class_names=task.class_names,
        scale=None if scale is None else (scale.mean, scale.std),
        metric=_metric_facts(task.metric),
        data=data or {},
        versions={"archscout": __version__, "torch": str(torch.__version__)},
    )


def _metric_facts(metric: Metric) -> dict[str, Any]:
    return {"name": metric.name, "direction": metric.direction, "percent": metric.percent}
