"""What a search space must do. Every check raises AssertionError, and says what is wrong."""

from __future__ import annotations

import copy
from pathlib import Path
from random import Random
from typing import Any, cast
from xml.etree import ElementTree

import torch

from archscout.errors import SpaceError
from archscout.exporting import export_network
from archscout.spaces import ARCHITECTURES, SearchSpace, architecture_from_json, architecture_to_json
from archscout.spaces.base import Factorized, PathSupernet, WeightSharing
from archscout.tasks import TaskSpec
from archscout.testing.cases import SpaceCase
from archscout.viz import draw

__all__ = [
    "check_architectures",
    "check_export",
    "check_factorization",
    "check_networks",
    "check_refusal",
    "check_supernet",
    "inputs_of",
    "outputs_of",
]


def outputs_of(spec: TaskSpec) -> tuple[int, ...]:
    """The shape of a network's output for one sample of a task."""
    if spec.kind == "dense":
        return (spec.outputs, *spec.input_shape[1:])
    return (spec.outputs,) if spec.vocabulary is None else (1, spec.outputs)


def inputs_of(spec: TaskSpec) -> torch.Tensor:
    """Two random samples."""
    if spec.vocabulary is not None:
        return torch.randint(spec.vocabulary, (2, *spec.input_shape))
    return torch.randn(2, *spec.input_shape)


def check_architectures(space: SearchSpace) -> None:
    """Random architectures describe and draw themselves, and survive their JSON text."""
    for seed in range(5):
        architecture = space.random(Random(seed))
        text = architecture_to_json(architecture)
        again = architecture_from_json(text)
        assert again == architecture, f"{architecture!r} reads back as {again!r}"
        assert hash(again) == hash(architecture), f"equal architectures have different hashes: {architecture!r}"
        assert architecture.describe(), f"{architecture!r} describes itself with nothing"
        assert ElementTree.fromstring(draw(architecture)).tag.endswith("svg"), "the drawing is no SVG"  # noqa: S314 - ours
        assert architecture.space == space.name, f"the architecture names the space {architecture.space!r}"
        assert ARCHITECTURES.get(architecture.format) is type(architecture), f"{architecture.format!r} is another class"


def check_networks(space: SearchSpace, spec: TaskSpec, size: Any) -> None:
    """Networks are plain modules: they copy, save, and have the task's outputs; the extremes bound their sizes."""
    smallest, largest = space.extremes(spec, size)
    counts = []
    for architecture in (smallest, space.random(Random(0)), largest):
        torch.manual_seed(0)
        network = space.build(architecture, spec, size)
        twin = copy.deepcopy(network)
        twin.load_state_dict(network.state_dict())
        inputs = inputs_of(spec)
        outputs = network.eval()(inputs)
        assert outputs.shape == (2, *outputs_of(spec)), f"the outputs are {tuple(outputs.shape)}"
        assert torch.equal(outputs, twin.eval()(inputs)), "a copy with the same weights has other outputs"
        network.train()(inputs).sum().backward()
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert counts[0] <= counts[1] <= counts[2], f"parameters of smallest, random, largest: {counts}"


def check_export(space: SearchSpace, spec: TaskSpec, size: Any, folder: Path) -> None:
    """A network exports to ONNX and `torch.export`, with the same outputs."""
    network = space.build(space.random(Random(0)), spec, size)
    for report in export_network(network, spec.input_shape, folder):
        assert report.ok, f"{report.path} differs from the network by {report.max_difference}"
        assert report.path.is_file(), f"{report.path} was not written"


def check_refusal(space: SearchSpace) -> None:
    """A task that no space serves is refused with a SpaceError."""
    spec = TaskSpec("odd", "multilabel", (2, 7, 7, 7), 3)
    try:
        space.check(spec)
    except SpaceError:
        return
    raise AssertionError(f"check accepts {spec.describe()}, which no network of the space can serve")


def check_supernet(space: SearchSpace, case: SpaceCase) -> bool:
    """A supernet evaluates architectures together as it does apart. Returns False where the space has none."""
    if not isinstance(space, WeightSharing):
        return False
    spec = case.specs[0]
    supernet = space.supernet(spec, space.size_model.read(case.size)).eval()
    paths = cast(PathSupernet, supernet)
    architectures = [space.random(Random(seed)) for seed in range(3)]
    inputs = inputs_of(spec)
    with torch.inference_mode():
        together = torch.stack(list(paths.grouped(inputs, architectures)))
        apart = torch.stack([paths(inputs, each) for each in architectures])
    assert torch.allclose(together, apart, atol=1e-5), "together and apart, the outputs differ"
    return True


def check_factorization(space: SearchSpace) -> bool:
    """Choices take architectures apart and put them together. Returns False where the space has none."""
    if not isinstance(space, Factorized):
        return False
    choices = space.factorization
    for seed in range(20):
        architecture = space.random(Random(seed))
        structure, operations = choices.disassemble(architecture)
        assert len(operations) == len(choices.active(structure)), "there is one operation for each active row"
        assert choices.assemble(structure, operations) == architecture, f"{architecture!r} comes back as another one"
    return True
