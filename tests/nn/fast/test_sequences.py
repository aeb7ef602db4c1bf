"""Layers of sequences against torch's own: outputs, gradients, statistics, kernels that change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from archscout.nn.fast.sequences import SequenceConv, SequenceNorm
from archscout.nn.kernels.layers import set_kernels


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        SequenceConv(4, 6, 1),
        SequenceConv(4, 6, 3, stride=2, padding=1),
        SequenceConv(4, 4, 5, padding=4, dilation=2, groups=4, bias=False),
        SequenceConv(4, 6, 3, padding="same"),
        SequenceNorm(4),
        SequenceNorm(4, affine=False),
    ],
    ids=repr,
)
def test_they_compute_what_torchs_layers_compute(made: nn.Module, last: bool) -> None:
    ours = copy.deepcopy(made).double()
    plain = copy.deepcopy(ours)
    plain.__class__ = nn.Conv1d if isinstance(made, nn.Conv1d) else nn.BatchNorm1d
    inputs = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0)).double()
    if last:
        inputs = inputs.transpose(1, 2).contiguous().transpose(1, 2)
    inputs.requires_grad_()
    for _ in range(2):
        found, expected = ours(inputs), plain(inputs)
        assert found.shape == expected.shape and (found - expected).abs().max() < 1e-12
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    pairs = [[inputs, *module.parameters()] for module in (ours, plain)]
    gradients = [
        torch.autograd.grad(each, leaves, direction) for each, leaves in zip((found, expected), pairs, strict=True)
    ]
    for mine, other in zip(*gradients, strict=True):
        assert (mine - other).abs().max() < 1e-12
    for (name, mine), (_, other) in zip(ours.state_dict().items(), plain.state_dict().items(), strict=True):
        assert torch.allclose(mine, other), name
    assert torch.allclose(ours.eval()(inputs), plain.eval()(inputs))


def test_another_kernel_keeps_the_fast_layer() -> None:
    network = nn.Sequential(SequenceConv(2, 4, 3, padding=1), nn.Conv1d(4, 2, 3, padding=1))
    set_kernels(network, ["0", "1"], [(5, 2), (7, 1)])
    assert [type(layer) for layer in network] == [SequenceConv, nn.Conv1d]
    assert network(torch.randn(1, 2, 11)).shape == (1, 2, 11)
