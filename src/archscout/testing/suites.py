"""The checks as classes that pytest collects; derive one, and name what it tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from archscout.methods.base import METHODS
from archscout.spaces import SPACES, SearchSpace, get_space
from archscout.testing import methods as checks
from archscout.testing import spaces as space_checks
from archscout.testing.cases import MethodCase, SpaceCase

__all__ = ["MethodConformance", "SpaceConformance"]


class SpaceConformance:
    """Tests of one space.

    Attributes:
        space: its registered name.
        case: what to try it on.
    """

    space: ClassVar[str]
    case: ClassVar[SpaceCase]

    def made(self) -> SearchSpace:
        """The space with its default options."""
        return get_space(self.space)

    def test_it_is_registered_with_a_description(self) -> None:
        entry = SPACES.get(self.space)
        assert entry.name == self.space, f"registered as '{self.space}', it calls itself '{entry.name}'"
        assert (entry.__doc__ or "").strip(), "the class has no docstring, which lists show"

    def test_architectures_round_trip_and_are_drawn(self) -> None:
        space_checks.check_architectures(self.made())

    def test_networks_are_plain_modules(self) -> None:
        made = self.made()
        for spec in self.case.specs:
            space_checks.check_networks(made, spec, made.size_model.read(self.case.size))

    def test_networks_export(self, tmp_path: Path) -> None:
        made = self.made()
        for number, spec in enumerate(self.case.specs):
            space_checks.check_export(made, spec, made.size_model.read(self.case.size), tmp_path / str(number))

    def test_a_wrong_task_is_refused(self) -> None:
        space_checks.check_refusal(self.made())

    def test_the_supernet_agrees_with_itself(self) -> None:
        space_checks.check_supernet(self.made(), self.case)

    def test_the_factorization_translates_both_ways(self) -> None:
        space_checks.check_factorization(self.made())


class MethodConformance:
    """Tests of one method, on every space of `spaces` that it fits.

    Attributes:
        method: its registered name.
        case: settings that make a search take seconds.
        spaces: cases of spaces by their names, for instance `archscout.testing.SPACE_CASES`.
    """

    method: ClassVar[str]
    case: ClassVar[MethodCase]
    spaces: ClassVar[Mapping[str, SpaceCase]]

    def fitting(self) -> Iterator[tuple[str, SpaceCase]]:
        """The spaces that the method can search."""
        for name, case in self.spaces.items():
            if checks.fits(self.method, name, self.case, case):
                yield name, case

    def test_it_is_registered_with_a_description(self) -> None:
        entry = METHODS.get(self.method)
        assert entry.name == self.method, f"registered as '{self.method}', it calls itself '{entry.name}'"
        assert entry.description.strip(), "it has no description, which lists show"

    def test_it_fits_a_space(self) -> None:
        assert list(self.fitting()), f"it fits none of {', '.join(self.spaces)}"

    def test_searches_repeat_and_resume_after_every_step(self) -> None:
        for name, case in self.fitting():
            make = partial(checks.make_job, self.method, name, self.case, case)
            checks.check_repeats(make)
            checks.check_resumes(make)

    def test_other_kinds_of_tasks_are_searched(self) -> None:
        for name, case in self.fitting():
            for task in case.further:
                checks.check_searches(partial(checks.make_job, self.method, name, self.case, replace(case, task=task)))

    def test_showing_the_architecture_changes_nothing(self) -> None:
        for name, case in self.fitting():
            checks.check_shows(partial(checks.make_job, self.method, name, self.case, case))
