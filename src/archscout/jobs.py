"""A job: work that takes long, written as a loop that may stop after every step and go on in another process.

`run` is the loop. It yields after each unit of work, so that whoever drives it can write a checkpoint or stop there.
What the loop depends on are attributes declared as `State[...]`; the base class saves and restores them:

    class Count(Job[int]):
        count: State[int]

        def __init__(self, limit: int) -> None:
            self.count, self.limit = 0, limit

        def run(self) -> Iterator[Metrics]:
            while self.count < self.limit:
                self.count += 1
                yield {"count": self.count}

        def work(self) -> Iterator[tuple[float, float]]:
            yield self.count, self.limit

        def result(self) -> int:
            return self.count

A loop is entered again after a stop: `run` of a job with a restored state must go on as if it had never stopped. It
therefore looks at its state instead of counting in local variables, and does nothing after a `yield` that would be
lost. `archscout.testing` stops and resumes a job at every one of its yields.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeVar, cast, get_origin, runtime_checkable

import torch
from torch import Tensor

from archscout.errors import RunError

__all__ = ["Job", "Metrics", "State", "Stateful", "Stored"]

Metrics = Mapping[str, float]
"""Numbers of one unit of work."""

T = TypeVar("T")
R = TypeVar("R")

State = Annotated[T, "state"]
"""Marks an attribute of a class as a part of its state: `step: State[int]`.

It holds numbers, texts, tensors, lists and dictionaries of them, or something with a state of its own (a network, an
optimiser, a stream of batches, another job).
"""


@runtime_checkable
class Stateful(Protocol):
    """Whatever has a state of its own, in torch's manner."""

    def state_dict(self) -> Any:
        """Tensors and JSON types, nested."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Go on from a saved state."""
        ...


class Stored:
    """A class whose state is declared: the attributes that are annotated with `State`, base classes first.

    A key of the state is the attribute's name, without underscores in front.
    """

    _declared: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = [name for name, annotation in inspect.get_annotations(cls).items() if _marked(annotation)]
        cls._declared = tuple(dict.fromkeys([*cls._declared, *own]))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and JSON types, nested."""
        values = vars(self)
        return {name.lstrip("_"): _saved(values[name]) for name in self._declared}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Raises RunError if it lacks something; what it has beyond is left alone."""
        values = vars(self)
        for name in self._declared:
            key = name.lstrip("_")
            if key not in state:
                raise RunError(
                    f"the checkpoint has no '{key}' of {type(self).__name__}; it has {', '.join(map(str, state))}. It "
                    "was written by another version of archscout or of a plug-in: go on with that one, or start again."
                )
            values[name] = _restored(values[name], state[key])


def _marked(annotation: Any) -> bool:
    """Whether it is `State[...]`; `from __future__ import annotations` leaves texts, which are not resolved."""
    if isinstance(annotation, str):
        return annotation.startswith("State[")
    return get_origin(annotation) is Annotated and "state" in annotation.__metadata__


def _saved(value: Any) -> Any:
    if isinstance(value, Stateful):
        return value.state_dict()
    if isinstance(value, list):
        return [_saved(each) for each in value]
    if isinstance(value, dict):
        return {key: _saved(each) for key, each in value.items()}
    return value


def _restored(now: Any, saved: Any) -> Any:
    """The saved value in place of the present one: tensors stay where they are, and on their device."""
    if isinstance(now, Tensor) and isinstance(saved, Tensor) and now.shape == saved.shape:
        with torch.no_grad():
            return now.copy_(saved)
    if isinstance(now, Stateful):
        now.load_state_dict(saved)
        return now
    if isinstance(now, list) and len(now) == len(saved) and any(isinstance(each, (Tensor, Stateful)) for each in now):
        return [_restored(old, new) for old, new in zip(now, saved, strict=True)]
    return _copied(saved)


def _copied(saved: Any) -> Any:
    """Lists and dictionaries anew, so that going on changes nothing of the state that was handed over."""
    if isinstance(saved, list):
        return [_copied(each) for each in saved]
    if isinstance(saved, dict):
        return {key: _copied(each) for key, each in saved.items()}
    return saved


class Job(Stored, ABC, Generic[R]):
    """Work that can stop after every step. It computes, and does nothing else; see `archscout.driver`."""

    @abstractmethod
    def run(self) -> Iterator[Metrics]:
        """The loop, from where the state stands: yields metrics after each unit of work, some seconds long."""

    @abstractmethod
    def work(self) -> Iterable[tuple[float, float]]:
        """How much of each part is done, and how much there is to do, in a unit that all parts share."""

    @abstractmethod
    def result(self) -> R:
        """The outcome, when `run` has ended."""

    @property
    def progress(self) -> float:
        """The share of the work that is done, from 0 to 1."""
        parts = list(self.work())
        whole = sum(planned for _, planned in parts)
        return min(1.0, sum(done for done, _ in parts) / whole) if whole else 1.0

    def complete(self) -> R:
        """Run to the end, without a driver, and give the outcome."""
        for _ in self.run():
            pass
        return self.result()

    def say(self, text: str) -> None:
        """Tell the user something, a sentence or two; the driver passes it on after the step."""
        vars(self).setdefault("_said", []).append(text)

    def said(self) -> list[str]:
        """What came up since the last call."""
        return cast(list[str], vars(self).pop("_said", []))

    def close(self) -> None:
        """Give up what is held beside memory: processes, connections. Called once the job ended, stopped or failed."""
