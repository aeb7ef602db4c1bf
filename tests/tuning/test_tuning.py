"""Tuning: the published grid and its rule, halving, ranking, resuming, and where the trials run."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import archscout
from archscout.engine import Engine
from archscout.errors import DivergedError, MissingExtraError, SettingsError
from archscout.methods import SearchContext, SearchResult
from archscout.methods.base import TaskSource
from archscout.parallel import check_executor
from archscout.spaces import get_space
from archscout.state import pack, state_bytes, unpack
from archscout.tasks import load_task
from archscout.training.job import TrainSettings
from archscout.tuning import TuningJob, TuningSettings, check_tuning, job
from archscout.tuning.plans import GridPlan, SampledPlan, goes_on
from archscout.tuning.settings import published_share
from archscout.tuning.trial import Answer, Part, train_part
from tests.toys import ToySize, ToySpace, Widths, registered_toys, toy_task

GRID: dict[str, Any] = {"parameters": {"optimizer.lr": [0.3, 0.1, 0.01], "drop_path": [0.0, 0.3]}, "epochs": 4}
HALVING: dict[str, Any] = {
    "kind": "halving",
    "parameters": {"optimizer.lr": {"low": 0.001, "high": 1.0, "log": True}, "optimizer.momentum": [0.0, 0.9]},
    "epochs": 9,
    "min_epochs": 1,
    "trials": 8,
}
TRAIN = {"epochs": 3, "batch_size": 10, "cutout": 0, "drop_path": 0.0}


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with registered_toys():
        yield


def toy_context(direction: Literal["max", "min"] = "max", **changes: Any) -> SearchContext:
    task = toy_task(Path())
    task = replace(task, metric=replace(task.metric, direction=direction))
    context = SearchContext(
        task=task,
        space=get_space(ToySpace.name),
        settings=None,
        supernet_size=ToySize(),
        network_size=ToySize(),
        engine=Engine(torch.device("cpu")),
        seed=0,
        train=TrainSettings.read(TRAIN),
    )
    return replace(context, **changes)


def make(settings: dict[str, Any], context: SearchContext | None = None, widths: tuple[int, ...] = (4,)) -> TuningJob:
    return TuningJob(context or toy_context(), Widths(widths), TuningSettings.read(settings))


def finish(tuning: TuningJob) -> SearchResult:
    for metrics in tuning.run():
        assert 0 <= tuning.progress <= 1
        assert all(math.isfinite(value) for value in metrics.values())
    return tuning.result()


def outcome(result: SearchResult) -> Any:
    """Everything but which process did it."""
    return dict(result.training), result.facts["tuning"]


def judged_by(monkeypatch: pytest.MonkeyPatch, value: Any) -> list[Part]:
    """Let a function of the training's settings and epochs take the place of training; returns what was asked."""
    asked: list[Part] = []

    def train(part: Part, *_: Any) -> Answer:
        asked.append(part)
        found = value(part.train, part.until)
        if found is None:
            return Answer(None)
        return Answer(state_bytes({"until": part.until}), found if part.judge else None)

    monkeypatch.setattr(job, "train_part", train)
    return asked


# -- the published grid ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "group", "expected"),
    [
        ([], [0.5, 0.4], True),
        ([0.5, 0.4], [0.6, 0.1], True),
        ([0.5, 0.4], [0.5, 0.1], False),  # equal is no improvement
        ([0.5, 0.4], [None, None], False),
        ([None, None], [None, None], True),  # nothing has worked yet: smaller rates may
        ([None, 0.2], [0.3, None], True),
    ],
)
def test_a_group_that_brings_nothing_better_ends_the_grid(
    before: list[float | None], group: list[float | None], expected: bool
) -> None:
    assert goes_on(before, group) is expected


def test_the_default_grid_is_the_published_one() -> None:
    settings = TuningSettings()
    assert settings.configurations == 24
    assert settings.epochs == 40
    plan = GridPlan(settings)
    first = [plan.ask() for _ in range(8)]
    assert [each and each["optimizer.lr"] for each in first] == [0.1] * 8
    assert plan.ask() is None  # the next group waits for this one
    for number in range(8):
        plan.tell(number, 0.1)
    second = plan.ask()
    assert second == {"optimizer.lr": 0.01, "optimizer.weight_decay": 5e-4, "optimizer.momentum": 0.9, "drop_path": 0.0}


@pytest.mark.parametrize(
    ("batches", "steps"),  # docs/methods/d2nas.md#tuning: NinaPro, Darcy, Satellite
    [(20, 7), (49, 15), (50, 11), (100, 11), (299, 30), (300, 16), (499, 25), (500, 6), (3125, 32)],
)
def test_trials_train_on_the_published_share_of_an_epoch(batches: int, steps: int) -> None:
    assert int(published_share(batches) * batches) + 1 == steps


def test_remaining_rates_are_skipped_and_the_first_of_equals_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {0.3: 0.6, 0.1: 0.6, 0.01: 0.9}
    asked = judged_by(monkeypatch, lambda train, until: scores[train["optimizer"]["lr"]])
    result = finish(make(GRID))
    assert {part.train["optimizer"]["lr"] for part in asked} == {0.3, 0.1}
    assert result.training == {"optimizer": {"lr": 0.3}, "drop_path": 0.0}
    asked.clear()
    result = finish(make({**GRID, "skip_rest": False}))
    assert {part.train["optimizer"]["lr"] for part in asked} == {0.3, 0.1, 0.01}
    assert result.training["optimizer"] == {"lr": 0.01}


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize("kind", ["grid", "halving", "hyperband"])
def test_diverged_trials_are_ranked_worst_in_both_directions(
    monkeypatch: pytest.MonkeyPatch, direction: Literal["max", "min"], kind: str
) -> None:
    judged_by(monkeypatch, lambda train, until: 0.5 if train["optimizer"]["lr"] < 0.2 else None)
    settings = {**GRID, "kind": kind, "min_epochs": 1, "trials": 12, "sampler": "random"}
    result = finish(make(settings, toy_context(direction)))
    assert result.training["optimizer"]["lr"] < 0.2
    states = {each["state"] for each in result.facts["tuning"]["each"]}
    assert "diverged" in states and "complete" in states


def test_a_tuning_whose_every_trial_diverges_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(monkeypatch, lambda train, until: None)
    tuning = make(GRID)
    with pytest.raises(DivergedError, match="none of 6 trials"):
        finish(tuning)


def test_real_divergence_is_found_even_where_the_metric_is_finite() -> None:
    result = finish(make({"parameters": {"optimizer.lr": [1e18, 0.1]}, "epochs": 4}))
    assert [each["state"] for each in result.facts["tuning"]["each"]] == ["diverged", "complete"]


def test_every_trial_begins_with_the_weights_that_the_final_training_gets() -> None:
    result = finish(make(GRID))
    assert result.weights is not None
    network = toy_context().space.build(Widths((4,)), toy_context().task.spec, ToySize())
    network.load_state_dict(dict(result.weights))
    twin = finish(make(GRID)).weights
    assert twin is not None and all(torch.equal(twin[name], result.weights[name]) for name in twin)


# -- samplers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_halving_gives_up_what_is_behind(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    asked = judged_by(monkeypatch, lambda train, until: 1 - abs(math.log10(train["optimizer"]["lr"]) + 1) / 5)
    result = finish(make({**HALVING, "trials": 15, "sampler": sampler}))
    each = result.facts["tuning"]["each"]
    assert sum(record["state"] == "early" for record in each) >= 5
    assert len(asked) < 15 * 9
    complete = [record for record in each if record["state"] == "complete"]
    assert complete and result.facts["tuning"]["chosen"] in [record["number"] for record in complete]


def test_scores_are_wanted_at_the_rungs_only() -> None:
    plan = SampledPlan(TuningSettings.read({**HALVING, "epochs": 40, "min_epochs": 2}), 0)
    assert [epochs for epochs in range(1, 41) if plan.judged_at(epochs)] == [2, 6, 18, 40]


# -- resuming ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [GRID, HALVING, {**HALVING, "kind": "hyperband"}], ids=lambda each: each.get("kind")
)
@pytest.mark.parametrize("rounds", [1, 3, 7])
def test_a_stopped_tuning_goes_on_from_its_checkpoint(settings: dict[str, Any], rounds: int) -> None:
    reference = finish(make(settings))
    first, second = make(settings), make(settings)
    for _ in range(rounds):
        next(first.run())
    tree, tensors = pack(first.state_dict())
    second.load_state_dict(unpack(tree, tensors))
    assert outcome(finish(second)) == outcome(reference)


@pytest.mark.parametrize("settings", [GRID, HALVING], ids=["grid", "halving"])
@pytest.mark.parametrize("rounds", [3, 6])
def test_a_killed_tuning_keeps_finished_trials_and_repeats_the_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, Any], rounds: int
) -> None:
    reference = finish(make(settings))
    killed = make(settings, toy_context(folder=tmp_path))
    for _ in range(rounds):
        next(killed.run())
    ended = [record["number"] for record in killed.state_dict()["trials"] if record["state"] != "running"]
    asked: list[int] = []

    def counted(part: Part, *others: Any) -> Answer:
        asked.append(part.until)
        return train_part(part, *others)

    monkeypatch.setattr(job, "train_part", counted)
    resumed = make(settings, toy_context(folder=tmp_path))  # without a checkpoint
    result = finish(resumed)
    resumed.close()
    assert outcome(result) == outcome(reference)
    repeated = [record["epochs"] for record in result.facts["tuning"]["each"] if record["number"] not in ended]
    assert ended or rounds == 3
    assert len(asked) == sum(repeated)


def test_known_trials_belong_to_one_network_and_one_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = toy_context(folder=tmp_path)
    finish(make(GRID, context))
    asked = judged_by(monkeypatch, lambda train, until: 0.5)
    finish(make(GRID, context))
    assert not asked
    finish(make(GRID, context, widths=(5,)))
    assert asked
    asked.clear()
    finish(make(GRID, replace(context, train=TrainSettings.read({**TRAIN, "label_smoothing": 0.1}))))
    assert asked


def test_the_database_is_one_that_optuna_reads(tmp_path: Path) -> None:
    import optuna

    finish(make(GRID, toy_context(folder=tmp_path)))
    url = f"sqlite:///{tmp_path / 'tuning.db'}"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert {trial.params["optimizer.lr"] for trial in study.trials} <= {0.3, 0.1, 0.01}
    assert study.best_value == pytest.approx(max(trial.value for trial in study.trials if trial.value is not None))


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tuning\.storage = 'nonsense://x'"):
        make({**GRID, "storage": "nonsense://x"}, toy_context(folder=tmp_path))


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parameters": {"optimizer.rate": [1]}}, "unknown setting"),
        ({"parameters": {"drop_path": [0.1, 2.0]}}, r"drop_path = 2\.0"),
        ({"parameters": {"drop_path": {"low": 0, "high": 0.5}}}, "a grid needs a list"),
        ({"parameters": {"drop_path": []}}, "must have values"),
        ({"parameters": {}}, "must name what to tune"),
        ({"kind": "halving", "parameters": {"drop_path": {"low": 0.5, "high": 0.1}}}, "low must be below high"),
    ],
)
def test_impossible_parameters_are_told_before_the_start(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_tuning(TuningSettings.read(settings), TrainSettings())


def test_unknown_executors_and_a_missing_ray_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"allowed: local, ray, ray://HOST:PORT"):
        check_executor("cluster")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archscout\[ray\]'"):
        check_executor("ray://head:10001")


# -- where trials run --------------------------------------------------------------------------------------------

DIGITS: dict[str, Any] = {
    "parameters": {"optimizer.lr": [0.1], "drop_path": [0.0, 0.3]},
    "epochs": 2,
    "epoch_share": 0.1,
    "concurrent": 2,
}


def digits_result(workers: int, executor: str = "local") -> SearchResult:
    space = get_space("cells")
    size = space.size_model.read({"init_channels": 4, "layers": 3})
    context = SearchContext(
        task=load_task("digits"),
        space=space,
        settings=None,
        supernet_size=size,
        network_size=size,
        engine=Engine(torch.device("cpu")),
        seed=0,
        train=TrainSettings.read({**TRAIN, "batch_size": 64}),
        source=TaskSource("digits"),
        executor=executor,
    )
    architecture = archscout.load_architecture("darts_v2")
    tuning = TuningJob(context, architecture, TuningSettings.read({**DIGITS, "workers": workers}))
    try:
        return finish(tuning)
    finally:
        tuning.close()


def test_processes_give_the_result_of_this_process() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert outcome(digits_result(1)) == outcome(digits_result(2))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_ray_cluster_gives_the_result_of_this_process() -> None:
    ray = pytest.importorskip("ray")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert outcome(digits_result(2, "ray")) == outcome(digits_result(1))
        assert not ray.is_initialized()  # what was started here has ended
    finally:
        torch.set_num_threads(threads)
