"""The MobileNet space: published sizes, closed-form costs, codes for methods, small images."""

from __future__ import annotations

from random import Random

import pytest
import torch

from archscout.errors import ArchitectureError, SettingsError, SpaceError
from archscout.measure import Measurements, count_madds, measure
from archscout.spaces import MobileNetConfig, MobileNetSpace
from archscout.spaces.mobilenet import MobileNetOptions, MobileNetSize
from archscout.spaces.mobilenet.layout import round_channels
from archscout.tasks import TaskSpec
from archscout.zoo import load_zoo

IMAGENET = TaskSpec("imagenet", "classification", (3, 224, 224), 1000)
CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)
SPACE = MobileNetSpace()
SEARCHED = MobileNetSpace(MobileNetOptions(search_resolution=True))
SMALL = MobileNetSize(width=0.25)


def released(name: str) -> MobileNetConfig:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, MobileNetConfig)
    return architecture


# docs/methods/once-for-all.md#released-networks and #codes.
# Multiply-adds without the last linear layer and with it, parameters, tensors, blocks.
ROWS = {
    "dsm_nas.imagenet": (586_320_560, 587_856_560, 8_939_576, 377, 18),
    "dsm_nas_plus.imagenet": (581_784_272, 583_320_272, 8_996_552, 417, 20),
}


@pytest.mark.parametrize("name", ROWS)
def test_released_networks_have_exactly_the_recorded_sizes(name: str) -> None:
    without_linear, madds, parameters, tensors, blocks = ROWS[name]
    config = released(name)
    with torch.device("meta"):
        network = SPACE.build(config, IMAGENET, MobileNetSize())
    counted = measure(network, IMAGENET.input_shape)
    assert counted == Measurements(parameters, madds) == SPACE.cost(config, IMAGENET, MobileNetSize())
    assert counted.madds - network.classifier.linear.weight.numel() == without_linear
    assert len(network.state_dict()) == tensors
    assert len(network.blocks) == blocks


@pytest.mark.parametrize(
    ("which", "width", "madds_millions", "parameters_millions"),
    [
        ("smallest", 1.2, 193.1, 4.60),
        ("largest", 1.2, 843.1, 10.70),
        ("dsm_nas.imagenet", 1.0, 387.7, 6.42),
        ("dsm_nas_plus.imagenet", 1.0, 384.6, 6.46),
    ],
)
def test_bounds_and_other_widths_are_the_recorded_ones(
    which: str, width: float, madds_millions: float, parameters_millions: float
) -> None:
    size = MobileNetSize(width=width)
    extremes = dict(zip(("smallest", "largest"), SPACE.extremes(IMAGENET, size), strict=True))
    cost = SPACE.cost(extremes[which] if which in extremes else released(which), IMAGENET, size)
    assert round(cost.madds / 1e6, 1) == madds_millions
    assert round(cost.parameters / 1e6, 2) == parameters_millions


def test_the_state_dict_has_the_released_names() -> None:
    network = SPACE.build(released("dsm_nas.imagenet"), CIFAR, SMALL)
    names = set(network.state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for layer in ("first_conv", "final_expand_layer", "blocks.4.mobile_inverted_conv.inverted_bottleneck"):
        assert {f"{layer}.conv.weight", *(f"{layer}.bn.{name}" for name in norm)} <= names
    for layer in ("depth_conv", "point_linear"):
        assert f"blocks.0.mobile_inverted_conv.{layer}.conv.weight" in names
    assert not any(name.startswith("blocks.0.mobile_inverted_conv.inverted_bottleneck") for name in names)
    for layer in ("reduce", "expand"):
        for kind in ("weight", "bias"):
            assert f"blocks.4.mobile_inverted_conv.depth_conv.se.fc.{layer}.{kind}" in names
            assert f"blocks.1.mobile_inverted_conv.depth_conv.se.fc.{layer}.{kind}" not in names
    assert {"feature_mix_layer.conv.weight", "classifier.linear.weight", "classifier.linear.bias"} <= names
    assert {name.split(".")[0] for name in names} == {
        "first_conv",
        "blocks",
        "final_expand_layer",
        "feature_mix_layer",
        "classifier",
    }


def test_widths_round_to_multiples_of_eight_and_never_below_nine_tenths() -> None:
    bases = (16, 24, 40, 80, 112, 160, 960, 1280)
    assert [round_channels(1.2 * base) for base in bases] == [24, 32, 48, 96, 136, 192, 1152, 1536]
    assert [round_channels(value) for value in (1, 11, 12, 17, 18, 20)] == [8, 16, 16, 16, 24, 24]


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_closed_form_costs_equal_counted_ones_for_a_thousand_networks() -> None:
    assert_costs_are_counted(1000)


def test_closed_form_costs_equal_counted_ones() -> None:
    assert_costs_are_counted(6)


def assert_costs_are_counted(count: int) -> None:
    """Over widths, strides, odd and rectangular images, grey ones, and searched resolutions."""
    for seed in range(count):
        draw = Random(seed)
        space = draw.choice((SPACE, SEARCHED))
        spec = TaskSpec(
            "any",
            "classification",
            (draw.choice((1, 3)), draw.choice((224, 32, 37)), draw.choice((224, 32, 37))),
            draw.choice((10, 1000)),
        )
        size = MobileNetSize(
            width=draw.choice((0.25, 1.0, 1.2)),
            strides=draw.choice(("auto", "imagenet", "small", (2, 1, 1, 2, 2, 1))),
            resolution=draw.choice((None, None, 48)),
        )
        config = space.random(draw)
        with torch.device("meta"):
            network = space.build(config, spec, size)
        assert space.cost(config, spec, size) == measure(network, spec.input_shape), seed


def test_costs_of_many_codes_come_in_one_call() -> None:
    configs = [SPACE.random(Random(seed)) for seed in range(50)]
    costs = SPACE.plan(CIFAR, SMALL).costs((32, 32)).of_codes([config.code for config in configs])
    each = [SPACE.cost(config, CIFAR, SMALL) for config in configs]
    assert costs.tolist() == [[cost.parameters, cost.madds] for cost in each]


def test_depth_kernel_and_expansion_are_uniform_each_by_itself() -> None:
    configs = [SPACE.random(Random(seed)) for seed in range(600)]
    depths = [len(stage) for config in configs for stage in config.stages]
    kernels = [block.kernel for config in configs for stage in config.stages for block in stage]
    for values, options in ((depths, (2, 3, 4)), (kernels, (3, 5, 7))):
        shares = [values.count(option) / len(values) for option in options]
        assert all(abs(share - 1 / 3) < 0.03 for share in shares), shares


@pytest.mark.parametrize("space", [SPACE, SEARCHED], ids=["fixed", "searched resolution"])
def test_a_mutation_changes_one_layer(space: MobileNetSpace) -> None:
    for seed in range(200):
        config = space.random(Random(seed))
        other = space.mutate(config, Random(seed))
        assert other != config
        before, after = (torch.tensor([space.encode(each)]) for each in (config, other))
        assert int((before != after).sum()) <= 2  # two where a block moves up
        assert torch.equal(space.canonical(after), after)


def test_the_mask_forbids_to_delete_the_first_two_blocks_of_a_stage() -> None:
    code = SPACE.layer_code
    assert (code.layers, code.operations, code.width) == (20, 10, 200)
    assert [row[0] for row in code.allowed] == [False, False, True, True] * 5
    assert all(all(row[1:]) for row in code.allowed)
    searched = SEARCHED.layer_code
    assert searched.layers == 21
    assert searched.allowed[20] == (True,) * 5 + (False,) * 5


def test_canonical_codes_are_those_of_the_networks() -> None:
    draw = Random(0)
    codes = [[draw.randrange(0 if place % 4 > 1 else 1, 10) for place in range(20)] for _ in range(300)]
    expected = [list(MobileNetConfig.from_code(code).code) for code in codes]
    assert SPACE.canonical(torch.tensor(codes)).tolist() == expected
    assert expected != codes


def test_codes_without_the_searched_resolution_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="resolution: none, but the resolution is searched"):
        SEARCHED.encode(SPACE.random(Random(0)))
    with pytest.raises(ArchitectureError, match="the code has 20 numbers; 21 are needed"):
        SEARCHED.decode([1] * 20)
    with pytest.raises(ArchitectureError, match="21 are needed, of which the last"):
        SEARCHED.decode([1] * 20 + [5])


def test_small_images_keep_their_size_in_the_stem() -> None:
    plan = SPACE.plan(CIFAR, SMALL)
    assert plan.sizes((32, 32)) == [(32, 32), (32, 32), (16, 16), (8, 8), (8, 8), (4, 4)]
    assert SPACE.plan(IMAGENET, SMALL).sizes((224, 224))[-1] == (7, 7)
    assert SPACE.plan(CIFAR, MobileNetSize(width=0.25, strides="imagenet")).sizes((32, 32))[-1] == (1, 1)
    assert SPACE.plan(CIFAR, MobileNetSize(width=0.25, resolution=96)).strides[0] == 2


def test_a_searched_resolution_is_what_the_network_computes_with() -> None:
    config = SEARCHED.decode([*([1, 1, 0, 0] * 5), 0])
    network = SEARCHED.build(config, CIFAR, SMALL).eval()
    twin = SPACE.build(SPACE.decode([1, 1, 0, 0] * 5), CIFAR, MobileNetSize(width=0.25, strides="imagenet")).eval()
    twin.load_state_dict(network.state_dict())
    inputs = torch.randn(2, 3, 32, 32)
    enlarged = torch.nn.functional.interpolate(inputs, size=(192, 192), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        assert torch.equal(network(inputs), twin(enlarged))
    assert count_madds(network, (3, 32, 32)) == count_madds(twin, (3, 192, 192))


def test_one_image_keeps_its_batch_axis() -> None:
    network = SPACE.build(SPACE.random(Random(0)), CIFAR, SMALL).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec("text", "language", (7,), 3), "serves classification, multilabel and regression of images"),
        (TaskSpec("tiny", "classification", (3, 3, 8), 3), "too small; at least 4 x 4 pixels"),
    ],
)
def test_other_tasks_are_refused(spec: TaskSpec, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.check(spec)


@pytest.mark.parametrize("values", [{"width": 0}, {"strides": [1, 2, 3, 1, 1, 1]}, {"strides": "tiny"}, {"widht": 1}])
def test_wrong_sizes_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(values))):
        MobileNetSize.read(values)
