"""The recipes of D2NAS against the published tables, which docs/methods/d2nas.md,
docs/methods/pdarts.md and docs/methods/dash.md have.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from archscout.pipeline.config import RunSettings, resolve_settings
from archscout.recipes import recipe_names
from archscout.spaces import CellGenotype, get_space
from archscout.spaces.cells.diverse import DiverseSpace
from archscout.spaces.kernels.pattern import with_kernels
from archscout.tasks import task_spec
from archscout.zoo import load_zoo

TASKS = ("cifar100", "spherical", "ninapro", "fsd50k", "darcy", "psicov", "cosmic", "ecg", "satellite", "deepsea")
FAMILY = {
    **dict.fromkeys(("cifar100", "spherical", "ninapro", "fsd50k"), "images"),
    **dict.fromkeys(("darcy", "psicov", "cosmic"), "dense"),
    **dict.fromkeys(("ecg", "satellite", "deepsea"), "series"),
}
BATCH = {  # task: batch, accumulated
    "cifar100": (16, 4),
    "spherical": (64, 1),
    "ninapro": (128, 1),
    "fsd50k": (32, 4),
    "darcy": (10, 1),
    "psicov": (8, 1),
    "cosmic": (4, 1),
    "ecg": (1024, 1),
    "satellite": (256, 1),
    "deepsea": (256, 1),
}
POOLING = ("cifar100", "spherical", "darcy", "psicov", "cosmic")
GRAD_SCALE = {"cifar100": 5000, "cosmic": 1000, "spherical": 500, "deepsea": 10}  # all others 100
SMALL_GRID = ("psicov", "cosmic", "fsd50k")
TRAIN_ONLY = ("cosmic", "fsd50k")
SIZES = {"ecg": (3, 5, 7, 11, 15, 19), "deepsea": (3, 5, 7, 11, 15, 19), "satellite": (3, 7, 11, 15, 19)}

# Of a family in `common`: layers of both stages, final layers, clip of the search, clip of the training.
COMMON: dict[str, tuple[tuple[int, int], int, float, float | None]] = {
    "images": ((2, 2), 2, 5, None),
    "dense": ((3, 4), 4, 1, 5),
    "series": ((2, 3), 3, 1, None),
}
# What `custom` has instead.
CUSTOM: dict[str, dict[str, Any]] = {
    "cifar100": {
        "skip_dropout": (0.1, 0.3),
        "layers": (5, 11),
        "skip_limit": 2,
        "final": 11,
        "width": 32,
        "clip": (5, None),
    },
    "spherical": {"skip_dropout": (0.1, 0.3), "skip_limit": 2},
    "ninapro": {},
    "fsd50k": {"width": 64},
    "darcy": {},
    "psicov": {"clip": (1, 5)},
    "cosmic": {"skip_dropout": (0.1, 0.3), "width": 32, "clip": (1, 5)},
    "ecg": {"widths": (4, 4), "search_width": 4, "width": 4},
    "satellite": {"width": 64},
    "deepsea": {},
}


def expected(task: str, mode: str) -> dict[str, Any]:
    layers, final, search_clip, train_clip = COMMON[FAMILY[task]]
    rows = {
        "skip_dropout": (0, 0),
        "layers": layers,
        "widths": (8, 16),
        "skip_limit": None,
        "final": final,
        "search_width": 16,
        "width": 48,
        "clip": (search_clip, train_clip),
    }
    return rows if mode == "common" else {**rows, "clip": (1, None), **CUSTOM[task]}


def settings_of(task: str, mode: str) -> RunSettings:
    return resolve_settings(task, method="d2nas", recipe=mode)


MODES = [(task, mode) for task in TASKS for mode in ("common", "custom")]


def test_every_task_has_its_recipes_and_common_is_the_default() -> None:
    names = set(recipe_names())
    assert {f"d2nas/{task}-{mode}" for task, mode in MODES} <= names
    assert resolve_settings("ecg", method="d2nas").model_dump() == settings_of("ecg", "common").model_dump()


@pytest.mark.parametrize(("task", "mode"), MODES)
def test_sizes_and_clips_are_those_of_the_table(task: str, mode: str) -> None:
    settings, rows = settings_of(task, mode), expected(task, mode)
    cells, kernels = settings.search.cells, settings.search.kernels
    assert settings.task == task
    assert settings.space_options.nodes == (3 if FAMILY[task] == "series" else 4)
    assert settings.space_options.pooling == (task in POOLING)
    assert tuple(stage.skip_dropout for stage in cells.stages) == rows["skip_dropout"]
    assert tuple(stage.layers for stage in cells.stages) == rows["layers"]
    assert tuple(stage.init_channels for stage in cells.stages) == rows["widths"]
    assert cells.stages[0].keep == 3
    assert cells.skip_limit == rows["skip_limit"]
    assert (settings.supernet.layers, settings.supernet.init_channels) == (rows["final"], rows["search_width"])
    assert (settings.network.layers, settings.network.init_channels) == (rows["final"], rows["width"])
    search, train = rows["clip"]
    assert cells.optimizer.clip == cells.alphas.clip == kernels.optimizer.clip == search
    assert settings.train.optimizer.clip == train


@pytest.mark.parametrize(("task", "mode"), MODES)
def test_searches_are_the_published_ones(task: str, mode: str) -> None:
    settings = settings_of(task, mode)
    cells, kernels = settings.search.cells, settings.search.kernels
    batch, accumulated = BATCH[task]
    dense = FAMILY[task] == "dense"
    assert (cells.epochs, cells.warmup_epochs, cells.batch_size) == (25, 10, batch * accumulated)
    optimizer = cells.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov) == (0.01 if dense else 0.1, 0.9, False)
    assert (optimizer.weight_decay, optimizer.schedule.kind, optimizer.schedule.lr_min) == (5e-4, "cosine", 0)
    assert (cells.alphas.lr, cells.alphas.betas) == (0.005 if dense else 0.05, (0.5, 0.999))
    assert cells.alphas.weight_decay == 5e-4
    assert (kernels.epochs, kernels.fraction, kernels.patience, kernels.batch_size) == (100, 0.2, 25, batch)
    assert kernels.kernel_sizes == SIZES.get(task, (3, 5, 7, 9))
    assert kernels.dilations == (1, 3, 7, 15)
    assert kernels.grad_scale == GRAD_SCALE.get(task, 100)
    assert kernels.split == ("train" if task in TRAIN_ONLY else "development")
    assert (kernels.optimizer.lr, kernels.alpha_lr) == ((0.01, 0.005) if dense else (0.1, 0.05))
    assert (kernels.optimizer.momentum, kernels.optimizer.nesterov, kernels.optimizer.weight_decay) == (0.9, True, 5e-4)


@pytest.mark.parametrize(("task", "mode"), MODES)
def test_tuning_and_training_are_the_published_ones(task: str, mode: str) -> None:
    settings = settings_of(task, mode)
    tuning, train = settings.tuning, settings.train
    assert tuning is not None
    small = task in SMALL_GRID
    assert tuning.configurations == (3 if small else 24)
    assert dict(tuning.parameters) == {
        "optimizer.lr": (0.01, 0.001, 0.0001) if small else (0.1, 0.01, 0.001),
        "optimizer.weight_decay": (5e-5,) if small else (5e-4, 5e-5),
        "optimizer.momentum": (0.99,) if small else (0.9, 0.99),
        "drop_path": (0.0,) if small else (0.0, 0.3),
    }
    assert (tuning.kind, tuning.epochs, tuning.skip_rest) == ("grid", 40, True)
    batch, accumulated = BATCH[task]
    assert (train.epochs, train.batch_size) == (200, batch * accumulated)
    assert train.split == ("train" if task in TRAIN_ONLY else "development")
    assert train.optimizer.nesterov
    assert (train.label_smoothing, train.cutout, train.auxiliary_weight, train.auto_augment) == (0, 0, 0, None)
    assert settings.precision == "float32"


@pytest.mark.parametrize(("task", "mode"), MODES)
def test_the_rate_falls_by_five_at_the_published_epochs(task: str, mode: str) -> None:
    settings = settings_of(task, mode)
    milestones = (31, 61, 91, 121, 161) if FAMILY[task] == "series" else (61, 121, 161)
    for optimizer in (settings.train.optimizer, settings.search.kernels.optimizer):
        assert optimizer.schedule.milestones == milestones
        for j, epoch in enumerate(milestones, start=1):
            assert optimizer.schedule.rate(0.1, epoch - 1, 200) == pytest.approx(0.1 * 0.2 ** (j - 1))
            assert optimizer.schedule.rate(0.1, epoch, 200) == pytest.approx(0.1 * 0.2**j)
    assert settings.train.optimizer.schedule.lr_min == 5e-6


@pytest.mark.parametrize(  # docs/methods/d2nas.md#tuning: batches of an epoch
    ("task", "samples", "steps"),
    [
        ("cifar100", (50_000, 40_000), 7),
        ("spherical", (50_000, 40_000), 7),
        ("ninapro", (3_297, 2_638), 7),
        ("darcy", (1_000, 900), 10),
        ("psicov", (3_456, 3_356), 21),
        ("fsd50k", (37_000, 37_000), 3),
        ("satellite", (900_000, 800_000), 32),
    ],
)
def test_tuning_trains_on_as_many_batches_as_published(task: str, samples: tuple[int, int], steps: int) -> None:
    from archscout.tuning.settings import published_share

    settings = settings_of(task, "common")
    assert settings.tuning is not None
    size = settings.train.batch_size
    share = settings.tuning.epoch_share or published_share(samples[0] // size)
    assert int(share * (samples[1] // size)) + 1 == steps


# Convolutions with a searched kernel, and millions of parameters with the smallest and the largest kernels:
# docs/methods/d2nas.md#sizes-of-the-published-cells. The published genotypes of a mode; satellite has one for both.
PUBLISHED_SIZES: dict[tuple[str, str], tuple[int, float, float]] = {
    ("cifar100", "common"): (28, 0.378, 0.575),
    ("spherical", "common"): (24, 0.337, 0.506),
    ("ninapro", "common"): (13, 0.201, 0.287),
    ("fsd50k", "common"): (22, 0.364, 0.512),
    ("darcy", "common"): (29, 0.135, 0.242),
    ("psicov", "common"): (45, 0.203, 0.552),
    ("cosmic", "common"): (17, 0.100, 0.159),
    ("ecg", "common"): (18, 0.198, 0.220),
    ("satellite", "common"): (29, 0.280, 0.317),
    ("deepsea", "common"): (17, 0.217, 0.240),
    ("cifar100", "custom"): (116, 1.60, 2.25),
    ("spherical", "custom"): (29, 0.379, 0.583),
    ("ninapro", "custom"): (13, 0.220, 0.306),
    ("fsd50k", "custom"): (20, 0.566, 0.745),
    ("cosmic", "custom"): (33, 0.069, 0.145),
    ("ecg", "custom"): (17, 0.002, 0.004),
    ("satellite", "custom"): (29, 0.489, 0.538),
}


@pytest.mark.parametrize(("task", "mode"), PUBLISHED_SIZES)
def test_published_cells_have_their_sizes_in_the_networks_of_the_recipe(task: str, mode: str) -> None:
    settings = settings_of(task, mode)
    space = get_space(settings.space, settings.space_options.model_dump())
    assert isinstance(space, DiverseSpace)
    spec = task_spec(task)
    cells = load_zoo(f"d2nas.{task}.{'common' if task == 'satellite' else mode}").architecture
    assert isinstance(cells, CellGenotype)
    count, least, most = PUBLISHED_SIZES[task, mode]
    sizes = settings.search.kernels.kernel_sizes
    with torch.device("meta"):
        assert len(space.kernel_layers(space.build(cells, spec, settings.supernet))) == count
        found = []
        for size in (3, max(sizes) if FAMILY[task] != "series" else 19):
            pattern = with_kernels(cells, [(size, 1)] * count)
            network = space.build(pattern, spec, settings.network)
            found.append(sum(parameter.numel() for parameter in network.parameters()) / 1e6)
    digits = 3 if most < 1 else 2
    assert [round(value, digits) for value in found] == [least, most]


# -- DASH alone ----------------------------------------------------------------------------------------------------

DASH_BATCH = {**{task: batch for task, (batch, _) in BATCH.items()}, "cifar100": 64, "fsd50k": 64}
DASH_SIZES = {"ninapro": (3, 5, 7), **dict.fromkeys(("ecg", "satellite", "deepsea"), (3, 7, 11, 15, 19))}


@pytest.mark.parametrize("task", TASKS)
def test_dash_has_its_published_recipe(task: str) -> None:
    settings = resolve_settings(task, method="dash")
    search, tuning, train = settings.search, settings.tuning, settings.train
    assert (settings.task, settings.space) == (task, "backbones")
    assert (settings.supernet.width, settings.network.width) == (1, 4)
    assert search.batch_size == train.batch_size == DASH_BATCH[task]
    assert search.kernel_sizes == DASH_SIZES.get(task, (3, 5, 7, 9))
    assert search.dilations == ((1, 3, 7) if task == "ninapro" else (1, 3, 7, 15))
    assert search.grad_scale == GRAD_SCALE.get(task, 100)
    assert (search.optimizer.lr, search.alpha_lr) == ((0.01, 0.005) if FAMILY[task] == "dense" else (0.1, 0.05))
    assert tuning is not None
    assert tuning.epochs == 80
    expected = 3 if task in SMALL_GRID else 12 if FAMILY[task] == "series" else 24
    assert tuning.configurations == expected
    assert train.epochs == 200
    assert train.split == search.split == ("train" if task in TRAIN_ONLY else "development")
