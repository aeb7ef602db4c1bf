"""Tasks from data sets of Hugging Face that are in its cache, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archscout.errors import DataError, MissingExtraError
from archscout.tasks.findings import Finding
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.readers.array_files import FILE_OPTIONS
from archscout.tasks.readers.array_names import part_of_name
from archscout.tasks.readers.parquet import Rows, task_of_rows
from archscout.tasks.registry import register_reader
from archscout.tasks.task import Task

__all__ = ["hugging_face_task"]

PREFIX = "hf:"


@contextmanager
def _offline() -> Iterator[Any]:
    """Hugging Face's `datasets`, kept from asking the network whatever its settings say."""
    asked = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")}
    os.environ.update(dict.fromkeys(asked, "1"))
    try:
        try:
            import datasets
            import huggingface_hub
        except ImportError:
            raise MissingExtraError("datasets", "hub", "reading Hugging Face's data sets") from None
        places = [(datasets.config, "HF_HUB_OFFLINE"), (huggingface_hub.constants, "HF_HUB_OFFLINE")]
        before = [(module, name, getattr(module, name)) for module, name in places if hasattr(module, name)]
        for module, name, _ in before:
            setattr(module, name, True)
        verbosity = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity_error()  # it warns that it did not ask the network
        try:
            yield datasets
        finally:
            datasets.logging.set_verbosity(verbosity)
            for module, name, value in before:
                setattr(module, name, value)
    finally:
        for name, value in asked.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_named(path: Path) -> bool:
    return str(path).startswith(PREFIX)


@register_reader(
    "hugging face", "hf:NAME, a data set in Hugging Face's cache", _is_named, heeds=FILE_OPTIONS, priority=2
)
def hugging_face_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A data set of Hugging Face that is in its cache: hf:ylecun/mnist, hf:OWNER/NAME:CONFIGURATION.

    Nothing is downloaded. The columns are told as in `table_task`.

    Raises:
        DataError: it is not in the cache, has several configurations, or no columns of inputs and targets.
        MissingExtraError: datasets is not installed.
    """
    name, _, configuration = str(path).removeprefix(PREFIX).partition(":")
    if Path(name).exists():
        raise DataError(
            f"{name} is a folder or file here, not a name in Hugging Face's cache; give it without {PREFIX}"
        )
    with _offline() as datasets:
        try:
            found = datasets.load_dataset(name, configuration or None)
        except Exception as error:  # of any kind, from a foreign library that looks for files
            told = " ".join(str(error).split())[:300]
            place = datasets.config.HF_DATASETS_CACHE
            raise DataError(
                f"{PREFIX}{name} cannot be read from Hugging Face's cache in {place} ({type(error).__name__}: {told}). "
                "A configuration stands behind a second colon. archscout downloads nothing: what was never fetched, "
                f"fetch once with python -c \"import datasets; datasets.load_dataset('{name}')\""
            ) from None
    splits: dict[str, list[str]] = {}
    for split in found:
        splits.setdefault(part_of_name(str(split))[0], []).append(str(split))
    findings = [Finding("note", "unread", f"not read: the split {split}.", (split,)) for split in splits.pop("", [])]
    twice = [names for names in splits.values() if len(names) > 1]
    if twice or "train" not in splits:
        raise DataError(f"{PREFIX}{name} has the splits {', '.join(map(str, found))}; one of them must be train.")
    rows = {
        part: Rows(found[names[0]].with_format("arrow")[:], f"{PREFIX}{name}, {names[0]}", Path.cwd(), options.target)
        for part, names in splits.items()
    }
    provenance = {"source": f"{PREFIX}{name}", **({"configuration": configuration} if configuration else {})}
    return task_of_rows(rows, f"{PREFIX}{name}", options, provenance, findings)
