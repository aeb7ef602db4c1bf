"""Exported files of a run: written as settings say, noted in `export.json`, and whether the network fits a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archscout.deployment.export import ExportSubject
from archscout.deployment.footprint import footprint_facts, kilobytes
from archscout.deployment.int8 import NAME as INT8_NAME
from archscout.deployment.int8 import Int8Report, Int8Wanted, quantise
from archscout.driver import Driver
from archscout.errors import MissingExtraError
from archscout.exporting import ExportError, ExportReport
from archscout.measure import input_type
from archscout.pipeline.artifacts import load_card
from archscout.pipeline.config import ExportSettings
from archscout.pipeline.contents import RunContents
from archscout.rundir import RunDirectory

__all__ = ["footprint_of", "int8_facts", "read_exports", "saw_validation", "write_exports"]

FILE = "export.json"
INT8 = "int8"


def write_exports(run: RunContents, wanted: ExportSettings, driver: Driver) -> str:
    """Write the files that are wanted. Those of an earlier export stay, unless they are written anew.

    Returns:
        Why there is no int8 file although one was wanted; else "".

    Raises:
        ExportError: a file computes something else than the network.
        MissingExtraError: of another format than ONNX, whose package is not installed.
    """
    folder = run.directory.path / "export"
    card = load_card(run.directory.path / "model.safetensors")
    network = run.model()
    subject = ExportSubject.of(network, card, raw=wanted.raw)
    if subject.note:
        driver.message(f"export: {subject.note}")
    formats: Sequence[str] = wanted.formats
    try:
        reports = subject.export(folder, formats=formats, tolerance=wanted.tolerance)
    except MissingExtraError as error:
        if "onnx" not in formats or error.package not in ("onnx", "onnxscript", "onnxruntime"):
            raise
        driver.message(f"export: onnx is left out. {error}")
        formats = [kind for kind in formats if kind != "onnx"]
        reports = subject.export(folder, formats=formats, tolerance=wanted.tolerance)
    for report in reports:
        driver.message(
            f"export: {report.path}, largest difference {report.max_difference:.1e} (allowed {report.tolerance:.0e})"
        )
    entries = [_entry(run.directory, report, subject.raw) for report in reports]
    _note(run.directory, entries)
    return _write_int8(run, subject, wanted, folder, driver) if wanted.int8 else ""


def _entry(directory: RunDirectory, report: ExportReport, raw: bool) -> dict[str, Any]:
    return {
        "path": str(report.path.relative_to(directory.path)),
        "format": report.format,
        "raw": raw,
        "bytes": report.path.stat().st_size,
        "max_difference": report.max_difference,
        "tolerance": report.tolerance,
    }


def _write_int8(run: RunContents, subject: ExportSubject, wanted: ExportSettings, folder: Path, driver: Driver) -> str:
    """The network in int8; why there is none, else ""."""
    network = subject.network if subject.raw else run.model()
    path = f"export/{INT8_NAME}"
    try:
        report = quantise(
            network,
            subject.card,
            run.task,
            folder,
            raw=subject.raw,
            wanted=Int8Wanted(wanted.int8_tolerance, wanted.int8_samples, run.settings.seed),
            metadata=subject.metadata(),
        )
    except (ExportError, MissingExtraError) as error:
        # A file of an earlier export would be taken for the one that was refused.
        (run.directory.path / path).unlink(missing_ok=True)
        _note(run.directory, [{"path": path, "format": INT8, "refused": str(error)}])
        driver.message(f"export: {error}")
        return str(error)
    entry = {"path": path, "format": INT8, "raw": subject.raw, "bytes": report.path.stat().st_size, **report.to_json()}
    entry["validation_seen_in_training"] = saw_validation(run)
    _note(run.directory, [entry])
    driver.message(f"export: {_told(run, report)}")
    return ""


def _told(run: RunContents, report: Int8Report) -> str:
    metric = run.task.metric
    way = "" if len(report.attempts) == 1 else f" ({report.attempts[-1].describe()})"
    seen = " (samples that it was trained on too)" if saw_validation(run) else ""
    return (
        f"{report.path}{way}: validation {metric.name} {metric.format(report.before)} in float32, "
        f"{metric.format(report.after)} in int8{seen}; "
        f"{kilobytes(report.bytes_before)} to {kilobytes(report.bytes_after)}; "
        f"{report.milliseconds_before:.3g} ms to {report.milliseconds_after:.3g} ms"
    )


def saw_validation(run: RunContents) -> bool:
    """Whether the final training read the validation split, as it does by default."""
    return bool(run.settings.train.split == "development")


def _note(directory: RunDirectory, entries: Sequence[dict[str, Any]]) -> None:
    """Enter files in `export.json`; earlier ones stay there as long as they exist."""
    new = {entry["path"] for entry in entries}
    kept = [
        entry
        for entry in read_exports(directory)
        if entry["path"] not in new and ("refused" in entry or (directory.path / entry["path"]).exists())
    ]
    directory.write_json(FILE, [*kept, *entries])


def read_exports(directory: RunDirectory) -> list[dict[str, Any]]:
    """What is exported: an entry for each file."""
    return list(directory.read_json(FILE)) if directory.has(FILE) else []


def int8_facts(directory: RunDirectory) -> dict[str, Any] | None:
    """The entry of the int8 file, or of its refusal (`refused`); None: int8 was never asked for."""
    return next((entry for entry in read_exports(directory) if entry["format"] == INT8), None)


def footprint_of(run: RunContents) -> dict[str, Any]:
    """Flash and RAM of the trained network; see `footprint_facts`."""
    spec = run.task.spec
    return footprint_facts(run.model(), spec.input_shape, dtype=input_type(spec.vocabulary))
