"""Everything registered does what `archscout.testing` asks: ours, and a plug-in, tried as its author would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from archscout.methods import METHODS
from archscout.registry import Registry
from archscout.spaces import SPACES, get_space
from archscout.tasks import TaskSpec
from archscout.testing import METHOD_CASES, SPACE_CASES, MethodCase, MethodConformance, SpaceCase, SpaceConformance
from archscout.testing import methods as methods_do
from archscout.testing import spaces as spaces_do
from tests.toys import SPEC, TOY_METHOD, ToySpace, registered_toys, toy_task

PAIRS = [
    (method, space)
    for method, case in METHOD_CASES.items()
    for space, space_case in SPACE_CASES.items()
    if methods_do.fits(method, space, case, space_case)
]
SPECS = [(name, spec) for name, case in SPACE_CASES.items() for spec in case.specs]


def spec_name(value: Any) -> str | None:
    return value.name.replace(" ", "-") if isinstance(value, TaskSpec) else None


def test_every_registered_thing_is_tried_here() -> None:
    # The space of networks of the user's own has none without one; see tests/spaces/kernels/test_module.py.
    assert set(SPACES) - {"module"} == set(SPACE_CASES)
    assert set(METHODS) == set(METHOD_CASES)


@pytest.mark.parametrize("registry", [SPACES, METHODS], ids=lambda registry: registry.noun)
def test_every_entry_has_a_first_line(registry: Registry[Any]) -> None:
    for name, entry in registry.items():
        assert entry.name == name
        assert (entry.__doc__ or "").strip(), name


# -- spaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACE_CASES)
def test_architectures_round_trip_and_are_drawn(name: str) -> None:
    spaces_do.check_architectures(get_space(name))


@pytest.mark.parametrize(("name", "spec"), SPECS, ids=spec_name)
def test_networks_are_plain_modules(name: str, spec: TaskSpec) -> None:
    space = get_space(name)
    spaces_do.check_networks(space, spec, space.size_model.read(SPACE_CASES[name].size))


@pytest.mark.parametrize(("name", "spec"), SPECS, ids=spec_name)
def test_networks_export(name: str, spec: TaskSpec, tmp_path: Path) -> None:
    space = get_space(name)
    spaces_do.check_export(space, spec, space.size_model.read(SPACE_CASES[name].size), tmp_path)


@pytest.mark.parametrize("name", SPACE_CASES)
def test_a_wrong_task_is_refused(name: str) -> None:
    spaces_do.check_refusal(get_space(name))


def test_supernets_agree_with_themselves() -> None:
    have = {name for name, case in SPACE_CASES.items() if spaces_do.check_supernet(get_space(name), case)}
    assert have >= {"cells", "mobilenet", "nasbench201", "recurrent"}


def test_factorizations_translate_both_ways() -> None:
    have = {name for name in SPACE_CASES if spaces_do.check_factorization(get_space(name))}
    assert have >= {"cells", "mobilenet", "nasbench201", "recurrent"}


# -- methods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "space"), PAIRS)
def test_every_method_repeats_and_resumes_after_every_step(method: str, space: str) -> None:
    make = partial(methods_do.make_job, method, space, METHOD_CASES[method], SPACE_CASES[space])
    methods_do.check_repeats(make)
    methods_do.check_resumes(make)


@pytest.mark.parametrize(("method", "space"), [pair for pair in PAIRS if SPACE_CASES[pair[1]].further])
def test_every_method_searches_numbers_in_units_of_their_own(method: str, space: str) -> None:
    case = SPACE_CASES[space]
    for task in case.further:
        make = partial(methods_do.make_job, method, space, METHOD_CASES[method], replace(case, task=task))
        methods_do.check_searches(make)


def test_jobs_that_show_their_architecture_stay_as_they_are() -> None:
    shown = {
        (method, space)
        for method, space in PAIRS
        if methods_do.check_shows(partial(methods_do.make_job, method, space, METHOD_CASES[method], SPACE_CASES[space]))
    }
    assert ("darts", "recurrent") in shown
    assert {"darts", "fairdarts", "pdarts", "ddarts", "dartopti"} <= {method for method, _ in shown}


def test_every_method_fits_some_space() -> None:
    assert {method for method, _ in PAIRS} == set(METHODS)


# -- a plug-in ---------------------------------------------------------------------------------------------------


@pytest.fixture
def toys() -> Iterator[None]:
    with registered_toys():
        yield


@pytest.mark.usefixtures("toys")
class TestToySpace(SpaceConformance):
    space = ToySpace.name
    case = SpaceCase(size={}, specs=(SPEC,), task=lambda: toy_task(Path()))


@pytest.mark.usefixtures("toys")
class TestToyMethod(MethodConformance):
    method = TOY_METHOD.name
    case = MethodCase(settings={})
    spaces: ClassVar = {ToySpace.name: TestToySpace.case, "nasbench201": SPACE_CASES["nasbench201"]}
