"""Evaluating a trained network on another labelled set."""

from __future__ import annotations

from pathlib import Path

from archscout.deployment.card import ModelCard, card_of_task
from archscout.engine import Engine
from archscout.errors import DataError, RunError
from archscout.pipeline.artifacts import load_card, load_network
from archscout.pipeline.insight.explain import Explained
from archscout.pipeline.insight.files import write_insight_files
from archscout.pipeline.insight.labelled import read_labelled
from archscout.pipeline.insight.observe import insight_of_network
from archscout.pipeline.insight.pictures import mistake_views
from archscout.pipeline.insight.verdict import verdict
from archscout.pipeline.run import Run
from archscout.rundir import RunDirectory
from archscout.tasks.options import TaskOptions

__all__ = ["evaluate_on"]


def evaluate_on(
    source: Path | str,
    on: str,
    *,
    options: TaskOptions | None = None,
    data: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> Explained:
    """Evaluate a run or a `model.safetensors` on another labelled set, read as the training data was.

    The run's own result stays as it is.

    Args:
        on: path of the set, in any form that is read for training, or a registered task, of which the test split is
            taken.
        options: how to read it.
        data: folder of a registered task's files.
        out: folder for tables and a contact sheet; None writes nothing.

    Raises:
        RunError: the run has no trained network yet, or the folder cannot be written.
        DataError: the set cannot be read as the training data was, or has no labels that the network knows.
    """
    path = Path(source)
    inherited = None
    notes: tuple[str, ...] = ()
    if path.is_dir():
        directory = RunDirectory(path)
        directory.require()
        if not directory.complete("train"):
            raise RunError(f"{path} has no trained network yet. Next: archscout resume {path}")
        run = Run.open(path)
        inherited, file = run.settings.task_options, path / "model.safetensors"
        own = run.settings.task
        if own is not None and Path(own).exists() and Path(on).resolve() == Path(own).resolve():
            notes = ("this is the data of the run itself: most of these samples were trained on",)
        card = _card_of_run(run, file)
    else:
        file = path
        card = load_card(file)
    network, _ = load_network(file)
    labelled = read_labelled(on, card, options or TaskOptions(), data=data, inherited=inherited)
    task = labelled.task
    engine = Engine.create(device)
    insight, table = insight_of_network(
        network,
        task,
        task.test,
        engine,
        card=card,
        part=Path(on).name,
        names=labelled.names,
        seed=0,
        groups=task.groups.get("test"),
        notes=(*notes, *labelled.notes),
    )
    files = []
    if out is not None:
        mistakes = mistake_views(insight, task, task.test, lambda: network, engine)
        files = write_insight_files(out, f"{path.name} on {Path(on).name}", insight, mistakes, table)
    return Explained(insight, tuple(verdict(insight, task.metric)), tuple(files))


def _card_of_run(run: Run, file: Path) -> ModelCard:
    try:
        return load_card(file)
    except DataError:
        return card_of_task(run.task)
