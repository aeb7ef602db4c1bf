"""The recipes that come with archscout: one YAML file for each, `<method>/<task>.yaml`.

A recipe holds settings as in a run's `config.yaml`. Its key `extends` names another recipe, which it overrides.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from archscout.errors import SettingsError, UnknownNameError
from archscout.settings import load_yaml, merge

FORMERLY = {  # folders and names of earlier versions, which recipes and commands may still use
    "d-darts/": "ddarts/",
    "ofa/": "once-for-all/",
    "common/pictures-mixture": "common/images-mixture",
    "common/d2nas-pictures": "common/d2nas-images",
}

__all__ = ["default_recipe", "find_recipe", "load_recipe", "recipe_description", "recipe_names"]


def _files() -> dict[str, Traversable]:
    root = resources.files(__name__)
    return {
        f"{folder.name}/{file.name.removesuffix('.yaml')}": file
        for folder in root.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }


def _canonical(name: str) -> str:
    """The name of today for one of an earlier version."""
    for former, now in FORMERLY.items():
        if name.startswith(former):
            return now + name.removeprefix(former)
    return name


def recipe_names() -> list[str]:
    """The names of all recipes, sorted; `common/` ones are parts of others."""
    return sorted(name for name in _files() if not name.startswith("common/"))


def recipe_description(name: str) -> str:
    """The comment in a recipe's first line."""
    first = _files()[name].read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip()


def default_recipe(method: str, task: str | None, space: str | None = None) -> str | None:
    """`<method>/<task>`, else `<method>/<space>` where a space was named, else `<method>/default`, else None.

    A task of a family (`family:name`) also has that of the family; where a task has recipes with further names only
    (`d2nas/ecg-common`), `common` is its own.

    In place of a method, the name of a space: its recipes train its architectures.
    """
    files = _files()
    family = None if task is None else task.partition(":")[0]  # ucr:GunPoint is trained as any ucr task
    own = (task, f"{task}-common", family)
    names = [f"{method}/{name}" for name in (*own, space, "default")]
    return next((name for name in names if name in files), None)


def find_recipe(name: str, method: str, task: str | None) -> str:
    """The full name of a recipe that is named in short: `<method>/<task>-<name>`, else `<method>/<name>`."""
    files = _files()
    return next((full for full in (f"{method}/{task}-{name}", f"{method}/{name}") if full in files), _canonical(name))


def load_recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe: a name, or the path of a YAML file.

    Raises:
        UnknownNameError: neither a recipe nor a file.
        SettingsError: the file is not readable, not plain YAML, or extends itself.
    """
    return _load(_canonical(name), ())


def _load(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise SettingsError(f"the recipe '{name}' extends itself: {' -> '.join((*seen, name))}.")
    files = _files()
    if name in files:
        values = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    elif Path(name).suffix in (".yaml", ".yml"):
        values = load_yaml(Path(name))
    else:
        raise UnknownNameError("recipe", name, recipe_names(), "A file of your own ends in .yaml.")
    base = values.pop("extends", None)
    return values if base is None else merge(_load(_canonical(str(base)), (*seen, name)), values)
