"""What a careful look at data has found: each a sentence with what to do next.

A reader notes what it sees while it reads; `archscout.tasks.checks` looks at every task in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from archscout.errors import DataError

__all__ = ["Finding", "Level", "raise_wrong", "some", "told"]

Level = Literal["wrong", "doubtful", "note"]
MOST_NAMED = {"wrong": 20, "doubtful": 5, "note": 5}  # files in a message; the rest is counted


@dataclass(frozen=True)
class Finding:
    """One thing that was seen in data.

    Attributes:
        level: "wrong" stops a run before it starts, "doubtful" is a warning in log and report, "note" says what was
            done, for example which files were passed over.
        code: one word or two, for programs, for example "duplicates".
        message: what was seen, and what to do.
        names: the files or samples concerned, all of them.
    """

    level: Level
    code: str
    message: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = {"wrong": "wrong: ", "doubtful": "warning: ", "note": "note: "}[self.level]
        return head + self.message


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def told(finding: Finding) -> list[str]:
    """A finding as lines for people: the sentence, then the names of what it concerns."""
    most = MOST_NAMED[finding.level]
    lines = [str(finding), *(f"  {name}" for name in finding.names[:most])]
    more = len(finding.names) - most
    return [*lines, f"  and {more:,} more"] if more > 0 else lines


def raise_wrong(findings: Iterable[Finding]) -> None:
    """Raise one DataError with everything that is wrong; do nothing where nothing is.

    Raises:
        DataError: the messages, one a line, with the names of what they concern.
    """
    wrong = [finding for finding in findings if finding.level == "wrong"]
    if wrong:
        lines = [line for finding in wrong for line in told(finding)]
        raise DataError("\n".join(line.removeprefix("wrong: ") for line in lines))
