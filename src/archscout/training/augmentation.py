"""Augmentations that a training asks for beside those of the task, as settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

from pydantic import Field

from archscout.errors import SettingsError
from archscout.settings import Settings
from archscout.tasks.task import Task, Transform
from archscout.tasks.transforms import auto_augment, color_jitter

__all__ = [
    "AugmentationSettings",
    "ColorJitterSettings",
    "augmented",
    "check_cutout",
    "check_label_smoothing",
    "is_images",
]


class ColorJitterSettings(Settings):
    """Random changes of colour: factors within 1 - x and 1 + x; the hue is shifted by at most x of its circle."""

    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)


class AugmentationSettings(Settings):
    """What every training of images may add to the task's own augmentation; both need colour images."""

    color_jitter: ColorJitterSettings | None = Field(default=None, description="null: none")
    auto_augment: Literal["cifar10", "imagenet", "svhn"] | None = Field(default=None, description="null: none")


def is_images(task: Task) -> bool:
    """Whether the samples are images that may be changed without their targets."""
    return len(task.spec.input_shape) == 3 and task.spec.kind in ("classification", "multilabel")


@runtime_checkable
class CutsOut(Protocol):
    """Settings of a training that may cut a square hole of so many pixels into its images; 0: none."""

    cutout: int


def check_cutout(task: Task, settings: Settings, where: str) -> None:
    """Raise SettingsError where a cutout was asked for, but would mean nothing or harm: on series and dense tasks."""
    size = settings.cutout if isinstance(settings, CutsOut) else 0
    if size and "cutout" in settings.model_fields_set and not is_images(task):
        raise SettingsError(
            f"{where}.cutout = {size}: a hole of so many pixels is for classifying images, but the task {task.name} "
            f"is {task.spec.describe()}. Switch it off: --set {where}.cutout=0"
        )


@runtime_checkable
class SmoothsLabels(Protocol):
    """Settings of a training that may take a share of each label and spread it over all classes; 0: none."""

    label_smoothing: float


def check_label_smoothing(task: Task, settings: Settings, where: str) -> None:
    """Raise SettingsError where label smoothing was asked for, but there are no classes to smooth."""
    share = settings.label_smoothing if isinstance(settings, SmoothsLabels) else 0.0
    if not share or "label_smoothing" not in settings.model_fields_set:
        return
    has_classes = task.spec.kind == "classification" or (task.spec.kind == "dense" and task.scale is None)
    if not (has_classes and task.heeds_smoothing):
        why = "its loss takes none" if has_classes else f"the task {task.name} is {task.spec.describe()}"
        raise SettingsError(
            f"{where}.label_smoothing = {share}: it spreads a class over the others, but {why}. Switch it off: "
            f"--set {where}.label_smoothing=0"
        )


def augmented(task: Task, settings: AugmentationSettings, where: str) -> Task:
    """The task with the augmentations of the settings after its own.

    Args:
        task: what is trained on.
        settings: what to add.
        where: the settings' section, for messages.

    Raises:
        SettingsError: the task has no colour images.
        MissingExtraError: kornia is not installed.
    """
    jitter, policy = settings.color_jitter, settings.auto_augment
    wanted = [f"{where}.color_jitter"] * (jitter is not None) + [f"{where}.auto_augment"] * (policy is not None)
    shape = task.spec.input_shape
    if policy is not None and task.spec.kind == "regression":
        raise SettingsError(
            f"{where}.auto_augment turns and moves images, and the numbers of {task.name} may change with them. Switch "
            f"it off: --set {where}.auto_augment=null"
        )
    keeps_targets = task.spec.answers_once and len(shape) == 3
    if wanted and not (keeps_targets and shape[0] == 3):
        switches = " ".join(f"--set {name}=null" for name in wanted)
        raise SettingsError(
            f"{' and '.join(wanted)}: only for colour images of 3 channels, but the task {task.name} is "
            f"{task.spec.describe()}. Switch it off: {switches}"
        )
    added: list[Transform] = []
    if policy is not None:
        added.append(auto_augment(policy))
    if jitter is not None:
        added.append(color_jitter(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue))
    return replace(task, augmentations=(*task.augmentations, *added)) if added else task
