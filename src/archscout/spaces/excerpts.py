"""Architectures inside longer texts: where one stands in a log or in a file with several, and which is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from archscout.errors import ArchitectureError, closest

__all__ = ["Excerpt", "choose"]

SHOWN = 12
A = TypeVar("A")


@dataclass(frozen=True)
class Excerpt:
    """A part of a text that is an architecture.

    Attributes:
        text: the part.
        line: where it begins, from 1.
        column: where it begins in this line, from 0.
        name: what the text calls it.
    """

    text: str
    line: int
    column: int = 0
    name: str | None = None

    @property
    def label(self) -> str:
        """By what it can be named: its name, or the number of its line."""
        return self.name or str(self.line)


def choose(excerpts: Sequence[Excerpt], noun: str, parse: Callable[[Excerpt], A], name: str | None = None) -> A:
    """The architecture that is meant.

    Args:
        excerpts: at least one, in order. Equal architectures count once.
        noun: what they are, for messages.
        parse: raises ArchitectureError.
        name: its name, or the number of its line; None: there is only one. Of a name that is given twice the last
            counts, as in a program.

    Raises:
        ArchitectureError: there are several and none was named, or there is none of this name.
    """
    if name is not None:
        named = [each for each in excerpts if each.name == name] or [
            each for each in excerpts if str(each.line) == name
        ]
        if named:
            return parse(named[-1])
        near = closest(name, [each.label for each in excerpts])
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ArchitectureError(
            f"there is no {noun} of the name '{name[:80]}' here.{hint} There are: {_labels(excerpts)}."
        )
    different = list({each.text: each for each in excerpts}.values())
    if len(different) == 1:
        return parse(different[0])
    found: dict[object, A | None] = {}
    for each in different:
        try:
            architecture = parse(each)
            found[architecture] = architecture
        except ArchitectureError:  # code that makes one of variables, say
            found[each.text] = None
    if len(found) == 1:
        return parse(different[0])
    labels = _labels(excerpts)
    example = next((each.name for each in excerpts if each.name), f"{excerpts[-1].line} (the last one)")
    raise ArchitectureError(
        f"there are {len(found)} different {noun}s here: {labels}. Name one, or the number of its line, after a colon: "
        f"FILE:{example}"
    )


def _labels(excerpts: Sequence[Excerpt]) -> str:
    labels = list(dict.fromkeys(each.name or f"line {each.line}" for each in excerpts))
    if len(labels) > SHOWN:
        labels = [*labels[: SHOWN - 1], "...", labels[-1]]
    return ", ".join(labels)
