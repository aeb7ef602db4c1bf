"""The registries: which search methods, spaces, tasks and published architectures there are.

What comes with archscout has its line for lists in `catalog.yaml`, or in a file of its own in the zoo, so that listing
imports neither torch nor the things themselves. The packages fill the registries when something is looked up.
"""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files
from typing import Any

import yaml

from archscout.registry import Registry

__all__ = ["FAMILIES", "METHODS", "SPACES", "TASKS", "ZOO"]


def _lines(section: str) -> dict[str, str]:
    text = (files("archscout") / "catalog.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)[section])


def _zoo_titles() -> dict[str, str]:
    folder = files("archscout") / "zoo"
    entries = [json.loads(file.read_bytes()) for file in folder.iterdir() if file.name.endswith(".json")]
    return {entry["name"]: entry["title"] for entry in entries}


METHODS: Registry[Any] = Registry("method", "archscout.methods", partial(_lines, "methods"))
SPACES: Registry[Any] = Registry("space", "archscout.spaces", partial(_lines, "spaces"))
TASKS: Registry[Any] = Registry("task", "archscout.tasks", partial(_lines, "tasks"))
FAMILIES: Registry[Any] = Registry("task family", "archscout.tasks", partial(_lines, "task families"))
ZOO: Registry[Any] = Registry("zoo architecture", "archscout.zoo", _zoo_titles)
