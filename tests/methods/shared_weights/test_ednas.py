"""EDNAS as a job: phases, baseline, legacy switches, resume."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import SpaceError
from archscout.methods import METHODS, SearchContext, SearchResult
from archscout.methods.shared_weights.ednas import EdnasSearch, EdnasSettings
from archscout.settings import merge
from archscout.spaces import get_space
from archscout.spaces.cells.space import CellSize
from archscout.tasks import Split, Task, load_task

SMALL = {
    "epochs": 2,
    "child": {"batch_size": 16},
    "policy": {"batch_size": 20, "lr": 0.05},
    "ranking": {"candidates": 6, "group": 3, "batch_size": 40},
}


def small_digits() -> Task:
    task = load_task("digits")
    source = task.train.source
    parts = {"train": task.train.indices[:48], "validation": task.validation.indices[:40]}
    return Task(**{**vars(task), **{name: Split(source, indices) for name, indices in parts.items()}})


def search(changes: dict[str, Any] | None = None, seed: int = 0, options: dict[str, Any] | None = None) -> EdnasSearch:
    context = SearchContext(
        task=small_digits(),
        space=get_space("cells", options),
        settings=EdnasSettings.read(merge(SMALL, changes or {})),
        supernet_size=CellSize(init_channels=4, layers=3),
        network_size=CellSize(init_channels=4, layers=3),
        engine=Engine(torch.device("cpu")),
        seed=seed,
    )
    return EdnasSearch(context)


def finish(job: EdnasSearch) -> SearchResult:
    for _ in job.run():
        pass
    return job.result()


def test_weights_and_policy_take_turns_and_the_ranking_ends() -> None:
    job = search()
    kinds = []
    progress = []
    classifier: Any = job.trainer.network.classifier
    logits, weights = job.policy.logits.clone(), classifier.weight.clone()
    for metrics in job.run():
        moved = (not torch.equal(weights, classifier.weight), not torch.equal(logits, job.policy.logits))
        logits, weights = job.policy.logits.clone(), classifier.weight.clone()
        kinds.append((("loss" in metrics, "reward" in metrics), moved))
        progress.append(job.progress)
    child, policy, ranking = (True, False), (False, True), (False, False)
    assert [kind for kind, _ in kinds] == [child, policy, child, policy, ranking, ranking]
    assert all(kind == moved for kind, moved in kinds)
    assert progress == sorted(progress)
    assert progress[-1] == pytest.approx(1)


def test_the_best_of_the_ranked_candidates_wins_and_the_arg_max_takes_part() -> None:
    result = finish(search())
    scores = [candidate.score for candidate in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert result.architecture == result.candidates[0].architecture
    assert [candidate.origin for candidate in result.candidates].count("arg-max") == 1
    assert len({candidate.architecture for candidate in result.candidates}) == 6


@pytest.mark.parametrize("stop", [1, 2, 4, 5])
def test_a_search_resumed_in_any_phase_ends_bit_equal(stop: int) -> None:
    undisturbed = search()
    reference = finish(undisturbed)
    first, second = search(), search(seed=0)
    for _ in range(stop):
        next(first.run())
    second.load_state_dict(first.state_dict())
    result = finish(second)
    assert [(c.architecture, c.score) for c in result.candidates] == [
        (c.architecture, c.score) for c in reference.candidates
    ]
    for name, tensor in undisturbed.trainer.network.state_dict().items():
        assert torch.equal(tensor, second.trainer.network.state_dict()[name]), name
    assert torch.equal(undisturbed.policy.logits, second.policy.logits)


def test_seeds_decide() -> None:
    first, again, other = (finish(search(seed=seed)) for seed in (0, 0, 1))
    assert [c.score for c in first.candidates] == [c.score for c in again.candidates]
    assert [c.architecture for c in first.candidates] != [c.architecture for c in other.candidates]


def test_the_policy_learns_what_is_rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reward of our own, the share of the rewarded operation, the plain formula's optimum is found."""
    job = search({"policy": {"architectures_per_step": 8, "weight_decay": 0.0}})

    def reward(batch: Any, cells: Any) -> list[float]:
        return [str(each).count("sep_conv_3x3") / 16 for each in cells]

    monkeypatch.setattr(job.trainer, "rewards", reward)
    for _ in range(120):
        job.policy_step()
    mode = str(job.policy.mode())
    assert mode.count("sep_conv_3x3") >= 12


def test_several_architectures_are_compared_with_the_mean_of_the_others() -> None:
    job = search({"policy": {"architectures_per_step": 3}})
    assert job._advantages([1.0, 0.5, 0.0]) == pytest.approx([0.75, 0.0, -0.75])


def test_the_baseline_is_used_before_it_moves_and_starts_at_the_first_reward() -> None:
    job = search()
    assert job._advantages([0.5]) == [0.0]
    assert job._advantages([1.0]) == [0.5]
    assert job.baseline == pytest.approx(0.99 * 0.5 + 0.01 * 1.0)


def test_the_published_baseline_starts_at_zero_and_moves_first() -> None:
    job = search({"policy": {"legacy_baseline": True}})
    assert job._advantages([0.5]) == [pytest.approx(0.99 * 0.5)]


def test_double_softmax_changes_the_update() -> None:
    correct, published = search(), search({"policy": {"legacy_double_softmax": True}})
    for job in (correct, published):
        for _ in range(2):
            next(job.run())
    assert not torch.equal(correct.policy.logits, published.policy.logits)


def test_dense_updates_move_weights_off_the_path() -> None:
    def moved_off_path(dense: bool) -> bool:
        job = search({"child": {"legacy_dense_updates": dense}})
        cells = job.context.space.random(random.Random(0))
        job.trainer.step(cells)
        off = {id(p) for p in job.trainer.network.parameters()}
        off -= {id(p) for p in job.trainer.paths.path_parameters(cells)}
        before = {id(p): p.clone() for p in job.trainer.network.parameters() if id(p) in off}
        job.trainer.step(cells)
        now = {id(p): p for p in job.trainer.network.parameters()}
        return any(not torch.equal(before[key], now[key]) for key in before)

    assert moved_off_path(dense=True)
    assert not moved_off_path(dense=False)


def test_one_batch_ranking_scores_each_candidate_on_its_own_images() -> None:
    whole = finish(search({"ranking": {"batch_size": 10}}))
    single = finish(search({"ranking": {"batch_size": 10, "legacy_one_batch": True}}))
    scores = {c.architecture: c.score for c in whole.candidates}
    assert all(c.score * 10 == pytest.approx(round(c.score * 10), abs=1e-5) for c in single.candidates)
    assert any(scores[c.architecture] != c.score for c in single.candidates)


def test_swapped_cells_change_the_search() -> None:
    correct, published = finish(search()), finish(search(options={"legacy_swapped_cells": True}))
    assert [c.score for c in correct.candidates] != [c.score for c in published.candidates]


def test_a_path_is_kept_for_the_published_number_of_steps() -> None:
    job = search({"child": {"steps_per_architecture": 3, "batch_size": 4}})
    drawn: list[int] = []

    def draw(number: int) -> Any:
        drawn.append(number)
        return job.context.space.random(random.Random(number))

    job.trainer.train(draw)
    assert drawn == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_candidates_keep_the_limits() -> None:
    free = finish(search())
    costs = {c.architecture: search().context.cost(c.architecture).parameters for c in free.candidates}
    limit = sorted(costs.values())[2]
    job = search({"ranking": {"limits": {"max_parameters": limit}}})
    bounded = finish(job)
    assert all(job.context.cost(c.architecture).parameters <= limit for c in bounded.candidates)


def test_limits_that_nothing_meets_say_what_to_do() -> None:
    job = search({"epochs": 1, "ranking": {"candidates": 1, "limits": {"max_parameters": 10}}})
    with pytest.raises(SpaceError, match=r"at most 10 parameters.*archscout estimate"):
        finish(job)


def test_methods_are_registered_with_their_needs() -> None:
    assert {"ednas", "random"} <= set(METHODS)
