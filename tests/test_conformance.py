"""What everything registered must do: spaces build, round-trip and export; methods run, resume, and repeat."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import SettingsError, SpaceError
from archscout.exporting import export_model
from archscout.jobs import Job, Speaking
from archscout.methods import METHODS, SearchContext, SearchResult
from archscout.methods.base import Showing, check_fit
from archscout.registry import Registry
from archscout.spaces import ARCHITECTURES, SPACES, architecture_from_json, architecture_to_json, get_space
from archscout.spaces.base import Factorized, WeightSharing
from archscout.state import pack, unpack
from archscout.tasks import Split, Task, TaskSpec, load_task
from archscout.viz import draw
from archscout.viz.raster import rasterise
from tests.toys import ToyMethod, ToySpace, registered_toys, toy_task

# Smallest sizes, and the task each space is tried on; a new space adds its line.
SIZES: dict[str, dict[str, Any]] = {
    "cells": {"init_channels": 4, "layers": 3},
    "distributed": {"init_channels": 4},
    ToySpace.name: {},
}
SPECS = dict.fromkeys(("cells", "distributed"), TaskSpec("digits", "classification", (1, 8, 8), 10))
# Settings that make a search a matter of seconds; a new method adds its line.
QUICK: dict[str, dict[str, Any]] = {
    "ednas": {"epochs": 1, "ranking": {"candidates": 3}},
    "random": {"epochs": 1, "ranking": {"candidates": 3}},
    "darts": {"epochs": 1, "batch_size": 10, "validation_fraction": None},
    "fairdarts": {"epochs": 1, "batch_size": 10, "validation_fraction": None},
    "d-darts": {"epochs": 1, "batch_size": 10, "validation_fraction": None},
    "dartopti": {"epochs": 1, "batch_size": 10, "validation_fraction": None, "warmup_epochs": 0},
    ToyMethod.name: {},
}
# Options of a space for a method that needs them.
OPTIONS: dict[str, dict[str, Any]] = {"dartopti": {"baseline": "resnet18"}}
SPACE_NAMES = [*SPACES, ToySpace.name]
METHOD_NAMES = [*METHODS, ToyMethod.name]


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with registered_toys():
        yield


def spec_of(name: str) -> TaskSpec:
    return SPECS.get(name) or toy_task(Path()).spec


def test_every_registered_thing_is_tried_here() -> None:
    assert set(SPACES) == set(SIZES)
    assert set(METHODS) == set(QUICK)


@pytest.mark.parametrize("registry", [SPACES, METHODS], ids=lambda registry: registry.noun)
def test_every_entry_has_a_first_line(registry: Registry[Any]) -> None:
    for name, entry in registry.items():
        assert entry.name == name
        assert (entry.__doc__ or "").strip(), name


# -- spaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_architectures_round_trip_and_are_drawn(name: str) -> None:
    space = get_space(name)
    for seed in range(5):
        architecture = space.random(Random(seed))
        text = architecture_to_json(architecture)
        assert architecture_from_json(text) == architecture
        assert hash(architecture_from_json(text)) == hash(architecture)
        assert architecture.describe()
        assert draw(architecture).startswith("<svg")
        if seed == 0:
            assert rasterise(draw(architecture)).std() > 0
        assert architecture.space == name
        assert ARCHITECTURES.get(architecture.format) is type(architecture)


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_networks_are_plain_modules(name: str) -> None:
    space, spec = get_space(name), spec_of(name)
    size = space.size_model.read(SIZES[name])
    smallest, largest = space.extremes(spec, size)
    counts = []
    for architecture in (smallest, space.random(Random(0)), largest):
        torch.manual_seed(0)
        network = space.build(architecture, spec, size)
        twin = copy.deepcopy(network)
        twin.load_state_dict(network.state_dict())
        inputs = torch.randn(2, *spec.input_shape)
        outputs = network.eval()(inputs)
        assert outputs.shape == (2, spec.outputs)
        assert torch.equal(outputs, twin.eval()(inputs))
        network.train()(inputs).sum().backward()
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert counts[0] <= counts[1] <= counts[2]


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_networks_export(name: str, tmp_path: Path) -> None:
    space, spec = get_space(name), spec_of(name)
    network = space.build(space.random(Random(0)), spec, space.size_model.read(SIZES[name]))
    for report in export_model(network, spec.input_shape, tmp_path):
        assert report.ok
        assert report.path.is_file()


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_wrong_task_is_refused(name: str) -> None:
    with pytest.raises(SpaceError):
        get_space(name).check(TaskSpec("odd", "language", (7, 7), 3))


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_supernets_agree_with_themselves(name: str) -> None:
    space, spec = get_space(name), spec_of(name)
    if not isinstance(space, WeightSharing):
        pytest.skip(f"{name} shares no weights")
    network = space.supernet(spec, space.size_model.read(SIZES[name])).eval()
    architectures = [space.random(Random(seed)) for seed in range(3)]
    inputs = torch.randn(2, *spec.input_shape)
    with torch.inference_mode():
        together = network.grouped(inputs, architectures)  # type: ignore[operator]
        apart = torch.stack([network(inputs, each) for each in architectures])
    assert torch.allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_factorizations_translate_both_ways(name: str) -> None:
    space = get_space(name)
    if not isinstance(space, Factorized):
        pytest.skip(f"{name} is not factorized")
    for seed in range(20):
        architecture = space.random(Random(seed))
        choices = space.factorization
        structure, operations = choices.disassemble(architecture)
        assert len(operations) == len(choices.active(structure))
        assert choices.assemble(structure, operations) == architecture


# -- methods -----------------------------------------------------------------------------------------------------


def small_task(space: str) -> Task:
    if space == ToySpace.name:
        return toy_task(Path())
    task = load_task("digits")
    parts = {name: Split(task.split(name).source, task.split(name).indices[:30]) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def combinations() -> list[tuple[str, str]]:
    pairs = []
    with registered_toys():
        for method in METHODS:
            for space in SPACES:
                try:
                    check_fit(METHODS.get(method), get_space(space, OPTIONS.get(method)), small_task(space))
                    pairs.append((method, space))
                except (SpaceError, SettingsError):
                    continue
    return pairs


def make_job(method: str, space_name: str) -> Job:
    space = get_space(space_name, OPTIONS.get(method))
    size = space.size_model.read(SIZES[space_name])
    kind = METHODS.get(method)
    context = SearchContext(
        task=small_task(space_name),
        space=space,
        settings=kind.settings_model.read(QUICK[method]),
        supernet_size=size,
        network_size=size,
        engine=Engine(torch.device("cpu")),
        seed=0,
    )
    return kind().stages()[0].make(context, None)


def finish(job: Job) -> SearchResult:
    while not job.done:
        metrics = job.advance()
        assert 0 <= metrics["progress"] <= 1
    result = job.result()
    assert isinstance(result, SearchResult)
    return result


COMBINATIONS = combinations()


@pytest.mark.parametrize(("method", "space"), COMBINATIONS)
def test_every_method_runs_resumes_and_repeats(method: str, space: str) -> None:
    reference = finish(make_job(method, space))
    first, second = make_job(method, space), make_job(method, space)
    for _ in range(2):
        if not first.done:
            first.advance()
    tree, tensors = pack(first.state_dict())
    second.load_state_dict(unpack(tree, tensors))
    result = finish(second)
    assert result.architecture == reference.architecture
    assert [c.score for c in result.candidates] == [c.score for c in reference.candidates]


def test_jobs_that_show_their_architecture_stay_as_they_are() -> None:
    shown: dict[str, bool] = {}
    for method, space in COMBINATIONS:
        job = make_job(method, space)
        if isinstance(job, Showing):
            job.advance()
            tree, tensors = pack(job.state_dict())
            before = {name: tensor.clone() for name, tensor in tensors.items()}
            assert draw(job.architecture()).startswith("<svg")
            assert pack(job.state_dict())[0] == tree
            assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())
            shown[method] = isinstance(job, Speaking)
    assert all(shown[name] for name in ("darts", "fairdarts", "d-darts", "dartopti"))


def test_every_method_fits_some_space() -> None:
    assert {method for method, _ in COMBINATIONS} == set(METHODS)
