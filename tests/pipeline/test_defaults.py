from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from archscout.errors import SettingsError
from archscout.pipeline.defaults import resolve_for_task
from archscout.pipeline.run import Run
from archscout.rundir import RunDirectory
from archscout.tasks import Task
from tests.tasks.images_on_disk import write_classes

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
SERIES = DRAW.normal(size=(60, 2, 40)).astype(np.float32)
CLASSES = np.arange(60) % 3

TASKS = {
    "images": (Task.from_arrays(IMAGES, CLASSES), "ednas", "cells"),
    "numbers of images": (Task.from_arrays(IMAGES, DRAW.normal(size=60)), "ednas", "cells"),
    "labels of images": (Task.from_arrays(IMAGES, DRAW.integers(0, 2, (60, 3))), "ednas", "cells"),
    "masks": (Task.from_arrays(IMAGES, DRAW.integers(0, 2, (60, 16, 16))), "dash", "backbones"),
    "series": (Task.from_arrays(SERIES, CLASSES, layout="NCL"), "dash", "backbones"),
    "numbers of series": (Task.from_arrays(SERIES, DRAW.normal(size=60), layout="NCL"), "dash", "backbones"),
}


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_gets_a_search_that_serves_it(kind: str) -> None:
    task, method, space = TASKS[kind]
    settings, loaded = resolve_for_task(task.name, given=task)
    assert (settings.method, settings.space, loaded) == (method, space, None)
    Run(RunDirectory(os.devnull), settings, task=task).check()


def test_data_is_read_once_and_with_its_options(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", ("cat", "dog"), 20)
    settings, loaded = resolve_for_task(str(tmp_path / "pets"), overrides=["image_size=24", "search.epochs=1"])
    assert loaded is not None
    assert loaded.spec.input_shape == (3, 24, 24)
    assert (settings.method, settings.search.epochs, settings.task_options.image_size) == ("ednas", 1, (24, 24))


def test_texts_get_recurrent_cells(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text("a b c\n" * 50)
    settings, _ = resolve_for_task(str(tmp_path))
    assert (settings.method, settings.space) == ("ednas", "recurrent")


def test_what_is_named_is_kept() -> None:
    task = TASKS["series"][0]
    settings, _ = resolve_for_task(task.name, given=task, method="d2nas")
    assert settings.method == "d2nas"
    with pytest.raises(SettingsError, match=r"search\.nothing"):
        resolve_for_task(task.name, given=task, overrides=["search.nothing=1"])
