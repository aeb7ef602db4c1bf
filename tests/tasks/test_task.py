from __future__ import annotations

import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.sources import ArraySource


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits")


def test_digits_splits_are_fixed_disjoint_and_complete(digits: Task) -> None:
    indices = [digits.split(name).indices.tolist() for name in ("train", "validation", "test")]
    assert [len(part) for part in indices] == [1197, 300, 300]
    assert sorted(index for part in indices for index in part) == list(range(1797))
    assert load_task("digits").test.indices.tolist() == indices[2]


def test_digits_are_normalised_by_their_train_split(digits: Task) -> None:
    raw, _ = next(digits.train.source.batches([digits.train.indices], torch.device("cpu")))
    prepared = digits.prepare(raw)
    assert float(prepared.mean()) == pytest.approx(0, abs=1e-3)
    assert float(prepared.std()) == pytest.approx(1, abs=1e-3)


def test_prepare_augments_only_with_a_seed(digits: Task) -> None:
    raw, _ = next(digits.train.source.batches([digits.train.indices[:50]], torch.device("cpu")))
    plain, augmented = digits.prepare(raw), digits.prepare(raw, seed=1)
    assert torch.equal(plain, digits.normalize(digits.to_float(raw)))
    assert not torch.equal(plain, augmented)
    assert torch.equal(augmented, digits.prepare(raw, seed=1))


@pytest.mark.parametrize("seed", [None, 4])
def test_resplit_divides_the_development_samples_anew(digits: Task, seed: int | None) -> None:
    changed = digits.resplit(0.5, seed=seed)
    assert [len(changed.train), len(changed.validation)] == [749, 748]
    pool = digits.development.indices
    assert sorted(torch.cat([changed.train.indices, changed.validation.indices]).tolist()) == sorted(pool.tolist())
    if seed is None:
        assert torch.equal(changed.validation.indices, pool[749:])
    assert torch.equal(changed.test.indices, digits.test.indices)


def test_unknown_splits_and_fractions_are_told(digits: Task) -> None:
    with pytest.raises(DataError, match="unknown split 'valid'; allowed: train"):
        digits.split("valid")
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        digits.resplit(1.0)


def test_a_source_needs_a_target_for_each_sample() -> None:
    with pytest.raises(DataError, match="3 samples but 2 targets"):
        ArraySource(torch.zeros(3, 1), torch.zeros(2))
