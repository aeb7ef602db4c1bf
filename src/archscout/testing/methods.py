"""What a search method must do. Every check raises AssertionError, and says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import torch

from archscout.engine import Engine
from archscout.errors import SettingsError, SpaceError
from archscout.jobs import Job, Metrics
from archscout.methods.base import METHODS, SearchContext, SearchResult, ShowsArchitecture
from archscout.spaces import SearchSpace, get_space
from archscout.state import pack, unpack
from archscout.testing.cases import MethodCase, SpaceCase
from archscout.viz import draw

__all__ = [
    "case_space",
    "check_repeats",
    "check_resumes",
    "check_searches",
    "check_shows",
    "fits",
    "make_job",
    "run_to_end",
]


def case_space(space: str, case: MethodCase, space_case: SpaceCase) -> SearchSpace:
    """The space with the options that the cases give it."""
    return get_space(space, dict(case.options or space_case.options))


def fits(method: str, space: str, case: MethodCase, space_case: SpaceCase) -> bool:
    """Whether the method can search the space at all."""
    try:
        METHODS.get(method).check_fit(case_space(space, case, space_case), space_case.task())
    except (SpaceError, SettingsError):
        return False
    return True


def make_job(method: str, space: str, case: MethodCase, space_case: SpaceCase) -> Job[SearchResult]:
    """The first job of a small search."""
    entry, made = METHODS.get(method), case_space(space, case, space_case)
    context = SearchContext(
        task=space_case.task(),
        space=made,
        settings=entry.settings_model(type(made)).read(case.settings_on.get(space, case.settings)),
        supernet_size=made.size_model.read(space_case.supernet_size or space_case.size),
        network_size=made.size_model.read(space_case.supernet_size or space_case.size),
        engine=Engine(torch.device("cpu")),
        seed=0,
    )
    before = made.random(Random(0)) if entry.starts_from_architecture else None
    return entry.stages[0].make(context, before)


def run_to_end(job: Job[SearchResult]) -> tuple[list[Metrics], SearchResult]:
    """All metrics and the result; progress rises from 0 to 1."""
    log, progress = [], 0.0
    for metrics in job.run():
        log.append(metrics)
        assert progress <= job.progress <= 1, f"progress goes from {progress} to {job.progress} in step {len(log)}"
        progress = job.progress
    assert job.progress == 1, f"at the end progress is {job.progress}"
    result = job.result()
    assert isinstance(result, SearchResult), f"the result is a {type(result).__name__}, not a SearchResult"
    return log, result


def _state(job: Job[Any]) -> tuple[Any, dict[str, torch.Tensor]]:
    tree, tensors = pack(job.state_dict())
    return tree, {name: tensor.clone() for name, tensor in tensors.items()}


def _same(first: tuple[Any, dict[str, torch.Tensor]], second: tuple[Any, dict[str, torch.Tensor]]) -> bool:
    return first[0] == second[0] and all(torch.equal(tensor, second[1][name]) for name, tensor in first[1].items())


def check_resumes(make: Callable[[], Job[SearchResult]]) -> None:
    """A search that stops after each of its steps, and goes on in a new job, gives the same numbers, bit for bit."""
    log, expected = run_to_end(make())
    job = make()
    stopped: list[Metrics] = []
    while (metrics := next(job.run(), None)) is not None:
        stopped.append(metrics)
        state = unpack(*_state(job))
        job.close()
        job = make()
        job.load_state_dict(state)
        assert len(stopped) <= len(log), f"stopped after every step, the search does not end after {len(log)} steps"
        assert _equal(metrics, log[len(stopped) - 1]), (
            f"step {len(stopped)}: {dict(metrics)} after a stop, {dict(log[len(stopped) - 1])} without"
        )
    found = job.result()
    job.close()
    assert len(stopped) == len(log), (
        f"stopped after every step, the search ends after {len(stopped)} of {len(log)} steps"
    )
    assert found.architecture == expected.architecture, "the resumed search finds another architecture"
    assert [c.score for c in found.candidates] == [c.score for c in expected.candidates], "the scores differ"


def _equal(first: Metrics, second: Metrics) -> bool:
    """Where a number is none, it must be so in both."""
    return first.keys() == second.keys() and all(
        value == second[name] or (value != value and second[name] != second[name]) for name, value in first.items()
    )


def check_repeats(make: Callable[[], Job[SearchResult]]) -> None:
    """The same seed gives the same steps and the same result."""
    first, second = run_to_end(make()), run_to_end(make())
    assert all(_equal(a, b) for a, b in zip(first[0], second[0], strict=True)), "a second run has other metrics"
    assert first[1].architecture == second[1].architecture, "a second run finds another architecture"


def check_searches(make: Callable[[], Job[SearchResult]]) -> None:
    """A search ends with candidates whose scores are finite, best first."""
    log, result = run_to_end(make())
    odd = [name for metrics in log for name, value in metrics.items() if not math.isfinite(value)]
    assert not odd, f"the search logs numbers that are not finite: {', '.join(sorted(set(odd)))}"
    scores = [candidate.score for candidate in result.candidates]
    assert all(math.isfinite(score) for score in scores), f"the scores are {scores}"
    assert scores == sorted(scores, reverse=True), f"the candidates are not best first: {scores}"


def check_shows(make: Callable[[], Job[SearchResult]]) -> bool:
    """Asking for the architecture between steps changes nothing. Returns False where the job does not show any."""
    job = make()
    if not isinstance(job, ShowsArchitecture):
        return False
    next(job.run())
    before = _state(job)
    assert draw(job.architecture()).startswith("<svg"), "the architecture is not drawn as SVG"
    assert _same(before, _state(job)), "asking for the architecture has changed the state of the job"
    return True
