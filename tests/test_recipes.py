"""The published recipes equal the tables of the specification (README values where README and code differ)."""

from __future__ import annotations

from typing import Any

import pytest

from archscout.pipeline.config import resolve_settings

# docs/methods/darts_recurrent.md#settings-of-search-and-training and #dropout.
SEARCHED_TEXT = {
    "width": 300,
    "dropout_words": 0,
    "dropout_embedding": 0.2,
    "dropout_input": 0.75,
    "dropout_hidden": 0.25,
    "dropout_output": 0.75,
    "activation_penalty": 0,
    "temporal_penalty": 1e-3,
}
TRAINED_TEXT = {**SEARCHED_TEXT, "width": 850, "dropout_words": 0.1}
TEXT_SEARCH_STEPS = {
    "batch_size": 256,
    "segments.length": 35,
    "segments.halved": 0.05,
    "segments.deviation": 0,
    "optimizer.lr": 20,
    "optimizer.momentum": 0,
    "optimizer.weight_decay": 5e-7,
    "optimizer.clip": 0.25,
    "optimizer.schedule.kind": "constant",
}
TEXT_TRAINING = {
    **TEXT_SEARCH_STEPS,
    "epochs": 1600,
    "batch_size": 64,
    "segments.deviation": 5,
    "segments.shortest": 5,
    "segments.longest": 55,
    "optimizer.weight_decay": 8e-7,
    "patience": 5,
    "validation_batch_size": 10,
}
# docs/methods/ednas.md#search-settings and #final-training.
TABLE: dict[str, dict[str, Any]] = {
    # docs/methods/once-for-all.md#what-the-code-rests-on; the rest of this recipe is not recorded.
    "once-for-all/imagenet": {
        "supernet.width": 1.2,
        "network.width": 1.2,
        "search.supernet.label_smoothing": 0.1,
        "search.predictor.hidden": 128,
        "search.predictor.dropout": 0.3,
        "search.predictor.epochs": 200,
        "search.predictor.batch_size": 256,
        "search.predictor.holdout": 0.1,
        "search.predictor.split_seed": 2020,
        "search.predictor.optimizer.lr": 0.1,
        "search.predictor.optimizer.momentum": 0.9,
        "search.predictor.optimizer.nesterov": True,
        "search.predictor.optimizer.weight_decay": 3e-5,
        "search.predictor.optimizer.schedule.kind": "cosine",
        "search.search.searcher": "dsm",
        "search.search.limits.max_madds": 600_000_000,
    },
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
    # docs/methods/darts.md#search-and-training-settings.
    "darts/cifar10": {
        "supernet.init_channels": 16,
        "supernet.layers": 8,
        "network.init_channels": 36,
        "network.layers": 20,
        "search.order": "second",
        "search.epochs": 50,
        "search.batch_size": 64,
        "search.validation_fraction": 0.5,
        "search.optimizer.lr": 0.025,
        "search.optimizer.momentum": 0.9,
        "search.optimizer.nesterov": False,
        "search.optimizer.weight_decay": 3e-4,
        "search.optimizer.clip": 5,
        "search.optimizer.schedule.kind": "cosine",
        "search.optimizer.schedule.lr_min": 0.001,
        "search.alphas.lr": 3e-4,
        "search.alphas.lr_min": None,
        "search.alphas.betas": (0.5, 0.999),
        "search.alphas.weight_decay": 1e-3,
        "search.rule": "two_edges",
        "train.epochs": 600,
        "train.batch_size": 96,
        "train.optimizer.lr": 0.025,
        "train.optimizer.weight_decay": 3e-4,
        "train.auxiliary_weight": 0.4,
        "train.cutout": 16,
        "train.drop_path": 0.2,
    },
    # docs/methods/pdarts.md#the-search-of-p-darts-and-of-d2nas.
    "pdarts/cifar10": {
        "space": "cells",
        "space_options.nodes": 4,
        "supernet.init_channels": 16,
        "search.epochs": 25,
        "search.warmup_epochs": 10,
        "search.batch_size": 96,
        "search.validation_fraction": 0.5,
        "search.skip_limit": 2,
        "search.optimizer.lr": 0.025,
        "search.optimizer.momentum": 0.9,
        "search.optimizer.nesterov": False,
        "search.optimizer.weight_decay": 3e-4,
        "search.optimizer.clip": 5,
        "search.optimizer.schedule.lr_min": 0,
        "search.alphas.lr": 6e-4,
        "search.alphas.lr_min": None,
        "search.alphas.betas": (0.5, 0.999),
        "search.alphas.weight_decay": 1e-3,
        "search.alphas.clip": 5,
        "search.legacy_schedule": False,
        "train.epochs": 600,
        "train.cutout": 16,
        "network.auxiliary": True,
    },
    # docs/methods/darts.md#fairdarts; docs/methods/ddarts.md#search-settings and #final-training.
    "fairdarts/cifar10": {
        "search.epochs": 50,
        "search.batch_size": 128,
        "search.optimizer.lr": 0.005,
        "search.optimizer.schedule.lr_min": 0.001,
        "search.alphas.lr": 3e-3,
        "search.alphas.betas": (0.9, 0.999),
        "search.zero_one_weight": 10,
        "search.rule": "sparse",
        "search.threshold": 0.85,
        "network.layers": 20,
    },
    "ddarts/cifar10": {
        "space_options.cells": 8,
        "supernet.init_channels": 16,
        "network.init_channels": 36,
        "network.layers": 8,
        "network.auxiliary": True,
        "search.epochs": 50,
        "search.batch_size": 96,
        "search.validation_fraction": 0.5,
        "search.optimizer.lr": 0.005,
        "search.optimizer.momentum": 0.9,
        "search.optimizer.weight_decay": 3e-4,
        "search.optimizer.clip": 5,
        "search.optimizer.schedule.lr_min": 0.001,
        "search.alphas.lr": 3e-3,
        "search.alphas.lr_min": 1e-3,
        "search.alphas.betas": (0.9, 0.999),
        "search.alphas.weight_decay": 1e-3,
        "search.zero_one_weight": 9,
        "search.ablation_weight": 0.7,
        "search.threshold": 0.85,
        "train.epochs": 600,
        "train.batch_size": 128,
        "train.optimizer.lr": 0.025,
        "train.auxiliary_weight": 0.4,
        "train.cutout": 16,
        "train.auto_augment": "cifar10",
        "train.drop_path": 0.2,
    },
    "ddarts/cifar100": {"search.zero_one_weight": 7, "search.ablation_weight": 0.5, "task": "cifar100"},
    "dartopti/cifar10": {
        "space_options.baseline": "resnet18",
        "supernet.init_channels": 32,
        "network.init_channels": 64,
        "network.auxiliary": False,
        "search.epochs": 55,
        "search.warmup_epochs": 5,
        "search.batch_size": 96,
        "search.stop_distance": 1e-3,
    },
    "dartopti/imagenet": {
        "network.init_channels": 64,
        "train.label_smoothing": 0.1,
        "train.optimizer.lr": 0.025,
        "train.auto_augment": "imagenet",
        "train.cutout": 0,
        "train.batch_size": 128,
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
    # docs/methods/ednas.md#search-settings; docs/methods/darts_recurrent.md#settings-of-search-and-training.
    "ednas/ptb": {
        **{f"supernet.{key}": value for key, value in SEARCHED_TEXT.items()},
        **{f"network.{key}": value for key, value in TRAINED_TEXT.items()},
        **{f"search.child.{key}": value for key, value in TEXT_SEARCH_STEPS.items()},
        **{f"train.{key}": value for key, value in TEXT_TRAINING.items()},
        "space": "recurrent",
        "space_options.nodes": 8,
        "search.epochs": 150,
        "search.child.steps_per_architecture": 1,
        "search.policy.batch_size": 256,
        "search.policy.lr": 3e-3,
        "search.policy.betas": (0.9, 0.999),
        "search.policy.weight_decay": 1e-3,
        "search.policy.architectures_per_step": 1,
        "search.policy.baseline_decay": 0.99,
        "search.ranking.candidates": 101,
        "search.ranking.batch_size": 128,
        "evaluate.batch_size": 1,
    },
    # docs/methods/darts_recurrent.md#settings-of-search-and-training and
    # docs/methods/darts.md#search-and-training-settings.
    "darts/ptb": {
        **{f"supernet.{key}": value for key, value in SEARCHED_TEXT.items()},
        **{f"network.{key}": value for key, value in TRAINED_TEXT.items()},
        **{f"search.{key}": value for key, value in TEXT_SEARCH_STEPS.items()},
        **{f"train.{key}": value for key, value in TEXT_TRAINING.items()},
        "space": "recurrent",
        "space_options.nodes": 8,
        "search.epochs": 50,
        "search.order": "second",
        "search.alphas.lr": 3e-3,
        "search.alphas.betas": (0.9, 0.999),
        "search.alphas.weight_decay": 1e-3,
        "evaluate.batch_size": 1,
    },
}


@pytest.mark.parametrize(("recipe", "key"), [(recipe, key) for recipe, rows in TABLE.items() for key in rows])
def test_a_recipe_has_the_published_value(recipe: str, key: str) -> None:
    value: Any = resolve_settings(recipe.split("/")[1], recipe=recipe)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == TABLE[recipe][key]


def test_p_darts_has_the_published_stages() -> None:
    stages = resolve_settings("cifar10", recipe="pdarts/cifar10").search.stages
    assert [stage.layers for stage in stages] == [5, 11, 17]
    assert [stage.keep for stage in stages[:-1]] == [5, 3]
    assert [stage.skip_dropout for stage in stages] == [0.1, 0.4, 0.7]
    assert stages == resolve_settings("cifar10", method="pdarts", recipe="pdarts/cifar10").search.stages


def test_recipes_of_a_small_text_share_sizes_and_training() -> None:
    runs = [resolve_settings("text", recipe=f"{method}/recurrent") for method in ("ednas", "random", "darts")]
    for part in ("supernet", "network", "train"):
        assert getattr(runs[0], part) == getattr(runs[1], part) == getattr(runs[2], part)
    for part in ("epochs", "child", "ranking"):
        assert getattr(runs[0].search, part) == getattr(runs[1].search, part)
    named = resolve_settings("some/folder", method="ednas", values={"space": "recurrent"})
    assert named.search == runs[0].search and named.space == "recurrent"


def test_random_search_has_the_budget_of_ednas() -> None:
    for task in ("digits", "default"):
        ours, theirs = (resolve_settings("digits", recipe=f"{method}/{task}") for method in ("random", "ednas"))
        for part in ("supernet", "network", "train"):
            assert getattr(ours, part) == getattr(theirs, part)
        for part in ("epochs", "child", "ranking"):
            assert getattr(ours.search, part) == getattr(theirs.search, part)
