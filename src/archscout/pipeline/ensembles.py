"""An ensemble of runs in a folder: one model file, its card, its metrics beside those of its members, its exports."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from archscout.atomic import write_atomic
from archscout.deployment.card import ModelCard
from archscout.deployment.ensemble import Ensemble, card_of_ensemble
from archscout.deployment.export import ExportSubject
from archscout.deployment.footprint import footprint_facts
from archscout.engine import Engine
from archscout.errors import DataError, RunError, SettingsError
from archscout.measure import input_type, measure
from archscout.pipeline.artifacts import ensemble_bytes, load_card, load_network
from archscout.pipeline.config import ExportSettings
from archscout.pipeline.data_record import DataRecord, compare, read_record
from archscout.pipeline.exports import saw_validation
from archscout.pipeline.run import Run
from archscout.tasks import Task
from archscout.training.evaluation import evaluate_network

__all__ = ["make_ensemble"]

MODEL = "model.safetensors"


def make_ensemble(
    paths: Sequence[Path],
    out: Path,
    *,
    export: ExportSettings,
    task: Task | str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Average trained runs on the same data, and write `out` with all that a single network has.

    `out` gets `model.safetensors`, `model.json`, `result.json` and the exported files in `export/`. Validation and
    test split are evaluated once.

    Args:
        paths: two or more run directories.
        out: a new or an empty folder.
        task: an object of your own, where the runs were started with one; or where their data is now.
        say: told what was done.

    Returns:
        The content of `result.json`.

    Raises:
        RunError: a run is not trained, the runs are on different data, or the folder is taken.
        DataError: the networks do not take and give the same.
    """
    if len(paths) < 2:
        raise SettingsError("an ensemble needs two runs or more: archscout ensemble RUN RUN --out DIR")
    if len({path.resolve() for path in paths}) < len(paths):
        raise SettingsError("a run is named twice. In an ensemble it would only count double; name each run once.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} exists and is not empty. Choose an empty or a new folder with --out.")
    runs = [Run.open(path, task=task) for path in paths]
    _check_trained(runs)
    _check_data(runs)
    cards = [_with_validation(run) for run in runs]
    card = card_of_ensemble(cards, [str(path) for path in paths])
    network = Ensemble([run.model() for run in runs], card, [each.temperature for each in cards]).eval()
    engine = Engine.create(runs[0].settings.device).alone()
    data = runs[0].task
    values = {}
    placed = engine.place(network)
    for split in ("validation", "test"):
        values[split] = evaluate_network(placed, data, data.split(split), engine)
        card = card.with_values(split, values[split])
        metric = data.metric
        seen = ", which members were trained on too" if split == "validation" and any(map(saw_validation, runs)) else ""
        say(
            f"{split} {metric.name} {metric.format(values[split][metric.name])} on {len(data.split(split)):,} samples"
            f"{seen}; members: {', '.join(_members_values(cards, split, data))}"
        )
    network = network.cpu()
    result = _result(runs, cards, network, card, values)
    reports = _write(runs, network, card, result, out, export)
    for path in reports:
        say(str(path))
    return result


def _with_validation(run: Run) -> ModelCard:
    """The card of a member, with its metrics on the validation split."""
    card = load_card(run.directory.path / MODEL)
    engine = Engine.create(run.settings.device).alone()
    return card.with_values(
        "validation", evaluate_network(engine.place(run.model()), run.task, run.task.validation, engine)
    )


def _check_trained(runs: Sequence[Run]) -> None:
    for run in runs:
        if not run.directory.complete("train"):
            raise RunError(
                f"{run.directory.path} has no trained network yet. Next: archscout resume {run.directory.path}"
            )
        if run.settings.space == "module":
            raise RunError(
                f"{run.directory.path} is about a network of your own, whose code no file holds; an ensemble is one "
                "file. Leave it out."
            )


def _check_data(runs: Sequence[Run]) -> None:
    """Raise RunError unless all runs were trained and judged on the same data.

    Runs may divide what is not held out for the test differently between training and validation; then a member has
    seen validation samples of another, and the ensemble's validation metric would be too good: that is refused, too.
    """
    records = [_record(run) for run in runs]
    for run, record in zip(runs[1:], records[1:], strict=True):
        change = compare(records[0], record)
        if change is not None:
            raise RunError(
                f"{runs[0].directory.path} and {run.directory.path} are not about the same data: "
                f"{'; '.join(change.words)}. An ensemble needs runs with the same samples in the same splits."
            )


def _record(run: Run) -> DataRecord:
    return read_record(run.directory) or run.record


def _members_values(cards: Sequence[ModelCard], split: str, task: Task) -> list[str]:
    name = task.metric.name
    return [
        task.metric.format(card.values[split][name]) if name in card.values.get(split, {}) else "not evaluated"
        for card in cards
    ]


def _result(
    runs: Sequence[Run],
    cards: Sequence[ModelCard],
    network: nn.Module,
    card: ModelCard,
    values: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    task, spec = runs[0].task, card.spec
    cost = measure(network, spec.input_shape)
    return {
        "task": task.name,
        "metric": task.metric.name,
        **{split: {**each, "samples": len(task.split(split))} for split, each in values.items()},
        "parameters": cost.parameters,
        "madds": cost.madds,
        "memory": footprint_facts(network, spec.input_shape, dtype=input_type(spec.vocabulary)),
        "validation_seen_in_training": any(map(saw_validation, runs)),
        "members": [
            {"run": str(run.directory.path), "values": dict(each.values)} for run, each in zip(runs, cards, strict=True)
        ],
        "splits": task.split_digests(),
    }


def _write(
    runs: Sequence[Run],
    network: nn.Module,
    card: ModelCard,
    result: Mapping[str, Any],
    out: Path,
    export: ExportSettings,
) -> list[Path]:
    """All files; the model file last, which makes the folder an ensemble."""
    subject = ExportSubject.of(network, card, raw=export.raw)
    try:
        out.mkdir(parents=True, exist_ok=True)
        reports = subject.export(out / "export", formats=export.formats, tolerance=export.tolerance)
        write_atomic(out / "model.json", json.dumps(card.to_json(), indent=2, ensure_ascii=False) + "\n")
        write_atomic(out / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        write_atomic(out / MODEL, ensemble_bytes([run.directory.path / MODEL for run in runs], card))
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}. Choose another --out.") from None
    _check_written(network, out / MODEL)
    return [*(report.path for report in reports), out / MODEL]


def _check_written(network: nn.Module, file: Path) -> None:
    """Raise DataError unless the file holds what was averaged."""
    again = load_network(file)[0].state_dict()
    if any(not value.equal(again[name]) for name, value in network.state_dict().items()):
        raise DataError(f"{file} could not be read back as it was written. Free some space, and try again.")
