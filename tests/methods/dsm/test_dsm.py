"""DSM-NAS as a job: the algorithm, its switches, budgets, limits and transfer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from archscout.errors import SettingsError, SpaceError
from archscout.methods import SearchResult
from archscout.methods.dsm.centres import initial_architectures
from archscout.methods.dsm.dsm import DsmSearch
from archscout.methods.dsm.trials import DsmSettings
from archscout.methods.queries.scoring import FunctionScorer, TableScorer
from archscout.spaces import Architecture, MobileNetSpace, NasBench201Cell, NasBench201Space
from archscout.spaces.nasbench201 import SPACE_SIZE
from archscout.spaces.nasbench201.table import Table, keys_of
from archscout.spaces.nasbench201.table_sources import import_table
from archscout.state import pack, unpack

SPACE = NasBench201Space()
TARGET = (3, 3, 3, 1, 2, 3)
SMALLEST_CODE = (1, 1, 0, 0) * 5


def smooth_table() -> Table:
    """Scores fall with the distance to one cell; queries cost 1 to 5 seconds."""
    cells = [NasBench201Cell.from_key(key) for key in range(SPACE_SIZE)]
    score = [90.0 - 5 * sum(a != b for a, b in zip(cell.code, TARGET, strict=True)) - cell.key / 1e5 for cell in cells]
    seconds = [1.0 + cell.code[0] for cell in cells]
    names = ["points_val_acc_12ep", "points_test_acc_200ep", "points_seconds_12ep"]
    return Table(names, torch.tensor([score, [value + 2 for value in score], seconds]))


TABLE = smooth_table()


def scorer() -> TableScorer:
    return TableScorer(TABLE, "points_val_acc_12ep", "points_test_acc_200ep")


def search(initial: Sequence[Sequence[Architecture]] = (), seed: int = 0, **settings: Any) -> DsmSearch:
    read = DsmSettings.read({"table": "points", "queries": 40, **settings})
    return DsmSearch(SPACE, scorer(), read, seed=seed, initial=initial)


def finish(job: DsmSearch) -> SearchResult:
    for _ in job.run():
        assert 0 <= job.progress <= 1
    return job.result()


def test_many_trials_find_the_peak_and_report_the_other_column() -> None:
    result = finish(search(trials=12, queries=204))
    facts = result.facts
    assert facts["trials"] == 12
    assert facts["queries"] == 204
    assert facts["mean"] == pytest.approx(facts["score_mean"] + 2, abs=1e-4)
    assert facts["report"] == "points_test_acc_200ep"
    assert result.architecture == NasBench201Cell(TARGET)
    assert facts["mean"] > 89
    assert len(facts["each"]) == 12


def test_a_single_trial_lists_everything_it_scored() -> None:
    result = finish(search())
    assert result.facts["std"] is None
    assert len(result.candidates) == result.facts["distinct"] <= 40
    assert result.candidates[0].architecture == result.architecture
    assert result.candidates[0].score == max(candidate.score for candidate in result.candidates)


def test_centres_only_get_better_and_keep_to_their_subspace() -> None:
    trials = search(queries=100, edits=2).begin()
    while trials.steps < 90:
        codes, scores = trials.codes.clone(), trials.scores.clone()
        trials.step()
        changed = (trials.codes != codes).sum(-1)
        assert int(changed.max()) <= 2
        assert bool((trials.scores >= scores).all())
        moved = changed.sum(1) > 0
        assert bool(((trials.scores > scores).sum(1) == moved).all())
        # Recorded scores are those of the centres.
        assert torch.equal(trials.scores, TABLE.values[0][keys_of(trials.codes)])


def test_the_published_drift_moves_centres_away_from_their_record() -> None:
    def strangers(legacy: bool) -> int:
        trials = search(queries=60, legacy_drift=legacy).begin()
        for _ in range(50):
            trials.step()
        return int((trials.live != trials.codes).any(-1).sum())

    assert strangers(False) == 0
    assert strangers(True) > 0


def test_grouping_does_not_change_a_trial() -> None:
    apart = finish(search(trials=4, group=1)).facts["each"]
    together = finish(search(trials=4, group=4)).facts["each"]
    uneven = finish(search(trials=4, group=3)).facts["each"]
    assert [each["best"] for each in apart] == [each["best"] for each in together] == [each["best"] for each in uneven]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stopped_search_goes_on_as_if_it_had_not(stop: int) -> None:
    settings: dict[str, Any] = {"trials": 3, "group": 2, "queries": 60, "proposals": 2}
    whole = finish(search(**settings))
    first, second = search(**settings), search(**settings)
    for _ in range(stop):
        next(first.run())
    tree, tensors = pack(first.state_dict())
    second.load_state_dict(unpack(tree, tensors))
    again = finish(second)
    assert again.facts == whole.facts
    assert again.architecture == whole.architecture


def test_repeats_are_free_if_asked_for() -> None:
    charged, free = (finish(search(trials=6, charge_repeats=charge)).facts for charge in (True, False))
    assert charged["queries"] == free["queries"] == 40
    assert charged["distinct"] < 40
    assert free["distinct"] == 40


def test_simulated_seconds_bound_a_search() -> None:
    facts = finish(search(trials=4, seconds=60.0, queries=1000)).facts
    for trial in facts["each"]:
        assert 60 < trial["seconds"] <= 65  # the query that passes the limit still counts
        assert trial["queries"] < 61
    free = finish(search(trials=4, seconds=60.0, queries=1000, legacy_free_initial=True)).facts
    assert free["queries"] > facts["queries"]


def test_a_uniform_policy_is_hill_climbing_without_learning() -> None:
    trials = search(policy="uniform").begin()
    before = trials.controller.flat.clone()
    for _ in range(20):
        trials.step()
    assert torch.equal(before, trials.controller.flat)


def test_any_function_can_be_the_score() -> None:
    asked: list[Architecture] = []

    def count_convolutions(architectures: Sequence[Any]) -> list[float]:
        asked.extend(architectures)
        return [float(sum(number == 3 for number in each.code)) for each in architectures]

    settings = DsmSettings(queries=80)
    job = DsmSearch(SPACE, FunctionScorer(count_convolutions), settings, seed=0)
    result = finish(job)
    assert len(asked) == len(set(asked)) == result.facts["distinct"]
    assert result.candidates[0].score >= 5


def test_limits_hold_for_first_centres_and_for_every_proposal() -> None:
    def few(architecture: Any) -> bool:
        return bool(sum(number == 3 for number in architecture.code) <= 1)

    job = DsmSearch(SPACE, scorer(), DsmSettings(table="points", queries=60), seed=0, admit=few)
    result = finish(job)
    assert all(few(candidate.architecture) for candidate in result.candidates)
    with pytest.raises(SpaceError, match="keep the limits"):
        finish(DsmSearch(SPACE, scorer(), DsmSettings(table="points"), seed=0, admit=lambda architecture: False))


def test_limits_that_hardly_any_random_architecture_keeps_are_met_from_the_smallest() -> None:
    space = MobileNetSpace()
    smallest = space.decode(SMALLEST_CODE)

    def near(architecture: Any) -> bool:
        return sum(a != b for a, b in zip(space.encode(architecture), SMALLEST_CODE, strict=True)) <= 2

    def count_large_kernels(architectures: Sequence[Any]) -> list[float]:
        return [float(sum(number > 6 for number in space.encode(each))) for each in architectures]

    def job(smallest: Any) -> DsmSearch:
        settings = DsmSettings(queries=60, slots=4, edits=2)
        scorer = FunctionScorer(count_large_kernels, quick=True)
        return DsmSearch(space, scorer, settings, seed=0, admit=near, smallest=smallest)

    result = finish(job(smallest))
    assert all(near(candidate.architecture) for candidate in result.candidates)
    assert result.candidates[0].score == 2
    with pytest.raises(SpaceError, match="keep the limits"):
        finish(job(None))


def test_the_last_proposals_of_a_step_do_not_exceed_the_budget() -> None:
    facts = finish(search(queries=40, proposals=6, trials=3)).facts
    assert [each["queries"] for each in facts["each"]] == [40, 40, 40]


def test_a_search_can_start_from_architectures() -> None:
    peak = NasBench201Cell(TARGET)
    assert finish(search(initial=[[peak]], queries=4)).architecture == peak
    trials = search(initial=[[peak]], queries=4).begin()
    assert trials.codes[0, 0].tolist() == list(TARGET)


def test_names_of_first_centres_are_checked(tmp_path: Path) -> None:
    cell = NasBench201Cell(TARGET)
    assert initial_architectures((cell.text,), SPACE) == [[cell]]
    assert initial_architectures((), SPACE) == []
    with pytest.raises(SpaceError, match="cannot start a search"):
        initial_architectures(("darts_v2",), SPACE)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"slots": 1}, "search.slots = 1: input should be greater than or equal to 2"),
        ({"queries": 3}, "queries = 3 must be more than the 3 first centres"),
        ({"legacy_drift": True, "proposals": 2}, "one proposal"),
        ({"edits": 0}, "greater than or equal to 1"),
        ({"polcy": "uniform"}, "did you mean policy"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        DsmSettings.read(settings, where="search")


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "mean", "spread"), [("cifar10", 94.35, 0.07), ("cifar100", 73.33, 0.44)])
def test_the_anchored_search_reaches_the_measured_accuracy(
    shared_data: Path, dataset: str, mean: float, spread: float
) -> None:
    table = import_table(shared_data / "nasbench201" / "nasbench201.csv.gz")
    column = f"{dataset}_test_acc_200ep"
    job = DsmSearch(SPACE, TableScorer(table, column, column), DsmSettings(table="x", trials=60), seed=0)
    found = finish(job).facts["mean"]
    assert found > mean - 2 * spread / 20**0.5
