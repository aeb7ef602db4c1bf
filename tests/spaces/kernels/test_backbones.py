"""DASH's backbones: sizes of docs/methods/dash.md#backbones, patterns of kernels, and what is refused."""

from __future__ import annotations

import pytest
import torch

from archscout.errors import ArchitectureError, SpaceError
from archscout.measure import measure
from archscout.spaces import architecture_from_json, architecture_to_json
from archscout.spaces.kernels.backbones import Backbone, BackboneOptions, BackboneSize, BackboneSpace
from archscout.spaces.kernels.pattern import KernelPattern, with_kernels
from archscout.tasks import TaskSpec

# Millions of parameters and of MAdds at the smallest and at the largest kernels (docs/methods/dash.md#backbones).
IMAGES = {
    "cifar100": ("classification", (3, 32, 32), 100, (2.77, 24.4), (506, 4511)),
    "spherical": ("classification", (3, 60, 60), 100, (2.77, 24.4), (1778, 15858)),
    "ninapro": ("classification", (1, 16, 52), 18, (2.75, 24.4), (411, 3663)),
    "fsd50k": ("multilabel", (1, 96, 102), 200, (2.80, 24.4), (4856, 43300)),
    "darcy": ("dense", (3, 85, 85), 1, (2.75, 24.4), (19818, 175920)),
    "psicov": ("dense", (57, 128, 128), 1, (2.76, 24.4), (45068, 400076)),
    "cosmic": ("dense", (1, 128, 128), 1, (2.75, 24.4), (44936, 398887)),
}
SEQUENCES = {
    "ecg": ("classification", (1, 1000), 4, (0.001, 0.008)),
    "satellite": ("classification", (1, 46), 24, (0.310, 1.88)),
    "deepsea": ("multilabel", (4, 1000), 36, (0.312, 1.89)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_sizes_of_the_wide_network_are_the_published_ones(name: str) -> None:
    kind, shape, outputs, parameters, madds = IMAGES[name]
    spec = TaskSpec(name, kind, shape, outputs)  # type: ignore[arg-type]
    space = BackboneSpace()
    for architecture, millions, work in zip(space.extremes(spec, BackboneSize()), parameters, madds, strict=True):
        with torch.device("meta"):
            cost = measure(space.build(architecture, spec, BackboneSize()), shape)
        assert f"{cost.parameters / 1e6:.3g}" == f"{millions:.3g}"
        assert round(cost.madds / 1e6) == work


@pytest.mark.parametrize("name", SEQUENCES)
def test_sizes_of_the_sequence_network_are_the_published_ones(name: str) -> None:
    kind, shape, outputs, parameters = SEQUENCES[name]
    spec = TaskSpec(name, kind, shape, outputs)  # type: ignore[arg-type]
    space = BackboneSpace(BackboneOptions(kernel_sizes=(3, 19)))
    for architecture, millions in zip(space.extremes(spec, BackboneSize()), parameters, strict=True):
        network = space.build(architecture, spec, BackboneSize())
        cost = measure(network, shape)
        assert abs(cost.parameters / 1e6 - millions) <= (0.005 if millions > 1 else 0.0005)
        assert network(torch.randn(2, *shape)).shape == (2, outputs)


def test_the_plain_sequence_network_has_kernels_8_5_3() -> None:
    spec = TaskSpec("ecg", "classification", (1, 50), 4)
    network = BackboneSpace().build(Backbone("sequence_resnet"), spec, BackboneSize())
    names = BackboneSpace().kernel_layers(network)
    assert [network.get_submodule(name).kernel_size for name in names] == [(8,), (5,), (3,)] * 3
    assert network(torch.randn(2, 1, 50)).shape == (2, 4)


@pytest.mark.parametrize("shape", [(2, 9), (2, 6, 5)], ids=str)
def test_dense_tasks_keep_every_position(shape: tuple[int, ...]) -> None:
    spec, space = TaskSpec("map", "dense", shape, 3), BackboneSpace()
    network = space.build(space.kernel_base(spec), spec, BackboneSize(width=1))
    assert network(torch.randn(2, *shape)).shape == (2, 3, *shape[1:])


def test_the_depth_belongs_to_the_architecture() -> None:
    spec, space = TaskSpec("images", "classification", (3, 8, 8), 10), BackboneSpace()
    assert Backbone("wide_resnet") == Backbone("wide_resnet", 2)
    for blocks in (1, 3):
        network = space.build(Backbone("wide_resnet", blocks), spec, BackboneSize(width=1))
        assert len(space.kernel_layers(network)) == 1 + 6 * blocks == Backbone("wide_resnet", blocks).convolutions


def test_initial_weights_are_xavier_with_gain_root_two() -> None:
    spec = TaskSpec("images", "classification", (3, 8, 8), 10)
    network = BackboneSpace().build(Backbone("wide_resnet"), spec, BackboneSize(width=2))
    weight = network.state_dict()["blocks.0.conv2.weight"]
    assert abs(float(weight.std()) - (2 * 2 / (32 * 9 * 2)) ** 0.5) < 0.005


def test_a_pattern_round_trips_and_describes_itself() -> None:
    pattern = with_kernels(Backbone("wide_resnet"), [(3, 1)] * 12 + [(9, 15)])
    assert pattern.space == "backbones"
    assert architecture_from_json(architecture_to_json(pattern)) == pattern
    assert "convolutions 0 to 11: size 3, dilation 1" in pattern.describe()
    assert "convolution 12: size 9, dilation 15 (field 121)" in pattern.describe()


def test_a_pattern_of_another_network_is_refused() -> None:
    spec = TaskSpec("images", "classification", (3, 8, 8), 10)
    for pattern in (with_kernels(Backbone("wide_resnet"), [(3, 1)] * count) for count in (12, 14)):
        with pytest.raises(ArchitectureError, match="13 convolutions"):
            BackboneSpace().build(pattern, spec, BackboneSize())
    with pytest.raises(SpaceError):
        BackboneSpace().build(Backbone("sequence_resnet"), spec, BackboneSize())


@pytest.mark.parametrize("kernels", [(), ((2, 1),), ((3, 0),), ((3,),), ((3.0, 1),), ((-1, 1),)])
def test_wrong_kernels_are_refused(kernels: object) -> None:
    with pytest.raises(ArchitectureError, match="kernels"):
        KernelPattern(Backbone("wide_resnet"), kernels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        '{"format": "archscout.kernel_pattern", "version": 1, "kernels": [[3, 1]]}',
        '{"format": "archscout.kernel_pattern", "version": 1, "base": 3, "kernels": [[3, 1]]}',
        '{"format": "archscout.kernel_pattern", "version": 1, "kernels": 1,'
        ' "base": {"format": "archscout.kernel_pattern", "version": 1}}',
        '{"format": "archscout.backbone", "version": 1, "name": "resnet"}',
        '{"format": "archscout.backbone", "version": 1}',
        '{"format": "archscout.backbone", "version": 1, "name": "wide_resnet", "blocks": 0}',
        '{"format": "archscout.backbone", "version": 1, "name": "sequence_resnet", "blocks": 2}',
    ],
)
def test_wrong_files_are_refused(text: str) -> None:
    with pytest.raises(ArchitectureError):
        architecture_from_json(text)
