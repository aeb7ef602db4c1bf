"""What everything registered must do, as checks that a plug-in's author runs from pytest.

A plug-in names a small case for its space or method, and gets the tests by deriving a class:

    from archscout.testing import MethodCase, MethodConformance, SpaceCase, SpaceConformance

    class TestPerceptrons(SpaceConformance):
        space = "perceptrons"
        case = SpaceCase(size={"layers": 2}, specs=[SPEC], task=small_task)

    class TestWidest(MethodConformance):
        method = "widest"
        case = MethodCase(settings={"tries": 3})
        spaces = {"perceptrons": TestPerceptrons.case}

The cases of archscout's own spaces and methods are in `archscout.testing.cases`: a new method can be tried on the
spaces that are there.
"""

from archscout.testing.cases import METHOD_CASES, SPACE_CASES, MethodCase, SpaceCase
from archscout.testing.suites import MethodConformance, SpaceConformance

__all__ = [
    "METHOD_CASES",
    "SPACE_CASES",
    "MethodCase",
    "MethodConformance",
    "SpaceCase",
    "SpaceConformance",
]
