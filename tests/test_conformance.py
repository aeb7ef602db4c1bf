"""What everything registered must do: spaces build, round-trip and export; methods run, resume, and repeat."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import SettingsError, SpaceError
from archscout.exporting import export_network
from archscout.jobs import HasNotices, Job
from archscout.methods import METHODS, SearchContext, SearchResult
from archscout.methods.base import ShowsArchitecture, check_fit, settings_model
from archscout.registry import Registry
from archscout.spaces import ARCHITECTURES, SPACES, architecture_from_json, architecture_to_json, get_space
from archscout.spaces.base import Factorized, WeightSharing
from archscout.state import pack, unpack
from archscout.tasks import Split, Task, TaskSpec, load_task
from archscout.viz import draw
from tests.texts import small_text
from tests.toys import ToyMethod, ToySpace, registered_toys, toy_task

# Smallest sizes, and the task each space is tried on; a new space adds its line.
SIZES: dict[str, dict[str, Any]] = {
    "backbones": {"width": 1},
    "cells": {"init_channels": 4, "layers": 3},
    "per-cell": {"init_channels": 4, "layers": 3},
    "diverse-cells": {"init_channels": 4, "layers": 3},
    "mobilenet": {"width": 0.25},
    "nasbench201": {"init_channels": 4, "cells": 1},
    "recurrent": {"width": 6},
    ToySpace.name: {},
}
IMAGES = ("backbones", "cells", "per-cell", "diverse-cells", "mobilenet", "nasbench201")
SPECS = {
    **dict.fromkeys(IMAGES, TaskSpec("digits", "classification", (1, 8, 8), 10)),
    "recurrent": TaskSpec("text", "language", (1,), 9),
}
# Further kinds of tasks that a space serves.
FURTHER_SPECS = {
    "backbones": [TaskSpec("dense images", "dense", (2, 7, 10), 1)],
    "diverse-cells": [
        TaskSpec("sequences", "multilabel", (3, 22), 5),
        TaskSpec("dense images", "dense", (2, 7, 10), 1),
        TaskSpec("dense sequences", "dense", (2, 9), 2),
    ],
}
# Settings that make a search a matter of seconds; a new method adds its line.
SHORT: dict[str, Any] = {"queries": 4, "candidate": {"train": {"epochs": 1, "batch_size": 16}, "workers": 1}}
QUICK: dict[str, dict[str, Any]] = {
    "ednas": {"epochs": 1, "child": {"batch_size": 30}, "policy": {"batch_size": 20}, "ranking": {"candidates": 3}},
    "once-for-all": {"supernet": {"epochs": 2, "batch_size": 16}},
    "dsm": {**SHORT, "slots": 2, "edits": 1, "proposals": 2},
    "evolution": {**SHORT, "population": 2},
    "local": SHORT,
    "random": {"epochs": 1, "child": {"batch_size": 30}, "ranking": {"candidates": 3}},
    "reinforce": SHORT,
    "dash": {"epochs": 2, "batch_size": 10, "kernel_sizes": [3, 5], "dilations": [1, 3]},
    "darts": {"epochs": 1, "batch_size": 10, "validation_fraction": None},
    "pdarts": {
        "stages": [{"skip_dropout": 0.2}, {"init_channels": 6}],
        "epochs": 2,
        "warmup_epochs": 1,
        "batch_size": 10,
        "validation_fraction": None,
    },
    "d2nas": {"cells": {"stages": [{}, {"init_channels": 6}], "epochs": 2, "warmup_epochs": 1, "batch_size": 10}},
    "fairdarts": {"epochs": 1, "batch_size": 10, "validation_fraction": None},
    "ddarts": {"epochs": 1, "batch_size": 10, "validation_fraction": None},
    "dartopti": {"epochs": 1, "batch_size": 10, "validation_fraction": None, "warmup_epochs": 0},
    ToyMethod.name: {},
}
# Where the settings are others on some space.
QUICK_ON: dict[tuple[str, str], dict[str, Any]] = {
    ("darts", "recurrent"): {"epochs": 1, "order": "first", "batch_size": 10},
    ("evolution", "recurrent"): {
        "queries": 4,
        "population": 2,
        "score": "shared",
        "shared": {"epochs": 1, "child": {"batch_size": 10}},
    },
}
# Options of a space in a search, for all methods or for one.
OPTIONS: dict[str, dict[str, Any]] = {"per-cell": {"cells": 3}, "dartopti": {"baseline": "resnet18"}}
# The space of networks of the user's own has none without one; see tests/spaces/kernels/test_module.py.
SPACE_NAMES = [*(name for name in SPACES if name != "module"), ToySpace.name]
METHOD_NAMES = [*METHODS, ToyMethod.name]


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with registered_toys():
        yield


def spec_of(name: str) -> TaskSpec:
    return SPECS.get(name) or toy_task(Path()).spec


def spaces_and_specs() -> list[Any]:
    pairs: list[tuple[str, TaskSpec | None]] = [(name, None) for name in SPACE_NAMES]
    pairs += [(name, spec) for name, specs in FURTHER_SPECS.items() for spec in specs]
    return [pytest.param(name, spec, id=f"{name}-{spec.name}" if spec else name) for name, spec in pairs]


def output_shape(spec: TaskSpec) -> tuple[int, ...]:
    if spec.kind == "dense":
        return (spec.outputs, *spec.input_shape[1:])
    return (spec.outputs,) if spec.vocabulary is None else (1, spec.outputs)


def inputs_of(spec: TaskSpec) -> torch.Tensor:
    if spec.vocabulary is not None:
        return torch.randint(spec.vocabulary, (2, *spec.input_shape))
    return torch.randn(2, *spec.input_shape)


def test_every_registered_thing_is_tried_here() -> None:
    assert set(SPACES) - {"module"} == set(SIZES)
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
        assert ElementTree.fromstring(draw(architecture)).tag.endswith("svg")
        assert architecture.space == name
        assert ARCHITECTURES.get(architecture.format) is type(architecture)


@pytest.mark.parametrize(("name", "spec"), spaces_and_specs())
def test_networks_are_plain_modules(name: str, spec: TaskSpec | None) -> None:
    space, spec = get_space(name), spec or spec_of(name)
    size = space.size_model.read(SIZES[name])
    smallest, largest = space.extremes(spec, size)
    counts = []
    for architecture in (smallest, space.random(Random(0)), largest):
        torch.manual_seed(0)
        network = space.build(architecture, spec, size)
        twin = copy.deepcopy(network)
        twin.load_state_dict(network.state_dict())
        inputs = inputs_of(spec)
        outputs = network.eval()(inputs)
        assert outputs.shape == (2, *output_shape(spec))
        assert torch.equal(outputs, twin.eval()(inputs))
        network.train()(inputs).sum().backward()
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert counts[0] <= counts[1] <= counts[2]


@pytest.mark.parametrize(("name", "spec"), spaces_and_specs())
def test_networks_export(name: str, spec: TaskSpec | None, tmp_path: Path) -> None:
    space, spec = get_space(name), spec or spec_of(name)
    network = space.build(space.random(Random(0)), spec, space.size_model.read(SIZES[name]))
    for report in export_network(network, spec.input_shape, tmp_path):
        assert report.ok
        assert report.path.is_file()


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_wrong_task_is_refused(name: str) -> None:
    with pytest.raises(SpaceError):
        get_space(name).check(TaskSpec("odd", "multilabel", (2, 7, 7, 7), 3))


@pytest.mark.parametrize("name", SPACE_NAMES)
def test_supernets_agree_with_themselves(name: str) -> None:
    space, spec = get_space(name), spec_of(name)
    if not isinstance(space, WeightSharing):
        pytest.skip(f"{name} shares no weights")
    network = space.supernet(spec, space.size_model.read(SIZES[name])).eval()
    architectures = [space.random(Random(seed)) for seed in range(3)]
    inputs = inputs_of(spec)
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
    if space == "recurrent":
        return small_text()
    task = load_task("digits")
    parts = {name: Split(task.split(name).source, task.split(name).indices[:30]) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def options_of(method: str, space: str) -> dict[str, Any]:
    return OPTIONS.get(method) or OPTIONS.get(space, {})


def combinations() -> list[tuple[str, str]]:
    pairs = []
    with registered_toys():
        for method in METHODS:
            for space in SPACES:
                try:
                    check_fit(METHODS.get(method), get_space(space, options_of(method, space)), small_task(space))
                    pairs.append((method, space))
                except (SpaceError, SettingsError):
                    continue
    return pairs


def make_job(method: str, space_name: str) -> Job:
    space = get_space(space_name, options_of(method, space_name))
    size = space.size_model.read({**SIZES[space_name], **({"layers": None} if space_name == "per-cell" else {})})
    kind = METHODS.get(method)
    context = SearchContext(
        task=small_task(space_name),
        space=space,
        settings=settings_model(kind, type(space)).read(QUICK_ON.get((method, space_name), QUICK[method])),
        supernet_size=size,
        network_size=size,
        engine=Engine(torch.device("cpu")),
        seed=0,
    )
    before = space.random(Random(0)) if getattr(kind, "starts_from_architecture", False) else None
    return kind().stages()[0].make(context, before)


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
    shown: dict[tuple[str, str], bool] = {}
    for method, space in COMBINATIONS:
        job = make_job(method, space)
        if isinstance(job, ShowsArchitecture):
            job.advance()
            tree, tensors = pack(job.state_dict())
            before = {name: tensor.clone() for name, tensor in tensors.items()}
            assert draw(job.architecture()).startswith("<svg")
            assert pack(job.state_dict())[0] == tree
            assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())
            shown[method, space] = isinstance(job, HasNotices)
    assert ("darts", "recurrent") in shown
    for name in ("darts", "fairdarts", "pdarts", "ddarts", "dartopti"):
        speaking = [speaks for (method, space), speaks in shown.items() if method == name and space != "recurrent"]
        assert speaking and all(speaking)


def test_every_method_fits_some_space() -> None:
    assert {method for method, _ in COMBINATIONS} == set(METHODS)
