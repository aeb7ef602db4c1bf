"""The published recipes equal the tables of the specification (README values where README and code differ)."""

from __future__ import annotations

from typing import Any

import pytest

from archscout.pipeline.config import resolve_settings

# Spec ednas 1.7 (search) and 2.3, 2.6 (evaluation training).
TABLE: dict[str, dict[str, Any]] = {
    "ednas/cifar10": {
        "supernet.init_channels": 16,
        "supernet.layers": 8,
        "network.init_channels": 36,
        "network.layers": 20,
        "network.auxiliary": True,
        "space_options.nodes": 4,
        "search.epochs": 300,
        "search.validation_fraction": 0.2,
        "search.child.batch_size": 128,
        "search.child.steps_per_architecture": 1,
        "search.child.optimizer.lr": 0.05,
        "search.child.optimizer.momentum": 0.9,
        "search.child.optimizer.nesterov": True,
        "search.child.optimizer.weight_decay": 3e-4,
        "search.child.optimizer.clip": 5,
        "search.child.optimizer.schedule.kind": "cosine",
        "search.child.optimizer.schedule.lr_min": 0.001,
        "search.policy.batch_size": 128,
        "search.policy.architectures_per_step": 1,
        "search.policy.lr": 3.5e-4,
        "search.policy.betas": (0.5, 0.999),
        "search.policy.weight_decay": 1e-3,
        "search.policy.baseline_decay": 0.99,
        "train.epochs": 600,
        "train.batch_size": 128,
        "train.optimizer.lr": 0.025,
        "train.optimizer.momentum": 0.9,
        "train.optimizer.nesterov": False,
        "train.optimizer.weight_decay": 3e-4,
        "train.optimizer.clip": 5,
        "train.optimizer.schedule.kind": "cosine",
        "train.optimizer.schedule.lr_min": 0,
        "train.auxiliary_weight": 0.4,
        "train.cutout": 16,
        "train.drop_path": 0.2,
        "train.label_smoothing": 0,
    },
    "ednas/imagenet": {
        "supernet.init_channels": 48,
        "supernet.layers": 8,
        "network.init_channels": 48,
        "network.layers": 14,
        "network.auxiliary": True,
        "space_options.nodes": 4,
        "search.epochs": 50,
        "search.child.batch_size": 200,
        "search.child.steps_per_architecture": 20,
        "search.child.color_jitter.brightness": 0.4,
        "search.child.color_jitter.contrast": 0.4,
        "search.child.color_jitter.saturation": 0.4,
        "search.child.color_jitter.hue": 0.2,
        "search.child.auto_augment": None,
        "search.child.optimizer.lr": 0.05,
        "search.child.optimizer.nesterov": False,
        "search.child.optimizer.weight_decay": 3e-5,
        "search.child.optimizer.clip": None,
        "search.child.optimizer.schedule.warmup_epochs": 5,
        "search.child.optimizer.schedule.milestones": (10, 20, 30, 40),
        "search.child.optimizer.schedule.factors": (0.1, 0.01, 0.001, 0.0001),
        "search.policy.batch_size": 50,
        "search.policy.lr": 3.5e-4,
        "train.epochs": 250,
        "train.batch_size": 200,
        "train.optimizer.lr": 0.1,
        "train.optimizer.nesterov": False,
        "train.optimizer.weight_decay": 3e-5,
        "train.optimizer.clip": 5,
        "train.optimizer.schedule.warmup_epochs": 5,
        "train.optimizer.schedule.milestones": (50, 100, 150, 200),
        "train.optimizer.schedule.factors": (0.1, 0.01, 0.001, 0.0001),
        "train.auxiliary_weight": 0.4,
        "train.cutout": 0,
        "train.color_jitter": None,
        "train.drop_path": 0,
        "train.label_smoothing": 0.1,
    },
}


@pytest.mark.parametrize(("recipe", "key"), [(recipe, key) for recipe, rows in TABLE.items() for key in rows])
def test_a_recipe_has_the_published_value(recipe: str, key: str) -> None:
    value: Any = resolve_settings(recipe.split("/")[1], recipe=recipe)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == TABLE[recipe][key]


def test_random_search_has_the_budget_of_ednas() -> None:
    for task in ("digits", "default"):
        ours, theirs = (resolve_settings("digits", recipe=f"{method}/{task}") for method in ("random", "ednas"))
        for part in ("supernet", "network", "train"):
            assert getattr(ours, part) == getattr(theirs, part)
        for part in ("epochs", "child", "ranking"):
            assert getattr(ours.search, part) == getattr(theirs.search, part)
