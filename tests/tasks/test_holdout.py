from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import DataError
from archscout.tasks.holdout import stratified_holdout


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(lambda counts: max(counts) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
@settings(max_examples=150, deadline=None)
def test_parts_are_disjoint_complete_and_in_proportion(counts: list[int], fraction: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    kept, held = stratified_holdout(labels, fraction, generator(seed))
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
    spare = sum(max(0, count - 1) for count in counts)
    assert len(held) == min(spare, max(1, round(fraction * len(labels))))
    remaining = torch.bincount(labels[kept], minlength=len(counts))
    assert all(left >= 1 for left, count in zip(remaining.tolist(), counts, strict=True) if count)
    if len(held) == round(fraction * len(labels)) and fraction < 0.5 and min(counts) > 1:
        given_up = torch.tensor(counts) - remaining
        assert bool(((given_up - torch.tensor(counts) * fraction).abs() < 1 + 1e-4).all())


def test_the_seed_decides() -> None:
    labels = torch.arange(100) % 4
    first = stratified_holdout(labels, 0.25, generator(1))
    again = stratified_holdout(labels, 0.25, generator(1))
    other = stratified_holdout(labels, 0.25, generator(2))
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_both_parts_are_shuffled_over_the_classes() -> None:
    labels = torch.repeat_interleave(torch.arange(4), 100)
    for part in stratified_holdout(labels, 0.5, generator()):
        tail = torch.bincount(labels[part][-60:], minlength=4)
        assert int(tail.min()) > 5  # in storage order the tail would be one class


def test_a_fraction_of_few_samples_of_many_classes_still_holds_some_out() -> None:
    _, held = stratified_holdout(torch.repeat_interleave(torch.arange(100), 2), 0.1, generator())
    assert len(held) == 20


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0])
def test_fractions_outside_zero_to_one_are_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        stratified_holdout(torch.arange(10) % 2, fraction, generator())


def test_single_samples_cannot_be_held_out() -> None:
    with pytest.raises(DataError, match="every class has only one sample"):
        stratified_holdout(torch.arange(5), 0.2, generator())
