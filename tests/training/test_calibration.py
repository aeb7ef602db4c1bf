"""Re-calibrated batch norms: the plain average over batches, nothing else touched."""

from __future__ import annotations

import torch
from torch import nn

from archscout.training.calibration import recalibrate


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.9), nn.Flatten(), nn.Linear(48, 2)
    )
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    norm.running_mean.fill_(7.0)
    return made


def test_statistics_are_the_average_over_the_batches() -> None:
    made = network()
    batches = [torch.randn(5, 2, 4, 4) + shift for shift in (0.0, 1.0, 2.0)]
    before = {name: tensor.clone() for name, tensor in made.named_parameters()}
    assert recalibrate(made, batches) == 3
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        outputs = [made[0](batch) for batch in batches]
    means = torch.stack([each.mean((0, 2, 3)) for each in outputs]).mean(0)
    variances = torch.stack([each.transpose(0, 1).flatten(1).var(1) for each in outputs]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert torch.allclose(norm.running_var, variances, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.named_parameters())
    assert norm.momentum == 0.1
    assert not any(module.training for module in made.modules())


def test_calibration_repeats_and_forgets_what_was() -> None:
    made, other = network(), network()
    batches = [torch.randn(5, 2, 4, 4) for _ in range(2)]
    recalibrate(other, [batch + 3 for batch in batches])
    for each in (made, other):
        recalibrate(each, iter(batches))
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), other.state_dict().values(), strict=True))


def test_without_batches_the_statistics_are_those_of_a_new_network() -> None:
    made = network()
    assert recalibrate(made, []) == 0
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    assert not norm.running_mean.any()
