"""The settings of a whole run, resolved from a recipe, the command line and the defaults, and checked together."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, create_model, field_validator

from archscout.deployment.targets import find_target
from archscout.engine import Precision
from archscout.errors import SettingsError
from archscout.methods import METHODS
from archscout.methods.base import ReadsTable
from archscout.recipes import default_recipe, find_recipe, load_recipe
from archscout.rundir import RunDirectory
from archscout.settings import Settings, apply_overrides, merge, parse_override
from archscout.spaces import SPACES
from archscout.spaces.base import OwnTraining
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.registry import is_registered
from archscout.training.job import TrainSettings
from archscout.tuning import TuningSettings
from archscout.version import __version__

__all__ = [
    "ExportSettings",
    "RunSettings",
    "data_path",
    "read_config",
    "read_settings",
    "resolve_settings",
    "task_reference",
    "update_config",
    "with_absolute_paths",
    "write_config",
]

DEFAULT_METHOD = "ednas"
DEFAULT_SPACE = "cells"
FORMAT_NAMES = {"pt2": "torch", "pte": "executorch"}  # formats by the suffixes of their files
SHORT_SECTIONS = ("search", "space_options", "task_options")  # their settings may be named without the section


class ExportSettings(Settings):
    """What a trained network is exported to."""

    formats: tuple[Literal["onnx", "torch", "openvino", "executorch"], ...] = ("onnx", "torch")
    tolerance: float = Field(default=1e-4, gt=0, description="largest allowed difference of an output")
    raw: bool = Field(default=False, description="export the network alone, without preprocessing and decoding")
    int8: bool = Field(default=False, description="write model.int8.onnx too, quantised to 8 bit integers")
    int8_tolerance: float = Field(
        default=0.01,
        ge=0,
        description="how far int8 may be behind on the validation split: 0.01 is a point of a metric in percent, "
        "1 % of any other",
    )
    int8_samples: int = Field(default=256, ge=1, description="of the training split, to find the ranges for int8 with")
    target: str | None = Field(default=None, description="device that the network should fit, e.g. microcontroller")

    @field_validator("formats", mode="before")
    @classmethod
    def _formats_as_typed(cls, value: Any) -> Any:
        """`onnx,pt2` as well as a list; `pt2` is what `torch` writes."""
        names = [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
        if not isinstance(names, list | tuple):
            return value
        return tuple(dict.fromkeys(FORMAT_NAMES.get(name, name) for name in names))

    @field_validator("target")
    @classmethod
    def _known_target(cls, name: str | None) -> str | None:
        return None if name is None else find_target(name).name


class EvaluateSettings(Settings):
    """How a trained network is evaluated and timed."""

    batch_size: int = Field(default=256, ge=1)
    latency_batch_sizes: tuple[int, ...] = (1, 64)


class RunSettings(Settings):
    """Everything a run depends on. `resolve_settings` adds the sections of the method and the space, checked.

    Attributes:
        method: None where the architecture is given.
        architecture: what the user named instead of searching, or for the search to start from; the architecture
            itself is in `architecture.json`.
        task: None where a search reads a table in place of data; nothing can be trained then.
        data: folder of a registered task's files.
        task_options: how the data is read, and what is to be learnt from it.
    """

    task: str | None
    data: str | None = None
    task_options: TaskOptions = DEFAULTS
    method: str | None = DEFAULT_METHOD
    architecture: str | None = None
    space: str = DEFAULT_SPACE
    space_options: Any = None
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    precision: Precision = "float32"
    threads: int | None = Field(default=None, ge=1)
    executor: str = Field(default="local", description="of independent trainings: local, ray, ray://HOST:PORT")
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    time_limit_minutes: float | None = Field(default=None, gt=0, description="stop cleanly after so long; resume later")
    search: Any = None
    supernet: Any = None
    network: Any = None
    tuning: TuningSettings | None = Field(default=None, description="of the settings in train; null: none")
    train: Any = None
    evaluate: EvaluateSettings = EvaluateSettings()
    export: ExportSettings = ExportSettings()

    @field_validator("method")
    @classmethod
    def _method_of_today(cls, name: str | None) -> str | None:
        return None if name is None else METHODS.canonical(name)

    @field_validator("space")
    @classmethod
    def _space_of_today(cls, name: str) -> str:
        return SPACES.canonical(name)


def _checked_model(values: Mapping[str, Any]) -> type[RunSettings]:
    """`RunSettings` with the sections that the method and the space of these values define."""
    space = SPACES.get(str(values.get("space", DEFAULT_SPACE)))
    train = space.train_model if isinstance(space, OwnTraining) else TrainSettings
    sections: dict[str, Any] = {
        "space_options": (space.options_model, space.options_model()),
        "supernet": (space.size_model, space.size_model()),
        "network": (space.size_model, space.size_model()),
        "train": (train, train()),
    }
    name = values.get("method", DEFAULT_METHOD)
    if name is not None:
        method = METHODS.get(str(name))
        search = method.settings_model(space)
        sections["search"] = (search, search())
        sections["tuning"] = (TuningSettings | None, TuningSettings() if method.tunes_training else None)
    return create_model("RunSettings", __base__=RunSettings, **sections)


def resolve_settings(
    task: str | None,
    *,
    method: str | None = None,
    architecture: str | None = None,
    base: str | None = None,
    recipe: str | None = None,
    values: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> RunSettings:
    """Recipe, then `values`, then overrides, checked; all problems in one SettingsError.

    Args:
        task: as the user named it; None for a search by table.
        method: as the user named it; None leaves it to the recipe.
        architecture: given instead of searched; the recipe's search is then left out.
        base: the name of an architecture that the method starts from.
        recipe: a name, or what follows `<method>/` or `<method>/<task>-` in it, or a file; None takes
            `<method>/<task>`, `<method>/<space>` or `<method>/default`.
        values: top-level settings from options of the command line; None entries are not set.
        overrides: `key.key=value` texts.
    """
    if method is not None:
        METHODS.get(method)
        method = METHODS.canonical(method)
    given = {key: value for key, value in (values or {}).items() if value is not None}
    if "space" in given:
        given["space"] = SPACES.canonical(str(given["space"]))
    if recipe is None:
        space = given.get("space")
        owner = str(space) if architecture is not None else method or DEFAULT_METHOD
        found = default_recipe(owner, task, space) or default_recipe(method or DEFAULT_METHOD, task, space)
        settings = load_recipe(found) if found is not None else {}
        if space is not None and space != settings.get("space", DEFAULT_SPACE):
            own = default_recipe(owner, None, space)  # the one found has sizes of another space
            settings = load_recipe(own) if own is not None and own.endswith(f"/{space}") else {}
    else:
        settings = load_recipe(find_recipe(recipe, method or DEFAULT_METHOD, task))
        if method is not None and METHODS.canonical(settings.get("method", method)) != method:
            raise SettingsError(
                f"the recipe '{recipe}' is for method '{settings['method']}', but --method is '{method}'. "
                "Leave one of the two out."
            )
    settings = merge(settings, {"task": task, **({"method": method} if method else {}), **given})
    if base is not None:
        _check_base(str(settings.get("method", DEFAULT_METHOD)))
        settings["architecture"] = base
    if architecture is not None:
        settings |= {"architecture": architecture, "method": None}
        settings.pop("search", None)
    if overrides:
        model = _checked_model(settings)
        settings = apply_overrides(settings, [_full_key(model, text) for text in overrides])
    checked = _checked_model(settings).read(settings)
    checked = with_absolute_paths(checked)
    if task is None and not (isinstance(checked.search, ReadsTable) and checked.search.table is not None):
        raise SettingsError(
            "no task was named. Only a search by table goes without one: --table FILE. See: archscout list tasks"
        )
    return checked


def with_absolute_paths(settings: RunSettings) -> RunSettings:
    """The settings with all paths of data absolute: a run can be resumed from any folder."""
    changes: dict[str, Any] = {}
    if settings.data is not None:
        changes["data"] = _absolute(settings.data)
    if settings.task_options.labels is not None:
        labels = _absolute(settings.task_options.labels)
        changes["task_options"] = settings.task_options.model_copy(update={"labels": labels})
    search = settings.search
    if isinstance(search, ReadsTable) and isinstance(search, Settings) and search.table is not None:
        changes["search"] = search.model_copy(update={"table": _absolute(search.table)})
    return settings.model_copy(update=changes) if changes else settings


def _absolute(path: str) -> str:
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  keeps links, as users wrote them


def task_reference(name: str) -> str:
    """How a run keeps what a user named as its task: a registered name as it is, the path of data made absolute."""
    if is_registered(name) or not Path(name).expanduser().exists():
        return name
    return _absolute(name)


def data_path(reference: str) -> str | None:
    """The path of data that a run keeps; None for a registered name, or the name of a task object."""
    return None if is_registered(reference) or not Path(reference).is_absolute() else reference


def _check_base(method: str) -> None:
    """Raise SettingsError unless the method starts from an architecture."""
    able = [name for name, each in METHODS.items() if each.starts_from_architecture]
    if method not in able:
        raise SettingsError(
            f"the method '{method}' starts from nothing; an architecture to start from goes with {', '.join(able)}."
        )


def _full_key(model: type[RunSettings], override: str) -> str:
    """The override with its section: `baseline=resnet18` means `space_options.baseline=resnet18`.

    A first key that is no top-level setting is looked for among the method's settings, then among the options of the
    space, then among those of the task.
    """
    keys, _ = parse_override(override)
    if keys[0] not in model.model_fields:
        for section in SHORT_SECTIONS:
            field = model.model_fields[section].annotation
            if isinstance(field, type) and issubclass(field, Settings) and keys[0] in field.model_fields:
                return f"{section}.{override}"
    return override


def write_config(run: RunDirectory, settings: RunSettings, command: str, stages: Sequence[str]) -> None:
    """Write `config.yaml`: the settings as resolved, the command, the names of the stages, and the versions."""
    import torch

    content = {
        "archscout": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "command": command,
        "stages": list(stages),
        "settings": settings.model_dump(mode="json"),
    }
    run.write("config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def update_config(run: RunDirectory, settings: RunSettings) -> None:
    """Write the settings of an existing run anew; the rest of its `config.yaml` stays."""
    content = {**run.config(), "settings": settings.model_dump(mode="json")}
    run.write("config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_config(run: RunDirectory) -> RunSettings:
    """The settings of an existing run."""
    values = run.config().get("settings")
    if not isinstance(values, dict):
        raise SettingsError(f"{run.path / 'config.yaml'} has no section 'settings'; it was not written by archscout.")
    return read_settings(values)


def read_settings(values: Mapping[str, Any]) -> RunSettings:
    """Settings as a run has written them, checked."""
    # Runs of version 0.1 have no such section: they go on by the rules of that time.
    return _checked_model(values).read({"task_options": {"rules": 1}, **values})
