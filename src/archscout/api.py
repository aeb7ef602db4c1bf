"""The verbs as functions; the command line calls these.

A task is a registered name, the path of a folder of images or of an `.npz` file, or a `Task` object. Every function
returns the `Run`, whose `model()` is the trained network.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from archscout.driver import Observer
from archscout.errors import ArchitectureError, RunError, SettingsError
from archscout.pipeline.config import ExportSettings, RunSettings, resolve_settings, task_reference
from archscout.pipeline.defaults import resolve_for_task
from archscout.pipeline.ensembles import make_ensemble
from archscout.pipeline.folds import CrossValidation
from archscout.pipeline.insight.explain import Explained, explain_run
from archscout.pipeline.other_data import evaluate_on as judge_on
from archscout.pipeline.released import ImportReport, import_released
from archscout.pipeline.run import Run
from archscout.pipeline.summary import report_html
from archscout.rundir import FOLDS, RunDirectory
from archscout.settings import apply_overrides
from archscout.spaces import PerCellGenotype
from archscout.spaces.architecture import Architecture
from archscout.spaces.cells.derivation import derive as derive_genotype
from archscout.spaces.cells.distance import distance as architecture_distance
from archscout.tasks.options import options_with
from archscout.tasks.registry import named_task
from archscout.tasks.task import Task
from archscout.zoo import resolve_architecture

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "cross_validate",
    "derive",
    "distance",
    "ensemble",
    "evaluate",
    "evaluate_on",
    "explain",
    "export",
    "generate",
    "import_weights",
    "load_architecture",
    "load_run",
    "report",
    "resume",
    "resume_folds",
    "run",
    "search",
    "train",
]


def run(
    task: str | Task | None = None,
    *,
    method: str | None = None,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    observers: Sequence[Observer] = (),
    until: str | None = None,
    search_only: bool = False,
    architecture: Architecture | str | Path | None = None,
    model: nn.Module | None = None,
    keep: Sequence[str] = (),
) -> Run:
    """Search, train, evaluate, export and report.

    Args:
        task: what to learn; None for a search by table.
        method: as in `archscout list methods`; None leaves it to the recipe; where nothing is named, one that serves
            the task, see `archscout.pipeline.defaults.default_search`.
        recipe: a name as in `archscout list recipes`, or a YAML file.
        overrides: settings as `section.key=value`.
        values: top-level settings: `seed`, `device`, `data`, `space`, ...
        out: the run directory; an existing one with the same settings goes on. None makes a new one under `runs/`.
        observers: who watches.
        until: the last stage to run.
        search_only: run the stages before the final training only; `until` is then left alone.
        architecture: to start from, for methods that change one (`dash`): an object, a name from the zoo, a file.
        model: a network of your own to start from, which is copied; the space is then `module`, the method `dash`
            unless another is named. It is needed again for `resume`, `load_run` and `load_network`.
        keep: shell patterns of the model's layers that stay as they are, for example `("stem.*",)`.

    Raises:
        ArchscoutError: bad input; nothing was started.
        StoppedError: by a signal or the time limit; `resume` goes on.
    """
    given = task if isinstance(task, Task) else None
    name = None if given is None else given.name
    if isinstance(task, str):
        name = task_reference(named_task(task, (values or {}).get("data")))
    given_values = {key: value for key, value in (values or {}).items() if value is not None}
    values, method = _with_model(given_values, method, model, keep)
    base = None if architecture is None else load_architecture(architecture)
    if base is not None:
        values = {**(values or {}), "space": base.space}
    settings, loaded = resolve_for_task(
        name,
        given=given,
        method=method,
        base=_label(architecture),
        recipe=recipe,
        values=values,
        overrides=overrides,
    )
    _check_one_fold(settings)
    label = name or settings.search.dataset or Path(settings.search.table).stem
    path = Path(out) if out is not None else _free_folder(f"{Path(label).stem}-{settings.method}")
    started = Run.start(
        path,
        settings,
        command=_command(),
        architecture=base,
        task=given,
        model=model,
        observers=observers,
        loaded=loaded,
    )
    return started.proceed(started.search_stages()[-1].name if search_only else until)


def cross_validate(
    task: str,
    *,
    folds: int,
    method: str | None = None,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    observers: Sequence[Observer] = (),
    until: str | None = None,
    architecture: Architecture | str | Path | None = None,
    model: nn.Module | None = None,
    keep: Sequence[str] = (),
) -> CrossValidation:
    """A whole `run` for each of k folds of small data, each tested on its own fold; with mean and spread of the tests.

    Args:
        task: a path of data without a test split of its own; its options, groups and order among them, are in
            `values["task_options"]`.
        folds: how many, from 2.
        method, recipe, overrides, values, out, observers, until, architecture, model, keep: as for `run`.

    Returns:
        The cross-validation: `.result`, `.runs()`, the folder `.directory.path` with `fold-1`, `fold-2`, ...

    Raises:
        ArchscoutError: bad input; nothing was started.
        StoppedError: by a signal or the time limit; `resume_folds` goes on.
    """
    if not isinstance(task, str):
        raise SettingsError(
            "folds are made while data is read; give its path. For a Task of your own make one for each fold: "
            "Task.from_arrays(..., folds=5, fold=1)"
        )
    task = task_reference(named_task(task, (values or {}).get("data")))
    given = {key: value for key, value in (values or {}).items() if value is not None}
    given["task_options"] = {**given.get("task_options", {}), "folds": folds}
    given, method = _with_model(given, method, model, keep)
    base = None if architecture is None else load_architecture(architecture)
    if base is not None:
        given["space"] = base.space
    settings, _ = resolve_for_task(
        task, method=method, base=_label(architecture), recipe=recipe, values=given, overrides=overrides
    )
    path = Path(out) if out is not None else _free_folder(f"{Path(task).stem}-{settings.method}-{folds}-folds")
    started = CrossValidation.start(
        path, settings, command=_command(), architecture=base, model=model, observers=observers
    )
    return started.proceed(until)


def resume_folds(
    path: Path | str,
    *,
    until: str | None = None,
    observers: Sequence[Observer] = (),
    task: str | Path | None = None,
    model: nn.Module | None = None,
    accept_data_change: bool = False,
) -> CrossValidation:
    """Go on with a cross-validation where it was: with the fold that was stopped, then with the next ones.

    `task`, the path where the data is now, `model` and `accept_data_change` are as for `resume`.
    """
    opened = CrossValidation.open(path, task=task, model=model, observers=observers, accepts_change=accept_data_change)
    return opened.proceed(until)


def _with_model(
    values: dict[str, Any], method: str | None, model: nn.Module | None, keep: Sequence[str]
) -> tuple[dict[str, Any], str | None]:
    """Values and method of a run about a network of the user's own; of others as they are."""
    if model is not None:
        options = {"space_options": {"keep": list(keep)}} if keep else {}
        return {"space": "module", **options, **values}, method or "dash"
    if keep:
        raise SettingsError("keep names layers of a model of your own; give model=... with it.")
    return values, method


def search(task: str | Task | None = None, **options: Any) -> Run:
    """The search stages of `run`, with its options."""
    return run(task, **options, search_only=True)


def train(
    architecture: Architecture | str | Path,
    *,
    task: str | Task,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    observers: Sequence[Observer] = (),
    until: str | None = "train",
    model: nn.Module | None = None,
) -> Run:
    """Train a given architecture on a task, without a search.

    Args:
        architecture: an object, a name from the zoo, a file, or published text.
        task, recipe, overrides, values, out, observers: as for `run`.
        until: the last stage to run; None goes on to the report.
        model: the network of your own that the architecture, a pattern of kernels, belongs to.
    """
    found = load_architecture(architecture)
    data = (values or {}).get("data")
    name = task_reference(named_task(task, data)) if isinstance(task, str) else task.name
    label = cast(str, _label(architecture))
    settings = resolve_settings(
        name, architecture=label, recipe=recipe, values={**(values or {}), "space": found.space}, overrides=overrides
    )
    _check_one_fold(settings)
    path = Path(out) if out is not None else _free_folder(f"{Path(name).stem}-{Path(label).stem[:40]}")
    given = None if isinstance(task, str) else task
    started = Run.start(
        path, settings, command=_command(), architecture=found, task=given, model=model, observers=observers
    )
    return started.proceed(until)


def resume(
    path: Path | str,
    *,
    until: str | None = None,
    executor: str | None = None,
    observers: Sequence[Observer] = (),
    task: Task | str | Path | None = None,
    model: nn.Module | None = None,
    accept_data_change: bool = False,
) -> Run:
    """Go on with a run where it was, up to a stage.

    Args:
        until: the last stage to run; None: all.
        executor: another one may take over the run's independent trainings.
        observers: who watches.
        task: an object of your own, where the run was started with one; or the path where its data is now.
        model: of your own, where the run was started with one.
        accept_data_change: where the data differs from what the run was started with, start the stages again that
            depend on it; else this is refused.
    """
    run = Run.open(
        path, task=task, model=model, observers=observers, executor=executor, accepts_change=accept_data_change
    )
    return run.proceed(until)


def evaluate(path: Path | str, *, observers: Sequence[Observer] = (), task: Task | str | Path | None = None) -> Run:
    """Evaluate a trained run on the test split; a second call reads the first result. `task` as for `resume`."""
    return resume(path, until="evaluate", observers=observers, task=task)


def explain(
    path: Path | str,
    *,
    out: Path | str | None = None,
    calibrate: bool = False,
    thresholds: bool = False,
    task: Task | str | Path | None = None,
) -> Explained:
    """Say where the network of an evaluated run fails, and write tables and a contact sheet.

    Args:
        out: folder of the files; default: `insight/` in the run.
        calibrate: fit a temperature on the validation split, and write it into the model file.
        thresholds: of several labels at once: choose each label's threshold there, too.
        task: as for `resume`.

    Raises:
        RunError: the run is not evaluated yet.
        SettingsError: there is nothing to calibrate in this kind of task.
    """
    run = Run.open(path, task=task)
    return explain_run(run, None if out is None else Path(out), calibrate=calibrate, thresholds=thresholds)


def evaluate_on(
    source: Path | str, on: Path | str, *, out: Path | str | None = None, data: Path | None = None, **options: Any
) -> Explained:
    """Evaluate a run or a `model.safetensors` on another labelled set, read as the training data was.

    The run's own result stays as it is.

    Args:
        on: the set, in any form that is read for training, used whole; of a registered task the test split.
        out: folder for tables and a contact sheet; None writes nothing.
        data: folder of a registered task's files.
        options: how to read the set, fields of `TaskOptions`.

    Raises:
        RunError: the run has no trained network yet.
        DataError: the set cannot be read as the training data was, or has no labels that the network knows.
    """
    read = options_with(None, options)
    return judge_on(source, str(on), options=read, data=data, out=None if out is None else Path(out))


def export(
    path: Path | str,
    *,
    formats: Sequence[str] | str | None = None,
    raw: bool | None = None,
    int8: bool | None = None,
    target: str | None = None,
    overrides: Sequence[str] = (),
    observers: Sequence[Observer] = (),
    task: Task | str | Path | None = None,
    model: nn.Module | None = None,
) -> Run:
    """Export a trained run, each file compared with the network. `task` and `model` as for `resume`.

    What is not given is as in the run's settings. Files of an earlier export stay unless they are written anew.

    Args:
        formats: `onnx`, `torch` (or `pt2`), `openvino`, `executorch` (or `pte`).
        raw: the network alone, without preprocessing and decoding.
        int8: also in 8 bit integers; see `archscout.deployment.int8`.
        target: device whose limits are compared with what the network takes.
        overrides: further settings, as `export.int8_tolerance=0.02` or without the section.

    Raises:
        ExportError: a file cannot be written, or the network in int8 is not good enough.
        SettingsError, UnknownNameError: a setting is wrong.
    """
    opened = Run.open(path, task=task, model=model, observers=observers)
    given = {"formats": formats, "raw": raw, "int8": int8, "target": target}
    values = {**opened.settings.export.model_dump(), **{key: each for key, each in given.items() if each is not None}}
    values = apply_overrides(values, [text.removeprefix("export.") for text in overrides])
    return opened.export(ExportSettings.read(values, where="export"))


def ensemble(
    paths: Sequence[Path | str],
    out: Path | str,
    *,
    formats: Sequence[str] | str = ("onnx", "torch"),
    raw: bool = False,
    task: Task | str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Average trained runs on the same data: one model file, one card, one file for each format, in `out`.

    The folder and its `model.safetensors` are taken wherever a network is: `archscout.load(out)`.

    Args:
        paths: two or more run directories.
        out: a new or an empty folder.
        formats, raw: as for `export`.
        task: as for `resume`.
        say: told what was done, line by line.

    Returns:
        Metrics on validation and test split, size, members: the content of `result.json`.

    Raises:
        RunError: a run is not trained, the runs are on different data, or the folder is taken.
        DataError: the networks do not take and give the same.
    """
    settings = ExportSettings.read({"formats": formats, "raw": raw}, where="export")
    return make_ensemble([Path(path) for path in paths], Path(out), export=settings, task=task, say=say)


def report(path: Path | str, *, compare: Sequence[Path | str] = (), task: Task | str | Path | None = None) -> Path:
    """Write the report of a run or a cross-validation anew, beside other runs, and return its path.

    `task` as for `resume`.
    """
    if RunDirectory(path).has(FOLDS):
        if compare:
            raise RunError(
                f"{path} is a cross-validation; compare the runs of single folds, {Path(path) / 'fold-1'} say."
            )
        if isinstance(task, Task):
            raise RunError(f"{path} is a cross-validation, which reads its data; task is the path where it is now.")
        folds = CrossValidation.open(path, task=task)
        with folds.directory.hold():
            folds.write_summary()
        if not folds.directory.has("report.html"):
            raise RunError(f"no fold of {path} was evaluated yet. Next: archscout resume {path}")
        return folds.directory.path / "report.html"
    opened = Run.open(path, task=task)
    others = [Run.open(other) for other in compare]
    with opened.directory.hold():
        if opened.settings.task is not None:
            opened.note_data()
        return opened.directory.write("report.html", report_html(opened, others))


def generate(path: Path | str, prompt: str = "", *, words: int = 100, temperature: float = 1.0, seed: int = 0) -> str:
    """Text that a trained language model writes after a prompt.

    Args:
        prompt: words between blanks; a line ends with a line break.
        words: how many to write.
        temperature: below 1 the likely words become likelier, above 1 less so.
        seed: of the draws.

    Raises:
        RunError: the run has no trained language model.
        SettingsError: a number is out of range.
    """
    from archscout.training.generation import generate_text

    opened = Run.open(path)
    if not opened.directory.has("vocabulary.txt"):
        raise RunError(f"{path} has no trained language model; only runs on texts can write: archscout list tasks")
    vocabulary = opened.directory.read("vocabulary.txt").removesuffix("\n").split("\n")
    return generate_text(opened.model(), vocabulary, prompt, words=words, temperature=temperature, seed=seed)


def load_run(path: Path | str, *, task: Task | None = None, model: nn.Module | None = None) -> Run:
    """An existing run: `.architecture`, `.model()`, `.result`, `.metrics(stage)`, `.candidates()`.

    `task` and `model` are those of your own that it was started with.
    """
    return Run.open(path, task=task, model=model)


def load_architecture(source: Architecture | str | Path) -> Architecture:
    """An architecture from a name of the zoo, a file, a run directory, or published text."""
    if isinstance(source, Architecture):
        return source
    folder = Path(source)
    try:
        is_run = (folder / "architecture.json").is_file()
    except OSError:  # a long published text is no path
        is_run = False
    found = resolve_architecture(str(folder / "architecture.json") if is_run else str(source))
    if not isinstance(found, Architecture):
        raise ArchitectureError(f"'{source}' is no architecture.")
    return found


def derive(architecture: Architecture | str | Path, layers: int) -> PerCellGenotype:
    """The network of another depth, of cells that were searched one by one; see `archscout.spaces.cells.derivation`."""
    return derive_genotype(load_architecture(architecture), layers)


def distance(first: Architecture | str | Path, second: Architecture | str | Path) -> float:
    """How far two architectures are apart, from 0 to 1; see `archscout.spaces.cells.distance`."""
    return architecture_distance(load_architecture(first), load_architecture(second))


def import_weights(
    file: Path | str,
    architecture: Architecture | str | Path,
    *,
    out: Path | str = "model.safetensors",
    task: str | None = None,
    init_channels: int | None = None,
    layers: int | None = None,
    data: Path | None = None,
    entry: str | None = None,
) -> ImportReport:
    """Write a released checkpoint of the DARTS family as a model file; see `archscout.pipeline.released`."""
    found = load_architecture(architecture)
    return import_released(
        Path(file), found, Path(out), task=task, init_channels=init_channels, layers=layers, data=data, entry=entry
    )


def _check_one_fold(settings: RunSettings) -> None:
    """Raise SettingsError where folds were asked for of one run."""
    options = settings.task_options
    if options.folds is not None and options.fold is None:
        raise SettingsError(
            f"folds = {options.folds}, but one run has one test fold: name it, --set fold=1, or run them all: "
            f"archscout run ... --folds {options.folds} (in Python: archscout.cross_validate)."
        )


def _label(architecture: Architecture | str | Path | None) -> str | None:
    """What a run's settings call an architecture that was given."""
    if architecture is None:
        return None
    return "given" if isinstance(architecture, Architecture) else str(architecture)


def _free_folder(name: str) -> Path:
    """`runs/<name>`, or the first free one of `runs/<name>-2`, `-3`, ..."""
    name = re.sub(r"[:=,/]+", "-", name)  # of ucr:GunPoint, say
    number = 1
    while True:
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return path
        number += 1


def _command() -> str:
    """The command as typed, for the record."""
    program = Path(sys.argv[0])
    is_ours = program.name == "archscout" or program.parts[-2:] == ("archscout", "__main__.py")
    return shlex.join(["archscout", *sys.argv[1:]]) if is_ours else "Python"
