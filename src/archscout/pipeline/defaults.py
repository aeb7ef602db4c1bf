"""Which search a task gets where its user names none: one that serves its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.errors import SpaceError
from archscout.pipeline.config import DEFAULT_METHOD, DEFAULT_SPACE, RunSettings, resolve_settings
from archscout.spaces import get_space
from archscout.tasks import Task, load_task, task_spec
from archscout.tasks.registry import is_registered
from archscout.tasks.spec import TaskSpec

__all__ = ["default_search", "resolve_for_task"]


def default_search(spec: TaskSpec) -> tuple[str, str | None]:
    """Method and space for a task; the space is None where the method's recipes choose it.

    Images: EDNAS over DARTS cells. Texts: EDNAS over recurrent cells. What cells do not serve, series and maps with a
    target at every position: DASH, which fits the kernels of a backbone.
    """
    if spec.is_text:
        return DEFAULT_METHOD, "recurrent"
    try:
        get_space(DEFAULT_SPACE, None).check(spec)
    except SpaceError:
        return "dash", None
    return DEFAULT_METHOD, None


def resolve_for_task(
    task: str | None,
    *,
    given: Task | None = None,
    method: str | None = None,
    base: str | None = None,
    recipe: str | None = None,
    values: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> tuple[RunSettings, Task | None]:
    """`resolve_settings`; where neither method nor recipe, space or architecture was named, those that fit the task.

    Args:
        task: as a run keeps it; None for a search by table.
        given: a task object of the caller's own.
        method, base, recipe, values, overrides: as for `resolve_settings`.

    Returns:
        The settings, and the task where it had to be loaded to choose: reading it twice may take long.
    """

    def resolve(method: str | None, more: Mapping[str, Any]) -> RunSettings:
        return resolve_settings(
            task, method=method, base=base, recipe=recipe, values={**(values or {}), **more}, overrides=overrides
        )

    is_free = method is None and recipe is None and base is None and (values or {}).get("space") is None
    if task is None or not is_free or any(text.startswith(("method=", "space=")) for text in overrides):
        return resolve(method, {}), None
    # The options of the task may be among the overrides, whose other keys belong to a method that is not known yet.
    ours = [text for text in overrides if _is_of_task(text)]
    options = resolve_settings(task, values={**(values or {}), "search": {}}, overrides=ours)
    data = None if options.data is None else Path(options.data)
    loaded = None
    if given is not None:
        spec = given.spec
    elif is_registered(task):
        spec = task_spec(task, data, options.task_options)
    else:
        loaded = load_task(task, data, options.task_options)
        spec = loaded.spec
    chosen, space = default_search(spec)
    return resolve(chosen, {} if space is None else {"space": space}), loaded


def _is_of_task(override: str) -> bool:
    """Whether an override is one of the options of the task, named in full or in short."""
    from archscout.tasks.options import TaskOptions

    key = override.partition("=")[0].strip()
    return key.startswith("task_options.") or key.split(".")[0] in TaskOptions.model_fields
