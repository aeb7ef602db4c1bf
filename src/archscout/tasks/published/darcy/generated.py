"""Darcy flow without any files: fields are drawn and solved here, in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from archscout.errors import DataError, SettingsError
from archscout.seeds import derive_seed, generator
from archscout.settings import Settings
from archscout.tasks.choices import with_choices
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.published.darcy.solver import random_permeability, solve_darcy
from archscout.tasks.published.darcy.task import darcy_spec, darcy_task
from archscout.tasks.readers.prepared import load_array, prepared, save_array
from archscout.tasks.registry import register_family, register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Task

__all__ = ["DarcyOptions", "generated_darcy_task"]

NAME = "darcy-generated"
VALIDATION_FRACTION = 0.1  # 900 + 100 of 1,000, as published
TEST_FRACTION = 0.1  # 100 more


class DarcyOptions(Settings):
    """What stands behind the colon of `darcy-generated:resolution=64,samples=500`."""

    resolution: int = Field(default=32, ge=4, le=421, description="grid points of each axis, border included")
    samples: int = Field(default=1000, ge=2, le=100_000, description="train and validation; a tenth more for test")
    refinement: int = Field(
        default=1, ge=1, le=16, description="solve on a grid so many times finer; at that grid's nodes values are taken"
    )
    seed: int = Field(default=0, ge=0, description="of the fields; another one than the run's")

    @classmethod
    def parse(cls, text: str) -> DarcyOptions:
        """From `key=value,key=value`. Raises DataError for anything else."""
        values = {}
        for part in filter(None, text.split(",")):
            key, equals, value = part.partition("=")
            if not equals or not value.strip().lstrip("-").isdigit():
                raise DataError(f"'{part}' in {NAME}:{text} is no option; write for example {NAME}:resolution=64.")
            values[key.strip()] = int(value)
        try:
            return cls.read(values, where=NAME)
        except SettingsError as error:
            raise DataError(str(error)) from None


def _name(options: DarcyOptions) -> str:
    changed = options.model_dump(exclude_defaults=True)
    return NAME + (":" + ",".join(f"{key}={value}" for key, value in changed.items()) if changed else "")


def _spec(text: str) -> TaskSpec:
    options = DarcyOptions.parse(text)
    return darcy_spec(_name(options), options.resolution)


@register_task(darcy_spec(NAME, DarcyOptions().resolution))
def default_darcy_task(root: Path) -> Task:
    """Darcy flow, generated: permeability to pressure on 32 x 32; 900 + 100 + 100; no files needed."""
    return generated_darcy_task("", root)


@register_family(NAME, f"{NAME}:KEY=VALUE,...", _spec)
def generated_darcy_task(text: str, root: Path, choices: TaskOptions = DEFAULTS) -> Task:
    """Darcy flow, generated: darcy-generated:resolution=64,samples=500; also refinement, seed.

    Fields follow the published distribution (see `random_permeability`). They are made once and kept in `prepared`
    below the data folder. Every sample is drawn from a seed of its own: more samples begin with the same ones.
    """
    options = DarcyOptions.parse(text)
    tests = max(1, round(TEST_FRACTION * options.samples))

    def build(folder: Path) -> None:
        fields = [_sample(options, part, number) for part, number in _numbers(options.samples, tests)]
        save_array(folder, "permeability", np.stack([field for field, _ in fields]))
        save_array(folder, "pressure", np.stack([pressure for _, pressure in fields]))

    name = _name(options)
    folder = prepared(root, name.replace(":", "-").replace(",", "-"), options.model_dump(), build)
    held = max(1, round(VALIDATION_FRACTION * options.samples))
    task = darcy_task(
        darcy_spec(name, options.resolution),
        load_array(folder, "permeability"),
        load_array(folder, "pressure"),
        (options.samples - held, held, tests),
        {"source": "generated: finite volumes on random fields", **options.model_dump()},
    )
    return with_choices(task, choices)


def _numbers(samples: int, tests: int) -> list[tuple[str, int]]:
    return [*(("development", number) for number in range(samples)), *(("test", number) for number in range(tests))]


def _sample(
    options: DarcyOptions, part: str, number: int
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Permeability and pressure at the nodes of the coarse grid."""
    step = options.refinement
    nodes = (options.resolution - 1) * step + 1
    permeability = random_permeability(nodes, generator(derive_seed(options.seed, "darcy", part, number)))
    pressure = solve_darcy(permeability)
    return permeability[::step, ::step].astype(np.float32), pressure[::step, ::step].astype(np.float32)
