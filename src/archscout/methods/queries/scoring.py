"""How good is an architecture? What a method asks, from a table, shared weights, a short training, or any function.

A `Scorer` turns architectures into scores. Methods that move through codes ask a `CodeScorer`; `ByArchitecture` makes
one of any scorer. `make_scorer` reads the settings that all such methods share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from archscout.errors import DivergedError, SettingsError
from archscout.spaces.architecture import Architecture, architecture_to_json
from archscout.spaces.base import LayerCoded

if TYPE_CHECKING:
    from archscout.spaces.nasbench201.table import Table

__all__ = [
    "ByArchitecture",
    "CodeScorer",
    "FunctionScorer",
    "Preparation",
    "Scored",
    "Scorer",
    "TableScorer",
    "as_codes",
    "check_seconds",
]


class Scored(NamedTuple):
    """Scores, higher is better, and what each would have cost: seconds of training in the table's books, else 0."""

    values: list[float]
    seconds: list[float]


class Scorer(Protocol):
    """Scores architectures; the same one always gets the same score.

    Attributes:
        quick: many thousand scores take less than a second.
        has_seconds: whether it knows what a query costs.
        name: of what it scores by; `report_name` of what it reports.
    """

    quick: bool
    has_seconds: bool
    name: str
    report_name: str | None

    def score(self, architectures: Sequence[Architecture]) -> Scored:
        """The scores, in order. Raises DivergedError if one is not finite."""
        ...

    def report(self, architectures: Sequence[Architecture]) -> list[float] | None:
        """What to report of chosen architectures where that is something else than their score; the search must
        not see it."""
        ...

    def close(self) -> None:
        """Let go of processes that score; the next score starts them again."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What is worth keeping over a restart."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        ...


@runtime_checkable
class Preparation(Protocol):
    """A scorer that works before its first score, as a job does."""

    @property
    def prepared(self) -> float:
        """The share of that work that is done, from 0 to 1; at 1 it can score."""
        ...

    def prepare(self) -> dict[str, float]:
        """Some seconds of work; gives metrics."""
        ...


@runtime_checkable
class CodeScorer(Protocol):
    """Scores per-layer operation codes."""

    quick: bool

    def score_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and seconds, float32 `(N,)`, of codes `(N, layers)`, on their device."""
        ...


class TableScorer:
    """Looks scores up.

    Args:
        table: of the space.
        score: the column that the search may see.
        report: the column that is reported of what was found; None reports the score.
    """

    quick = True

    def __init__(self, table: Table, score: str, report: str | None) -> None:
        self._values = table.column(score)
        seconds = table.seconds(score)
        self.has_seconds = seconds is not None
        self._seconds = torch.zeros_like(self._values) if seconds is None else seconds
        self._report = None if report is None else table.column(report)
        self.name, self.report_name = score, report
        self._lists = self._values.tolist(), self._seconds.tolist()

    def score(self, architectures: Sequence[Any]) -> Scored:
        """Of cells."""
        values, seconds = self._lists
        keys = [cell.key for cell in architectures]
        return Scored([values[key] for key in keys], [seconds[key] for key in keys])

    def score_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Of codes, all at once."""
        from archscout.spaces.nasbench201.table import keys_of

        if self._values.device != codes.device:
            self._values, self._seconds = self._values.to(codes.device), self._seconds.to(codes.device)
        keys = keys_of(codes)
        return self._values[keys], self._seconds[keys]

    def report(self, architectures: Sequence[Any]) -> list[float] | None:
        """The reported column, if there is one."""
        if self._report is None:
            return None
        return [float(self._report[cell.key]) for cell in architectures]

    def close(self) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class FunctionScorer:
    """Any function from architectures to scores: a predictor, for example. Every architecture is scored once.

    Args:
        function: gives the scores of distinct architectures.
        name, quick: as for `Scorer`.
    """

    report_name: str | None = None
    has_seconds = False

    def __init__(
        self,
        function: Callable[[Sequence[Architecture]], Sequence[float]],
        *,
        name: str = "function",
        quick: bool = False,
    ) -> None:
        self._function, self.name = function, name
        self.quick = quick
        self._known: dict[Architecture, float] = {}

    def score(self, architectures: Sequence[Architecture]) -> Scored:
        """The known scores, and those of the function for the rest."""
        new = list(dict.fromkeys(each for each in architectures if each not in self._known))
        if new:
            values = [float(value) for value in self._function(new)]
            for architecture, value in zip(new, values, strict=True):
                if not math.isfinite(value):
                    text = " ".join(architecture_to_json(architecture).split())
                    raise DivergedError(
                        f"the score of an architecture is {value}: {text}. Every score must be finite; a lower "
                        "learning rate helps where a training diverged."
                    )
                self._known[architecture] = value
        return Scored([self._known[each] for each in architectures], [0.0] * len(architectures))

    def report(self, architectures: Sequence[Architecture]) -> list[float] | None:
        """Nothing beside the score."""
        return None

    def close(self) -> None:
        """Nothing: the function runs in this process."""

    def state_dict(self) -> dict[str, Any]:
        """The known scores."""
        return {"known": [[architecture_to_json(each), value] for each, value in self._known.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with known scores."""
        from archscout.spaces.architecture import architecture_from_json

        self._known = {architecture_from_json(text): float(value) for text, value in state["known"]}


class ByArchitecture:
    """A `CodeScorer` that decodes, and asks a `Scorer`."""

    def __init__(self, space: LayerCoded, scorer: Scorer) -> None:
        self._space, self._scorer = space, scorer
        self.quick = scorer.quick

    def score_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Of codes, through architectures."""
        found = self._scorer.score([self._space.decode(code) for code in codes.tolist()])
        return (
            torch.tensor(found.values, dtype=torch.float32, device=codes.device),
            torch.tensor(found.seconds, dtype=torch.float32, device=codes.device),
        )


def as_codes(space: LayerCoded, scorer: Scorer) -> CodeScorer:
    """The scorer itself if it reads codes, else through architectures."""
    return scorer if isinstance(scorer, CodeScorer) else ByArchitecture(space, scorer)


def check_seconds(scorer: Scorer | None) -> None:
    """Raise SettingsError if a search cannot be bounded by simulated seconds."""
    if scorer is None or not scorer.has_seconds:
        raise SettingsError(
            "search.seconds: this score comes without the seconds that a query costs; only a table with a column "
            "<dataset>_seconds_<epochs>ep has them. Use search.queries, or --time-limit for real time."
        )
