"""Products of stacked matrices against plain formulas in float64, on both sides of the size where kernels change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from archscout.nn.fast import matrices
from archscout.nn.fast.matrices import add_product, column_sums, gram, product

CASES = [
    (torch.float64, 48),
    (torch.float32, 48),
    (torch.float32, 16384),  # large
    (torch.float32, 16384 + 7),  # ... where rows cannot be cut into blocks
    (torch.bfloat16, 48),
]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    error = (found.double() - expected).abs().max() / expected.abs().max()
    return float(error) < TOLERANCE[dtype]


def draw(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(params=[False, True], ids=["plain", "onednn"])
def by_onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether large products go to oneDNN, whatever is faster on this machine."""
    if request.param and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setattr(matrices, "_has_wide_kernels", lambda: request.param)
    return bool(request.param)


@pytest.mark.usefixtures("by_onednn")
@pytest.mark.parametrize(("dtype", "rows"), CASES)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("outputs", [16, 5])
def test_all_products_equal_the_plain_formulas(dtype: torch.dtype, rows: int, groups: int, outputs: int) -> None:
    inputs = draw(rows, groups * 16, dtype=dtype, seed=0)
    kernels, shifts = draw(groups, outputs, 16, dtype=dtype, seed=1), draw(groups, outputs, dtype=dtype, seed=2)
    apart = inputs.double().view(rows, groups, 16)
    plain = torch.einsum("pgc,gdc->pgd", apart, kernels.double())
    shifted = (plain + shifts.double()).flatten(1)
    assert close(product(inputs, kernels), plain.flatten(1), dtype)
    assert close(product(inputs, kernels, shifts), shifted, dtype)
    assert close(product(inputs, kernels, shifts, relu=True), shifted.relu(), dtype)
    total = draw(rows, groups * outputs, dtype=dtype, seed=3)
    before = total.double().clone()
    add_product(total, inputs, kernels, shifts)
    assert close(total, before + shifted, dtype)
    left = draw(rows, groups * outputs, dtype=dtype, seed=4)
    expected = torch.einsum("pgd,pgc->gdc", left.double().view(rows, groups, outputs), apart)
    found = gram(left, inputs, groups)
    assert found.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
    assert close(found, expected, dtype)
    assert close(column_sums(inputs, groups), apart.sum(0), dtype)


def test_large_products_go_to_onednn_where_it_has_wide_kernels(by_onednn: bool) -> None:
    inputs = torch.randn(16384, 16)
    assert matrices._by_onednn(inputs, 16, matrices.LARGE_CONVOLUTION) == by_onednn
    assert not matrices._by_onednn(inputs[:48], 16, matrices.LARGE_PRODUCT)
    assert not matrices._by_onednn(inputs.double(), 16, matrices.LARGE_PRODUCT)
