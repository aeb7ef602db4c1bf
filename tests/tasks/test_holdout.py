from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import DataError
from archscout.tasks.holdout import (
    fold_numbers,
    holdout_by_group,
    holdout_by_name,
    holdout_of_end,
    stratified_holdout,
)


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


NAMES = [f"cat/{number}.png" for number in range(300)]


def test_a_hold_out_by_name_decides_each_sample_by_itself() -> None:
    kept, held = holdout_by_name(NAMES, [0] * 300, 1 / 6, 0, "test")
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(300))
    assert 30 <= len(held) <= 70
    some = NAMES[100:200]
    _, again = holdout_by_name(some, [0] * 100, 1 / 6, 0, "test")
    assert [some[i] for i in again.tolist()] == [NAMES[i] for i in held.tolist() if 100 <= i < 200]
    assert not torch.equal(held, holdout_by_name(NAMES, [0] * 300, 1 / 6, 1, "test")[1])
    assert not torch.equal(held, holdout_by_name(NAMES, [0] * 300, 1 / 6, 0, "validation")[1])


def test_a_hold_out_by_name_gives_every_class_to_both_sides() -> None:
    strata = [number // 3 for number in range(300)]
    kept, held = holdout_by_name(NAMES, strata, 0.01, 0, "test")
    assert {strata[i] for i in kept.tolist()} == {strata[i] for i in held.tolist()} == set(range(100))
    kept, held = holdout_by_name(["a", "b", "c"], [0, 1, 1], 0.5, 0, "test")
    assert 0 in kept.tolist()
    with pytest.raises(DataError, match="every class has only one sample"):
        holdout_by_name(["a", "b"], [0, 1], 0.5, 0, "test")


@pytest.mark.parametrize("fraction", [0.05, 1 / 6, 0.5, 0.95])
def test_a_group_is_on_one_side(fraction: float) -> None:
    groups = [f"patient {number % 7}" for number in range(100)]
    kept, held = holdout_by_group(groups, fraction, 0, "test")
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(100))
    assert {groups[i] for i in kept.tolist()}.isdisjoint(groups[i] for i in held.tolist())
    assert len(kept) and abs(len(held) - 100 * fraction) <= 15
    with pytest.raises(DataError, match="all 2 samples are of one group, 'a'"):
        holdout_by_group(["a", "a"], fraction, 0, "test")


def test_the_end_is_held_out_in_the_order_of_time() -> None:
    kept, held = holdout_of_end(10, 0.2)
    assert kept.tolist() == list(range(8))
    assert held.tolist() == [8, 9]


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_equal_and_keep_groups_together(folds: int) -> None:
    keys = [f"speaker {number // 4}" for number in range(80)]
    strata = [number % 2 for number in range(80)]
    numbers = fold_numbers(keys, strata, folds, 0)
    assert len({(key, fold) for key, fold in zip(keys, numbers.tolist(), strict=True)}) == 20
    assert torch.bincount(numbers)[1:].tolist() == [80 // folds] * folds
    by_sample = fold_numbers([str(i) for i in range(80)], strata, folds, 0)
    for fold in range(1, folds + 1):
        counts = torch.bincount(torch.tensor(strata)[by_sample == fold])
        assert counts.max() - counts.min() <= 1
    with pytest.raises(DataError, match="5 folds were asked for, but there are only 1"):
        fold_numbers(["a", "a"], [0, 0], 5, 0)
