"""What another process needs to work on the same task and space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from archscout.engine import Engine, Precision
from archscout.parallel import LOCAL, Executor, Workers, default_workers, make_workers
from archscout.spaces.base import SearchSpace, get_space

if TYPE_CHECKING:
    from archscout.methods.base import SearchContext, TaskSource
    from archscout.tasks.task import Task

__all__ = ["WorkerContext", "context_workers"]


@dataclass(frozen=True)
class WorkerContext:
    """Task, space and engine as plain data."""

    source: TaskSource
    space: str
    options: dict[str, Any]
    device: str
    precision: Precision

    @classmethod
    def of(cls, context: SearchContext) -> Self:
        """Of a context whose task can be loaded again."""
        assert context.source is not None
        return cls(
            source=context.source,
            space=context.space.name,
            options=context.space.options.model_dump(mode="json"),
            device=str(context.engine.device),
            precision=context.engine.precision,
        )

    def open(self) -> tuple[Task, SearchSpace, Engine]:
        """The things themselves, in the other process; the task is loaded once."""
        return _task_of(self.source), get_space(self.space, self.options), Engine.create(self.device, self.precision)


@lru_cache(maxsize=1)
def _task_of(source: TaskSource) -> Task:
    return source.load()


def context_workers(context: SearchContext, count: int | None, most: int | None = None) -> Executor:
    """Workers for trainings of a search.

    A task that cannot be loaded by name in another process (one made of arrays in Python) is used in this one; the
    processes of torchrun share each training.

    Args:
        count: as the settings say; None takes one for each core, and one where there is a GPU.
        most: more are of no use.
    """
    if context.source is None or context.engine.world_size > 1:
        return Workers(1)
    on_gpu = context.engine.device.type != "cpu"
    if context.executor != LOCAL:
        return make_workers(context.executor, count or most or default_workers(), gpu=on_gpu)
    wanted = count or (1 if on_gpu else default_workers())
    return Workers(min(wanted, most or wanted))
