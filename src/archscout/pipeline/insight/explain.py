"""Explaining a run: its insight in words, in files, and what was fitted on the validation split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archscout.engine import Engine
from archscout.pipeline.contents import RunContents
from archscout.pipeline.evaluation import PREDICTIONS
from archscout.pipeline.insight.content import Insight, Mistake
from archscout.pipeline.insight.files import write_insight_files
from archscout.pipeline.insight.of_run import Fitted, fit_to_validation, insight_of_run, table_of_run
from archscout.pipeline.insight.pictures import captions, mistake_views
from archscout.pipeline.insight.verdict import verdict

__all__ = ["Explained", "explain_run"]


@dataclass(frozen=True)
class Explained:
    """What `archscout explain` says and writes.

    Attributes:
        insight: the numbers.
        verdict: sentences.
        files: that were written.
        fitted: sentences about what was fitted.
        next: a command that is to be run next; empty: none.
    """

    insight: Insight
    verdict: tuple[str, ...]
    files: tuple[Path, ...]
    fitted: tuple[str, ...] = ()
    next: str = ""

    def captions(self, mistake: Mistake) -> tuple[str, ...]:
        """What is to be said of one of the mistakes."""
        return captions(mistake, self.insight.form)


def explain_run(
    run: RunContents, folder: Path | None = None, *, calibrate: bool = False, thresholds: bool = False
) -> Explained:
    """Say where the network of a run fails on its test split, and write tables and a contact sheet.

    Args:
        folder: of the files; default: `insight/` in the run.
        calibrate, thresholds: fit a temperature, thresholds of labels; see `fit_to_validation`.

    Raises:
        RunError: the run is not evaluated yet, or the folder cannot be written.
        SettingsError: there is nothing to calibrate in this kind of task.
    """
    insight = insight_of_run(run)
    fitted = None
    if calibrate or thresholds:
        fitted = fit_to_validation(run, temperature=calibrate, thresholds=thresholds)
        insight = fitted.after
    task = run.task
    mistakes = mistake_views(insight, task, task.test, run.model, Engine.create("cpu"))
    # What the evaluation of numbers writes lacks the residuals.
    answers = table_of_run(run) if insight.form == "numbers" or not run.directory.has(PREDICTIONS) else []
    files = write_insight_files(
        folder or run.directory.path / "insight", f"{run.directory.path.name}: {task.name}", insight, mistakes, answers
    )
    again = "" if fitted is None or not fitted.stages else f"archscout resume {run.directory.path}"
    told = () if fitted is None else tuple(_told(fitted))
    return Explained(insight, tuple(verdict(insight, task.metric)), tuple(files), told, again)


def _told(fitted: Fitted) -> list[str]:
    lines = []
    before, after = fitted.before.calibration, fitted.after.calibration
    if fitted.temperature is not None and before is not None and after is not None:
        lines.append(
            f"Temperature {fitted.temperature:.4g}, fitted on the validation split: the expected calibration error on "
            f"test goes from {100 * before.error:.2f} % to {100 * after.error:.2f} %. It is in the model file now."
        )
    if fitted.thresholds:
        names = fitted.after.class_names
        told = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, fitted.thresholds, strict=True))
        means = [sum(each.f1 for each in one.classes) / len(one.classes) for one in (fitted.before, fitted.after)]
        lines.append(
            f"Thresholds, chosen on the validation split: {told}. The mean F1 on test goes from {means[0]:.3f} to "
            f"{means[1]:.3f}. They are in the model file now."
        )
    if fitted.learnt:
        lines.append(
            "The network was trained on the validation split, too (train.split is development), and is surer there "
            "than on new samples: what was fitted corrects too little. A run with --set "
            "train.split=train has none of this."
        )
    if fitted.stages:
        lines.append(f"{' and '.join(fitted.stages)} hold the old ones and are to be made again.")
    return lines
