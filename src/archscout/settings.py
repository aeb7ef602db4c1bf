"""Settings: checked models, recipes in YAML, and dotted overrides.

Every settings class derives from `Settings`: unknown keys are errors that name the closest known one, and all problems
of a set of settings are reported together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from archscout.errors import SettingsError, closest

__all__ = ["Settings", "apply_overrides", "flat", "load_yaml", "merge", "parse_override"]


class Settings(BaseModel):
    """Base of all settings: frozen, checked, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, values: Any) -> Any:
        """Let a section that is given in part keep the defaults that it has here, not those of its own class."""
        if not isinstance(values, Mapping):
            return values
        completed = dict(values)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, Settings) and isinstance(completed.get(name), Mapping):
                completed[name] = merge(field.default.model_dump(exclude_defaults=True), completed[name])
        return completed

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """The model of a mapping. Raises SettingsError with all problems at once; `where` prefixes the keys."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(_explain(error, cls, where)) from None


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The field names of the model in which the last key of the path was looked for."""
    current: Any = model
    for key in path:
        field = current.model_fields.get(key)
        current = field.annotation if field is not None else None
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
    return list(current.model_fields)


def _elsewhere(model: Any, name: str, above: tuple[str, ...] = ()) -> list[str]:
    """Where settings of that name are, as dotted keys."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    found = [".".join((*above, name))] if above and name in model.model_fields else []
    for key, field in model.model_fields.items():
        found += _elsewhere(field.annotation, name, (*above, key))
    return found


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    lines = []
    for problem in error.errors():
        path = problem["loc"]
        key = ".".join(str(part) for part in ((where, *path) if where else path))
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, path[:-1])
            near = _elsewhere(model, str(path[-1])) or closest(str(path[-1]), known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}."
            lines.append(f"{key}: unknown setting; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{key}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}")
    count = f"{len(lines)} settings are wrong:\n  " if len(lines) > 1 else "wrong setting: "
    return count + "\n  ".join(lines)


def load_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file, read with the safe loader."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the recipe {path}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise SettingsError(f"{path} is not plain YAML: {detail}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold settings as 'key: value' lines; got a {type(content).__name__}.")
    return content


def parse_override(text: str) -> tuple[list[str], Any]:
    """`train.optimizer.lr=0.1` as its keys and its value, which is read as YAML."""
    key, separator, value = text.partition("=")
    keys = key.strip().split(".")
    if not separator or not all(keys):
        raise SettingsError(f"'{text}' is not an override; write it as section.key=value, as in train.epochs=20.")
    try:
        return keys, yaml.safe_load(value)
    except yaml.YAMLError:
        raise SettingsError(f"the value in '{text}' is not plain YAML; put quotes around text.") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings, nested ones merged, `over` winning."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; a range stays one."""
    content: dict[str, Any] = {}
    for name, value in values.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping) and "low" not in value:
            content |= flat(value, f"{full}.")
        else:
            content[full] = value
    return content


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with `key.key=value` overrides applied in order."""
    merged = dict(values)
    for text in overrides:
        keys, value = parse_override(text)
        for key in reversed(keys):
            value = {key: value}
        merged = merge(merged, value)
    return merged
