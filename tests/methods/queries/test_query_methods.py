"""Random search, evolution, REINFORCE and local search by queries; scorers; their settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import ArchscoutError, DataError, DivergedError, SettingsError, SpaceError
from archscout.methods import METHODS, SearchContext, SearchResult
from archscout.methods.base import TaskSource
from archscout.methods.queries.reinforce import ReinforceSettings, reinforce
from archscout.methods.queries.scorers import SharedScorer, TrainedScorer, make_scorer
from archscout.methods.queries.scoring import FunctionScorer, Preparation, TableScorer
from archscout.methods.queries.settings import QuerySettings
from archscout.parallel import Workers
from archscout.spaces import NasBench201Cell, NasBench201Space, get_space
from archscout.spaces.nasbench201 import SPACE_SIZE, NasBench201Size
from archscout.spaces.nasbench201.table import Table
from archscout.state import pack, unpack
from archscout.tasks import Split, Task, load_task
from archscout.tasks.registry import absent_task

SPACE = NasBench201Space()
NAMES = ["random", "evolution", "reinforce", "local"]


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores count the 3 x 3 convolutions, with a little noise; a second data set, and no seconds for it."""
    cells = [NasBench201Cell.from_key(key) for key in range(SPACE_SIZE)]
    score = [10.0 * sum(number == 3 for number in cell.code) + cell.key % 97 / 100 for cell in cells]
    columns = {
        "points_val_acc_12ep": score,
        "points_test_acc_200ep": [value + 1 for value in score],
        "points_seconds_12ep": [2.0] * SPACE_SIZE,
        "other_val_acc_12ep": score,
    }
    path = tmp_path_factory.mktemp("tables") / "points.table"
    Table(list(columns), torch.tensor(list(columns.values()))).write(path)
    return path


def context(method: str, task: Task | None = None, source: TaskSource | None = None, **settings: Any) -> SearchContext:
    size = NasBench201Size(init_channels=4, cells=1)
    return SearchContext(
        task=task or absent_task(None),
        space=SPACE,
        settings=METHODS.get(method).settings.read(settings, where="search"),
        supernet_size=size,
        network_size=size,
        engine=Engine(torch.device("cpu")),
        seed=0,
        source=source,
    )


def make(method: str, **settings: Any) -> Any:
    return METHODS.get(method).stages[0].make(context(method, **settings), None)


def finish(job: Any) -> SearchResult:
    for _ in job.run():
        assert 0 <= job.progress <= 1
    result: SearchResult = job.result()
    return result


@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_to_the_budget_and_repeats(name: str, table_file: Path) -> None:
    settings = {"table": str(table_file), "dataset": "points", "trials": 3, "queries": 50}
    result = finish(make(name, **settings))
    assert result.facts["queries"] == 50
    assert result.facts["distinct"] <= 50
    assert result.facts["report"] == "points_test_acc_200ep"
    assert result.facts["mean"] == pytest.approx(result.facts["score_mean"] + 1, abs=1e-4)
    assert result.facts["seconds"] == 100
    assert finish(make(name, **settings)).facts == result.facts


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_search_goes_on(name: str, table_file: Path) -> None:
    settings = {"table": str(table_file), "dataset": "points", "trials": 2, "queries": 70}
    whole, first, second = (make(name, **settings) for _ in range(3))
    for _ in range(2):
        next(first.run())
    tree, tensors = pack(first.state_dict())
    second.load_state_dict(unpack(tree, tensors))
    assert finish(second).facts == finish(whole).facts


def test_methods_that_learn_beat_random_search(table_file: Path) -> None:
    settings: dict[str, Any] = {"table": str(table_file), "dataset": "points", "trials": 20, "queries": 60}
    random = finish(make("random", **settings)).facts["mean"]
    assert finish(make("evolution", **settings)).facts["mean"] > random
    assert finish(make("local", **settings)).facts["mean"] > random
    assert finish(make("reinforce", lr=0.1, **settings)).facts["mean"] > random


def test_local_search_only_moves_to_better_neighbours(table_file: Path) -> None:
    result = finish(make("local", table=str(table_file), dataset="points", queries=SPACE_SIZE // 20))
    assert result.candidates[0].score > 60
    assert result.facts["distinct"] <= SPACE_SIZE // 20


def test_reinforce_follows_the_gradient_of_its_objective() -> None:
    trial = reinforce(SPACE, ReinforceSettings(lr=0.1, samples=4), Random(0))
    asked, shares = next(trial), []
    for _ in range(60):
        scores = [float(sum(number == 3 for number in cell.code)) for cell in cast(Any, asked)]
        shares.append(sum(scores) / len(scores) / 6)
        asked = trial.send(scores)
    assert sum(shares[:10]) / 10 < 0.4
    assert sum(shares[-10:]) / 10 > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_limits_hold(name: str) -> None:
    class Never:
        def __call__(self, architecture: Any) -> bool:
            return False

    job = make(name, score="train", queries=5, candidate={"workers": 1})
    job.scorer, job._admit = FunctionScorer(lambda some: [1.0]), Never()
    with pytest.raises(SpaceError, match="keeps the limits"):
        finish(job)


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"score": "val_acc_12e"}, DataError, "Closest: points_val_acc_12ep"),
        ({"report": "points_test_acc_20ep"}, DataError, "points_test_acc_200ep"),
        ({"dataset": "point"}, DataError, "no data set 'point'. It has: points"),
        ({"score": "train"}, SettingsError, "Leave out one"),
        ({"dataset": "other", "seconds": 5.0}, SettingsError, "search.seconds"),
        ({"table": None, "score": "points_val_acc_12ep"}, SettingsError, "--table FILE"),
        ({"table": "absent.table"}, DataError, "does not exist"),
    ],
)
def test_wrong_scores_are_named(
    table_file: Path, settings: dict[str, Any], error: type[ArchscoutError], says: str
) -> None:
    read = {"table": str(table_file), "dataset": "points", **settings}
    with pytest.raises(error, match=says):
        make_scorer(context("local", **read))


def test_a_table_belongs_to_its_space(table_file: Path) -> None:
    settings = QuerySettings(table=str(table_file), dataset="points")
    with pytest.raises(SettingsError, match="--space nasbench201"):
        settings.check_space(get_space("cells"))


def test_columns_are_chosen_by_default(table_file: Path) -> None:
    found = make_scorer(context("local", table=str(table_file), dataset="points"))
    assert (found.name, found.report_name) == ("points_val_acc_12ep", "points_test_acc_200ep")
    found = make_scorer(context("local", table=str(table_file), dataset="other"))
    assert (found.name, found.report_name) == ("other_val_acc_12ep", None)


# -- scorers -----------------------------------------------------------------------------------------------------


def test_a_table_answers_codes_and_cells_alike(table_file: Path) -> None:
    scorer = TableScorer(Table.open(table_file), "points_val_acc_12ep", None)
    cells = [SPACE.random(Random(seed)) for seed in range(20)]
    values, seconds = scorer.score_codes(torch.tensor([cell.code for cell in cells]))
    assert scorer.score(cells) == (values.tolist(), seconds.tolist())


def test_a_score_that_is_not_finite_is_an_error() -> None:
    scorer = FunctionScorer(lambda architectures: [float("nan")] * len(architectures))
    with pytest.raises(DivergedError, match=r"score of an architecture is nan.*nasbench201_cell"):
        scorer.score([SPACE.random(Random(0))])


def test_known_scores_survive_a_restart() -> None:
    calls: list[int] = []

    def score(architectures: Sequence[Any]) -> list[float]:
        calls.append(len(architectures))
        return [1.0] * len(architectures)

    cell = SPACE.random(Random(0))
    first = FunctionScorer(score)
    first.score([cell, cell])
    second = FunctionScorer(score)
    second.load_state_dict(first.state_dict())
    assert second.score([cell]).values == [1.0]
    assert calls == [1]


def small_digits() -> Task:
    task = load_task("digits")
    parts = {name: Split(task.split(name).source, task.split(name).indices[:60]) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def test_shared_weights_score_after_their_training() -> None:
    shared = {"epochs": 1, "child": {"batch_size": 20}}
    scorer = make_scorer(context("local", small_digits(), score="shared", shared=shared))
    assert isinstance(scorer, SharedScorer)
    assert isinstance(scorer, Preparation)
    while scorer.prepared < 1:
        scorer.prepare()
    cells = [SPACE.random(Random(seed)) for seed in range(3)]
    values = scorer.score(cells).values
    assert all(0 <= value <= 100 for value in values)
    again = make_scorer(context("local", small_digits(), score="shared", shared=shared))
    tree, tensors = pack(scorer.state_dict())
    again.load_state_dict(unpack(tree, tensors))
    again._known = {}  # type: ignore[attr-defined]
    assert again.score(cells).values == values


def test_candidates_are_trained_alike_in_this_process_and_in_others() -> None:
    short = {"train": {"epochs": 1, "batch_size": 256}}
    cells = [SPACE.random(Random(seed)) for seed in range(2)]
    source, task = TaskSource("digits"), load_task("digits")
    scores = []
    for workers in (1, 2):
        candidate = {**short, "workers": workers}
        scorer = make_scorer(context("local", task, source, score="train", candidate=candidate))
        assert isinstance(scorer, TrainedScorer)
        assert isinstance(scorer.workers, Workers)
        assert scorer.workers.count == workers
        scorer.workers._threads = 1
        scores.append(scorer.score(cells).values)
        scorer.close()
    assert scores[0] == scores[1]
    assert max(scores[0]) > 5


def test_a_task_of_ones_own_is_trained_in_this_process() -> None:
    scorer = make_scorer(context("local", small_digits(), score="train", candidate={"workers": 4}))
    assert isinstance(scorer, TrainedScorer)
    assert scorer.workers.here
