"""Once-for-all search as jobs: supernet, scoring, predictor, search; limits, resume, searchers from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import ArchscoutError, RunError, SettingsError, SpaceError
from archscout.jobs import Job
from archscout.methods import METHODS, Candidate, SearchContext, SearchResult
from archscout.methods.once_for_all import SEARCHERS, Admit, OnceForAllSettings, Scorer, Searcher
from archscout.methods.once_for_all.predictor import (
    AccuracyPredictor,
    PredictorScorer,
    one_hot_codes,
    rank_correlations,
)
from archscout.methods.once_for_all.search import LimitedSearch
from archscout.methods.once_for_all.training import SupernetTraining, soft_cross_entropy
from archscout.methods.shared_weights.judge import JudgeSettings, SubnetJudge
from archscout.methods.shared_weights.path_training import ChildSettings, PathTrainer
from archscout.settings import merge
from archscout.spaces import Architecture, MobileNetConfig, MobileNetSpace
from archscout.spaces.base import SearchSpace
from archscout.spaces.mobilenet import MobileNetOptions, MobileNetSize
from archscout.state import pack, unpack
from archscout.tasks import Split, Task, load_task

SPACE = MobileNetSpace()
SMALL: dict[str, Any] = {
    "supernet": {"epochs": 2, "batch_size": 16, "random_subnets": 1, "optimizer": {"lr": 0.05}},
    "scoring": {"subnets": 8, "calibration_samples": 32, "validation_samples": 32, "batch_size": 16},
    "predictor": {"epochs": 20, "holdout": 0.25},
    "search": {"budget": 30, "verify": 2, "calibration_samples": 32, "validation_samples": 32, "batch_size": 16},
}


def small_digits() -> Task:
    task = load_task("digits")
    parts = {name: task.split(name).subset(torch.arange(48)) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def make_context(
    changes: dict[str, Any] | None = None,
    artifacts: dict[str, Any] | None = None,
    network_width: float = 0.1,
    seed: int = 0,
    space: MobileNetSpace = SPACE,
) -> SearchContext:
    stored = artifacts if artifacts is not None else {}
    return SearchContext(
        task=small_digits(),
        space=space,
        settings=OnceForAllSettings.read(merge(SMALL, changes or {})),
        supernet_size=MobileNetSize(width=0.1, strides=(2, 1, 1, 2, 1, 1)),
        network_size=MobileNetSize(width=network_width, strides=(2, 1, 1, 2, 1, 1)),
        engine=Engine(torch.device("cpu")),
        seed=seed,
        artifact=stored.__getitem__,
    )


def through_disk(state: Any) -> Any:
    return unpack(*pack(state))


def finish(job: Job[Any]) -> SearchResult:
    for _ in job.run():
        assert 0 <= job.progress <= 1
    result = job.result()
    assert isinstance(result, SearchResult)
    return result


def run_stages(
    context: SearchContext, artifacts: dict[str, Any], interrupt: bool = False
) -> dict[str, tuple[SearchResult, list[dict[str, float]]]]:
    """All stages as the pipeline runs them; interrupted ones go on in a new job after every step."""
    results: dict[str, tuple[SearchResult, list[dict[str, float]]]] = {}
    before: Architecture | None = None
    for stage in METHODS.get("once-for-all").stages:
        job, rows = stage.make(context, before), []
        while (metrics := next(job.run(), None)) is not None:
            rows.append(dict(metrics))
            if interrupt:
                state = through_disk(job.state_dict())
                job = stage.make(context, before)
                job.load_state_dict(state)
        result = job.result()
        artifacts[stage.name] = through_disk(result.artifact)
        before = result.architecture
        results[stage.name] = (result, rows)
    return results


@pytest.fixture(scope="module")
def finished() -> tuple[dict[str, Any], dict[str, tuple[SearchResult, list[dict[str, float]]]]]:
    artifacts: dict[str, Any] = {}
    limit = {"search": {"limits": {"max_madds": 262_000}}}
    return artifacts, run_stages(make_context(limit, artifacts), artifacts)


Finished = tuple[dict[str, Any], dict[str, tuple[SearchResult, list[dict[str, float]]]]]


# -- all stages ----------------------------------------------------------------------------------------------------


def test_every_stage_hands_on_what_the_next_one_needs(finished: Finished) -> None:
    artifacts, results = finished
    context = make_context()
    smallest, largest = SPACE.extremes(context.task.spec, MobileNetSize())
    assert results["supernet"][0].architecture == largest
    scored = results["scoring"][0].candidates
    assert len({each.architecture for each in scored}) == 8
    assert {"smallest", "largest", "random"} == {each.origin for each in scored}
    assert [each.score for each in scored] == sorted((each.score for each in scored), reverse=True)
    assert len(artifacts["scoring"]["codes"]) == len(artifacts["scoring"]["scores"]) == 8
    assert artifacts["scoring"]["codes"][:2] == [list(smallest.code), list(largest.code)]
    assert set(artifacts["predictor"]["correlations"]) == {"spearman", "kendall"}
    final = results["search"][0]
    assert len(final.candidates) == 2
    assert final.architecture == final.candidates[0].architecture


def test_the_search_keeps_the_limit(finished: Finished) -> None:
    context = make_context()
    candidates = finished[1]["search"][0].candidates
    assert all(context.cost(each.architecture).madds <= 262_000 for each in candidates)
    _, largest = SPACE.extremes(context.task.spec, MobileNetSize())
    assert context.cost(largest).madds > 262_000


def test_the_result_brings_calibrated_shared_weights_that_score_as_stated(finished: Finished) -> None:
    from archscout.training.evaluation import evaluate_network

    artifacts, results = finished
    context, final = make_context(artifacts=artifacts), results["search"][0]
    assert isinstance(final.architecture, MobileNetConfig)
    network = SPACE.build(final.architecture, context.task.spec, context.network_size)
    assert final.weights is not None
    network.load_state_dict(through_disk(dict(final.weights)))
    judge = SubnetJudge(context, context.settings.search)
    values = evaluate_network(network, context.task, judge._validation, context.engine)
    assert values["accuracy"] == pytest.approx(final.candidates[0].score)


def test_interrupted_stages_end_bit_equal() -> None:
    ends = []
    for interrupt in (False, True):
        artifacts: dict[str, Any] = {}
        changes = {"supernet": {"largest_epochs": 1}, "predictor": {"epochs": 20}}
        results = run_stages(make_context(changes, artifacts), artifacts, interrupt)
        ends.append((artifacts, results))
    plain, resumed = ends
    for name, tensor in plain[0]["supernet"]["network"].items():
        assert torch.equal(tensor, resumed[0]["supernet"]["network"][name]), name
    for name, tensor in plain[0]["predictor"]["predictor"].items():
        assert torch.equal(tensor, resumed[0]["predictor"]["predictor"][name]), name
    for stage in ("scoring", "search"):
        scores = [[(c.architecture, c.score) for c in end[1][stage][0].candidates] for end in ends]
        assert scores[0] == scores[1]


# -- supernet ------------------------------------------------------------------------------------------------------


def test_the_loss_falls() -> None:
    context = make_context({"supernet": {"epochs": 20, "label_smoothing": 0.0}})
    job = SupernetTraining(context, context.settings.supernet)
    losses = [metrics["loss"] for metrics in job.run()]
    # 0.81 to 0.90 over ten seeds: single epochs of three steps on random subnets are too noisy to compare.
    assert sum(losses[10:]) / 10 < 0.95 * sum(losses[:2]) / 2


def networks_of_steps(changes: dict[str, Any]) -> list[list[MobileNetConfig]]:
    context = make_context({"supernet": changes})
    job = SupernetTraining(context, context.settings.supernet)
    seen: list[list[MobileNetConfig]] = []
    step = job.trainer.step

    def spy(architecture: Any) -> Any:
        seen.append(list(architecture))
        return step(architecture)

    job.trainer.step = spy  # type: ignore[method-assign]
    for _ in job.run():
        pass
    return seen


def test_a_sandwich_has_the_largest_the_smallest_and_random_networks() -> None:
    smallest, largest = SPACE.extremes(make_context().task.spec, MobileNetSize())
    steps = networks_of_steps({"random_subnets": 2})
    assert len(steps) == 6
    assert all(step[:2] == [largest, smallest] and len(step) == 4 for step in steps)
    assert len({each for step in steps for each in step[2:]}) == 12


def test_single_steps_run_one_random_network_each() -> None:
    steps = networks_of_steps({"subnets": "single"})
    assert [len(step) for step in steps] == [1] * 6
    assert len({step[0] for step in steps}) == 6


def test_the_largest_network_trains_alone_first_and_channels_are_sorted_after(monkeypatch: pytest.MonkeyPatch) -> None:
    _, largest = SPACE.extremes(make_context().task.spec, MobileNetSize())
    steps = networks_of_steps({"largest_epochs": 1})
    assert steps[:3] == [[largest]] * 3
    assert all(len(step) == 3 for step in steps[3:])
    context = make_context({"supernet": {"largest_epochs": 1}})
    job = SupernetTraining(context, context.settings.supernet)
    next(job.run())
    assert not job.sorted
    calls: list[int] = []
    monkeypatch.setattr(job.trainer, "sort_channels", lambda: calls.append(job.trainer.stream.epoch))
    next(job.run())
    assert calls == [1]


def test_summed_losses_give_the_gradient_of_the_plain_formula() -> None:
    """One step against the same networks' losses, written out and summed before one backward pass."""
    context = make_context({"supernet": {"distillation": 0.5, "label_smoothing": 0.1, "optimizer": {"clip": None}}})
    job, twin = (SupernetTraining(context, context.settings.supernet) for _ in range(2))
    smallest, largest = SPACE.extremes(context.task.spec, context.supernet_size)
    for each in (job, twin):
        each.trainer.network.get_submodule("classifier.dropout").p = 0.0  # type: ignore[assignment]
    job.trainer.step([largest, smallest])
    batch = twin.trainer.stream.next_batch()
    inputs = context.engine.arrange(batch.inputs)
    paths = twin.trainer.paths
    twin.trainer.network.train()
    top = paths(inputs, largest)
    low = paths(inputs, smallest)
    hard = torch.nn.functional.cross_entropy(low, batch.targets, label_smoothing=0.1)
    soft = torch.nn.functional.cross_entropy(low, top.detach().softmax(1))
    loss = torch.nn.functional.cross_entropy(top, batch.targets, label_smoothing=0.1) + 0.5 * hard + 0.5 * soft
    loss.backward()  # type: ignore[no-untyped-call]
    theirs = dict(twin.trainer.network.named_parameters())
    for name, parameter in job.trainer.network.named_parameters():
        expected = theirs[name].grad
        assert (parameter.grad is None) == (expected is None), name
        if expected is not None and parameter.grad is not None:
            assert torch.allclose(parameter.grad, expected, atol=1e-5, rtol=1e-4), name


def test_soft_targets_are_least_at_the_teacher() -> None:
    teacher = torch.tensor([[2.0, 0.0, -1.0]])
    entropy = -(teacher.softmax(1) * teacher.log_softmax(1)).sum()
    assert torch.allclose(soft_cross_entropy(teacher, teacher), entropy)
    assert soft_cross_entropy(torch.zeros(1, 3), teacher) > entropy


@pytest.mark.parametrize("distillation", [0.0, 1.0])
def test_one_network_a_step_learns_with_and_without_a_teacher(distillation: float) -> None:
    context = make_context({"supernet": {"subnets": "single", "distillation": distillation, "epochs": 1}})
    job = SupernetTraining(context, context.settings.supernet)
    before = {name: tensor.clone() for name, tensor in job.trainer.network.state_dict().items()}
    metrics = next(job.run())
    assert metrics["loss"] > 0
    assert any(not torch.equal(before[name], tensor) for name, tensor in job.trainer.network.state_dict().items())


# -- scoring -------------------------------------------------------------------------------------------------------


def test_scores_need_calibration(finished: Finished) -> None:
    """With the supernet's mixed statistics the outputs are others than with the network's own."""
    context = make_context(artifacts=finished[0])
    judge = SubnetJudge(context, context.settings.scoring)
    config = SPACE.random(Random(5))
    mixed = SPACE.extract(judge._supernet, config, context.task.spec, context.supernet_size).eval()
    own = judge.network(config)
    inputs = torch.randn(4, 1, 8, 8)
    with torch.inference_mode():
        assert not torch.allclose(mixed(inputs), own(inputs), atol=1e-3)
        assert torch.equal(judge.network(config)(inputs), own(inputs))
    for name, parameter in own.named_parameters():
        assert torch.equal(parameter, mixed.get_parameter(name)), name


def test_the_ranking_of_other_methods_measures_batch_norms_anew_too() -> None:
    context = make_context()
    trainer = PathTrainer(context, ChildSettings(batch_size=16), epochs=1)
    trainer.train(lambda number: SPACE.random(Random(number)))
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    configs = [SPACE.random(Random(seed)) for seed in range(3)]
    judge = SubnetJudge(context, JudgeSettings(batch_size=16), trainer.network)
    assert trainer.scores(configs, batch_size=16) == [judge.score(each) for each in configs]
    for name, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_stage_without_the_one_before_says_so() -> None:
    context = make_context()
    bare = SearchContext(
        **{
            **{key: getattr(context, key) for key in ("task", "space", "settings", "engine", "seed")},
            "supernet_size": context.supernet_size,
            "network_size": context.network_size,
        }
    )
    with pytest.raises(RunError, match="the stage 'supernet' has left nothing"):
        SubnetJudge(bare, context.settings.scoring)


# -- predictor -----------------------------------------------------------------------------------------------------


def test_the_predictor_has_exactly_the_recorded_parameters() -> None:
    assert sum(parameter.numel() for parameter in AccuracyPredictor().parameters()) == 42_369
    kinds = [type(layer).__name__ for layer in AccuracyPredictor().layers]
    assert kinds == ["Linear", "Dropout", "ReLU", "Linear", "Dropout", "ReLU", "Linear"]


def test_codes_are_one_hot_with_five_more_columns_for_a_resolution() -> None:
    code = SPACE.random(Random(0)).code
    features = one_hot_codes(SPACE.layer_code, [code])
    assert features.shape == (1, 200)
    assert features.view(20, 10).argmax(1).tolist() == list(code)
    assert features.sum() == 20
    searched = MobileNetSpace(MobileNetOptions(search_resolution=True))
    assert one_hot_codes(searched.layer_code, [(*code, 4)]).shape == (1, 205)


def made_up_score(config: MobileNetConfig) -> float:
    """What a supernet's accuracy may look like: each expansion, kernel and depth adds its part."""
    blocks = [block for stage in config.stages for block in stage]
    return 0.4 + sum(0.004 * block.expansion + 0.001 * block.kernel for block in blocks) / 2


def train_predictor(count: int, changes: dict[str, Any] | None = None) -> tuple[Any, dict[str, float]]:
    configs = [SPACE.random(Random(seed)) for seed in range(count)]
    scoring = {"codes": [list(each.code) for each in configs], "scores": [made_up_score(each) for each in configs]}
    settings = {"predictor": {"epochs": 200, "holdout": 0.1, **(changes or {})}}
    context = make_context(settings, {"scoring": scoring})
    job = METHODS.get("once-for-all").stages[2].make(context, configs[0])
    metrics: dict[str, float] = {}
    for each in job.run():
        metrics = dict(each)
    return job.result().artifact, metrics


def test_the_published_recipe_learns_to_rank() -> None:
    artifact, metrics = train_predictor(600)
    assert metrics["spearman"] > 0.9
    assert artifact["correlations"] == {name: metrics[name] for name in ("spearman", "kendall")}
    scorer = PredictorScorer(SPACE, artifact)
    fresh = [SPACE.random(Random(10_000 + seed)) for seed in range(100)]
    predicted = scorer(fresh)
    measured = torch.tensor([made_up_score(each) for each in fresh])
    assert rank_correlations(torch.tensor(predicted), measured)["spearman"] > 0.9
    assert abs(float(torch.tensor(predicted).mean() - measured.mean())) < 0.05
    assert scorer(fresh[:1]) == pytest.approx(predicted[:1], abs=1e-5)
    assert scorer([]) == []


def test_squared_errors_learn_too() -> None:
    assert train_predictor(200, {"loss": "mse", "epochs": 40, "optimizer": {"lr": 0.003}})[1]["held_out_error"] < 0.2


def test_rank_correlations_are_the_known_values() -> None:
    first = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert rank_correlations(first, 10 * first)["kendall"] == pytest.approx(1)
    found = rank_correlations(first, torch.tensor([1.0, 3.0, 2.0, 4.0]))
    assert found == {"spearman": pytest.approx(0.8), "kendall": pytest.approx(2 / 3)}
    assert rank_correlations(first, torch.ones(4)) == {"spearman": 0.0, "kendall": 0.0}
    assert rank_correlations(first[:1], first[:1]) == {"spearman": 0.0, "kendall": 0.0}


def test_too_few_networks_to_learn_from_is_told() -> None:
    with pytest.raises(SettingsError, match=r"predictor.holdout = 0.9 leaves 1 of 8"):
        train_predictor(8, {"holdout": 0.9})


# -- search --------------------------------------------------------------------------------------------------------


def evolution(budget: int) -> Searcher:
    """Regularised evolution, as somebody outside would add it."""

    def search(space: SearchSpace, scorer: Scorer, admit: Admit, smallest: Architecture, seed: int) -> SearchResult:
        draw = Random(seed)
        scores: dict[Architecture, float] = {smallest: scorer([smallest])[0]}
        population: list[Architecture] = [smallest]
        while len(scores) < budget:
            parent = max(draw.sample(population, min(3, len(population))), key=scores.__getitem__)
            child = space.mutate(parent, draw)  # type: ignore[attr-defined]
            if admit(child) and child not in scores:
                scores[child] = scorer([child])[0]
                population = [*population, child][-20:]
        found = [Candidate(each, score, "evolution") for each, score in scores.items()]
        found.sort(key=lambda each: -each.score)
        return SearchResult(found[0].architecture, found)

    return search


@contextmanager
def registered(maker: Callable[[int], Searcher]) -> Iterator[None]:
    SEARCHERS.register("evolution")(maker)
    try:
        yield
    finally:
        SEARCHERS.unregister("evolution")


def best_prediction(searcher: str, finished: Finished, budget: int = 150) -> float:
    limits = {"limits": {"max_madds": 262_000}}
    context = make_context({"search": {"searcher": searcher, "budget": budget, **limits}}, finished[0])
    job = LimitedSearch(context, context.settings.search, inherit_weights=False)
    metrics = next(job.run())
    assert metrics["proposed"] == budget or (searcher == "dsm" and metrics["proposed"] <= budget)  # repeats count
    assert all(context.cost(each.architecture).madds <= 262_000 for each in job._candidates())
    return metrics["predicted"]


def test_a_searcher_from_outside_is_used_and_its_proposals_are_checked(finished: Finished) -> None:
    with registered(evolution):
        evolved = best_prediction("evolution", finished)
        context = make_context({"search": {"searcher": "evolution", "budget": 20}}, finished[0])
        result = finish(LimitedSearch(context, context.settings.search, inherit_weights=False))
    assert evolved >= best_prediction("random", finished) - 0.05
    assert {each.origin for each in result.candidates} == {"evolution"}
    judge = SubnetJudge(context, context.settings.search)
    assert [judge.score(each.architecture) for each in result.candidates] == [each.score for each in result.candidates]
    assert result.weights is None


def test_subspace_mining_finds_better_predictions_than_random_draws_with_the_same_budget(finished: Finished) -> None:
    mined, drawn = (max(best_prediction(name, finished, budget) for budget in (400, 401)) for name in ("dsm", "random"))
    assert mined > drawn


def test_subspace_mining_starts_within_a_limit_that_only_the_smallest_networks_keep(finished: Finished) -> None:
    context = make_context(artifacts=finished[0])
    smallest, _ = SPACE.extremes(context.task.spec, context.network_size)
    limit = round(1.1 * context.cost(smallest).madds)
    assert not any(context.cost(SPACE.random(Random(seed))).madds <= limit for seed in range(100))

    def admit(architecture: Architecture) -> bool:
        return context.cost(architecture).madds <= limit

    scorer = PredictorScorer(SPACE, finished[0]["predictor"])
    found = SEARCHERS.get("dsm")(60)(SPACE, scorer, admit, smallest, 0)
    assert len(found.candidates) > 10
    assert all(admit(each.architecture) for each in found.candidates)
    assert found.candidates[0].architecture == found.architecture


def test_without_checks_the_best_prediction_wins(finished: Finished) -> None:
    context = make_context({"search": {"verify": 0}}, finished[0])
    job = LimitedSearch(context, context.settings.search, inherit_weights=False)
    result = finish(job)
    assert len(result.candidates) == 1
    scorer = PredictorScorer(SPACE, finished[0]["predictor"])
    assert result.candidates[0].score == pytest.approx(scorer([result.architecture])[0], abs=1e-5)


def check(context: SearchContext) -> None:
    method = METHODS.get("once-for-all")
    assert method.check is not None
    method.check(context)


@pytest.mark.parametrize(
    ("changes", "network_width", "message"),
    [
        (
            {"search": {"limits": {"max_madds": 1000}}},
            0.1,
            r"no architecture has at most None parameters and 1000 MAdds.*the smallest has .* MAdds",
        ),
        ({"search": {"limits": {"max_parameters": 10}}}, 0.1, "no architecture has at most 10 parameters"),
        ({}, 0.2, r"sections supernet and network differ.*search.inherit_weights=false"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(
    changes: dict[str, Any], network_width: float, message: str
) -> None:
    with pytest.raises(ArchscoutError, match=message):
        check(make_context(changes, network_width=network_width))


def test_other_sizes_are_fine_without_inherited_weights() -> None:
    check(make_context({"inherit_weights": False}, network_width=0.2))


def test_a_limit_that_no_drawn_architecture_keeps_says_what_to_do() -> None:
    context = make_context()
    smallest, _ = SPACE.extremes(context.task.spec, MobileNetSize())
    searcher = SEARCHERS.get("random")(2)
    with pytest.raises(SpaceError, match=r"none of 400 random architectures keeps search.limits. Raise"):
        searcher(SPACE, lambda many: [0.0] * len(many), lambda each: each == smallest, smallest, 0)


def test_an_unknown_searcher_is_told() -> None:
    with pytest.raises(SettingsError, match=r"search.searcher = 'randon': unknown searcher; allowed: random"):
        OnceForAllSettings.read({"search": {"searcher": "randon"}})


def test_splits_of_a_judge_are_the_same_for_all_stages(finished: Finished) -> None:
    context = make_context(artifacts=finished[0])
    parts: Sequence[Split] = [
        SubnetJudge(context, settings)._validation for settings in (context.settings.scoring, context.settings.search)
    ]
    assert torch.equal(parts[0].indices, parts[1].indices)
