from __future__ import annotations

import numpy as np
import pytest
import torch

from archscout.tasks.statistics import ChannelStatistics, statistics_of_array


def test_statistics_equal_numpys_over_several_batches() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 4), dtype=np.uint8)
    indices = torch.arange(100, 4900)
    found = statistics_of_array(torch.from_numpy(raw), indices)
    values = raw[100:4900].astype(np.float64) / 255
    assert found.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), rel=1e-6)
    assert found.std == pytest.approx(values.std((0, 2, 3)).tolist(), rel=1e-6)
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_large_offset_costs_no_digits() -> None:
    values = torch.randn(400, 1, 9, generator=torch.Generator().manual_seed(0)) + 1000
    found = ChannelStatistics().update_all(values.split(37))  # type: ignore[no-untyped-call]
    assert found.mean[0] == pytest.approx(float(values.double().mean()), rel=1e-9)
    assert found.std[0] == pytest.approx(float(values.double().std(correction=0)), rel=1e-6)


def test_a_constant_channel_has_standard_deviation_one() -> None:
    values = torch.full((10, 2, 3), 0.7)
    values[:, 1, 0] = 0.0
    found = ChannelStatistics().update_all([values])
    assert found.std[0] == 1.0
    assert found.std[1] == pytest.approx(0.33, abs=0.01)
