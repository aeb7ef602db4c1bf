"""The once-for-all supernet: size, elastic parts against their plain formulas, extraction."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import Tensor, nn

from archscout.nn.elastic import ElasticBatchNorm, ElasticDepthwiseConv
from archscout.spaces import MobileNetConfig, MobileNetSpace
from archscout.spaces.mobilenet import MobileNetOptions, MobileNetSize
from archscout.spaces.mobilenet.supernet import MobileNetSupernet
from archscout.tasks import TaskSpec

IMAGENET = TaskSpec("imagenet", "classification", (3, 224, 224), 1000)
CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)
SPACE = MobileNetSpace()
SMALL = MobileNetSize(width=0.25, dropout=0.0)


def make(space: MobileNetSpace = SPACE, seed: int = 0) -> MobileNetSupernet:
    """A small supernet in float64 whose every tensor, matrices and statistics included, is off its initial value."""
    torch.manual_seed(seed)
    network = space.supernet(CIFAR, SMALL).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                buffer.normal_(0, 0.3)
    return network


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_published_supernet_has_exactly_the_recorded_parameters() -> None:
    with torch.device("meta"):
        network = SPACE.supernet(IMAGENET, MobileNetSize())
    assert sum(parameter.numel() for parameter in network.parameters()) == 10_715_752
    names = [name for name, _ in network.named_parameters() if "_matrix" in name]
    assert len(names) == 40
    assert names[0] == "blocks.1.mobile_inverted_conv.depth_conv.conv.7to5_matrix"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_an_extracted_network_equals_the_supernet(seed: int, training: bool) -> None:
    supernet = make().train(training)
    config = SPACE.random(Random(seed))
    network = SPACE.extract(supernet, config, CIFAR, SMALL).train(training)
    inputs = images()
    with torch.no_grad():
        assert torch.allclose(network(inputs), supernet(inputs, config), atol=1e-10)
    if training:  # the running statistics move alike
        state = supernet.subnet_state(config)
        assert all(torch.allclose(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_gradients_reach_exactly_the_used_part() -> None:
    supernet = make().train()
    config = MobileNetConfig.from_code([1, 1, 0, 0] * 5)  # kernel 3, expansion 3, depth 2
    network = SPACE.extract(supernet, config, CIFAR, SMALL).train()
    inputs = images()
    supernet(inputs, config).square().sum().backward()
    network(inputs).square().sum().backward()
    shared = dict(supernet.named_parameters())
    first = "blocks.1.mobile_inverted_conv.inverted_bottleneck.conv.weight"
    gradient, own = shared[first].grad, dict(network.named_parameters())[first].grad
    assert gradient is not None and own is not None
    assert torch.allclose(gradient[: len(own)], own)
    assert not gradient[len(own) :].any()
    assert all(parameter.grad is None for name, parameter in shared.items() if name.startswith("blocks.3."))
    used = {id(parameter) for parameter in supernet.path_parameters(config)}
    assert all(id(parameter) in used for parameter in shared.values() if parameter.grad is not None)
    matrix = shared["blocks.1.mobile_inverted_conv.depth_conv.conv.5to3_matrix"].grad
    assert matrix is not None and matrix.any()


def test_small_kernels_are_matrix_times_centre() -> None:
    conv = ElasticDepthwiseConv(2, 1).double()
    five, three = (conv.get_parameter(name) for name in ("7to5_matrix", "5to3_matrix"))
    assert torch.equal(five, torch.eye(25)) and torch.equal(three, torch.eye(9))
    assert torch.equal(conv.part(3, 2), conv.weight[:, :, 2:5, 2:5])  # identities: the centre itself
    with torch.no_grad():
        five.normal_()
        three.normal_()
    for channel in range(2):
        middle = (five @ conv.weight[channel, 0, 1:6, 1:6].reshape(25)).view(5, 5)
        assert torch.allclose(conv.part(5, 2)[channel, 0], middle)
        assert torch.allclose(conv.part(3, 1 + channel)[channel, 0], (three @ middle[1:4, 1:4].reshape(9)).view(3, 3))
    assert conv.part(7, 1).shape == (1, 1, 7, 7)


@pytest.mark.parametrize("training", [True, False])
def test_elastic_norms_are_plain_norms_of_the_first_channels(training: bool) -> None:
    elastic, plain = ElasticBatchNorm(6).train(training), nn.BatchNorm2d(4).train(training)
    with torch.no_grad():
        elastic.weight.normal_()
        plain.weight.copy_(elastic.weight[:4])
    inputs = torch.randn(5, 4, 3, 3)
    assert torch.equal(elastic(inputs), plain(inputs))
    assert elastic.running_mean is not None and plain.running_mean is not None
    assert torch.equal(elastic.running_mean[:4], plain.running_mean)
    assert not elastic.running_mean[4:].any()


def test_sorting_keeps_the_largest_network_and_the_most_important_channels() -> None:
    supernet = make().eval()
    largest = SPACE.extremes(CIFAR, SMALL)[1]
    middle = MobileNetConfig.from_code([9, 9, 0, 0, 7, 7, 0, 0] * 2 + [8, 8, 8, 8])
    inputs = images()
    with torch.no_grad():
        before, narrow = supernet(inputs, largest), supernet(inputs, middle)
        supernet.sort_channels()
        assert torch.allclose(supernet(inputs, largest), before, atol=1e-10)
        assert not torch.allclose(supernet(inputs, middle), narrow)
    for name, weight in supernet.named_parameters():
        if name.endswith("point_linear.conv.weight") and not name.startswith("blocks.0."):
            norms = weight.abs().sum((0, 2, 3))
            assert bool((norms[:-1] >= norms[1:]).all()), name
        if name.endswith("se.fc.expand.weight"):
            norms = weight.abs().sum((0, 2, 3))
            assert bool((norms[:-1] >= norms[1:]).all()), name


def test_a_searched_resolution_resizes_in_the_supernet_as_in_the_network() -> None:
    space = MobileNetSpace(MobileNetOptions(search_resolution=True))
    supernet = make(space).eval()
    config = space.decode([*([1, 4, 0, 0] * 5), 1])
    network = space.extract(supernet, config, CIFAR, SMALL).eval()
    inputs = images(1)
    with torch.no_grad():
        assert torch.allclose(network(inputs), supernet(inputs, config), atol=1e-10)


def test_extraction_copies() -> None:
    supernet = make()
    config = SPACE.random(Random(0))
    network = SPACE.extract(supernet, config, CIFAR, SMALL)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
