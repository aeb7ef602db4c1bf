"""Predictions of many files, written as they come: tables, maps, likelihoods of texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from archscout.deployment.answers import ERROR, NAME, Answers
from archscout.deployment.inputs import Inputs
from archscout.deployment.prediction_files import MapFiles, Rows
from archscout.deployment.prediction_target import Target
from archscout.deployment.reading import Notes
from archscout.errors import DataError
from archscout.pipeline.predictor import BATCH, Predictor
from archscout.tasks.preparation import ImagePreparation
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.text import read_text

__all__ = ["Outcome", "columns_of_table", "predict_files"]

TEXT_COLUMNS = (NAME, "line", "words", "unknown", "log_likelihood", "perplexity", ERROR)

Progress = Callable[[int], None]


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        predicted, failed: samples.
        first: of the errors, with the sample's name.
        notes: what is to be said.
    """

    predicted: int = 0
    failed: int = 0
    first: str = ""
    notes: list[str] = field(default_factory=list)


def columns_of_table(predictor: Predictor, answers: Answers) -> list[str]:
    """The columns of the table of a network's predictions."""
    return list(TEXT_COLUMNS) if predictor.card.spec.is_text else answers.columns


def predict_files(
    predictor: Predictor,
    inputs: Inputs,
    answers: Answers,
    target: Target,
    *,
    stream: Rows | None = None,
    progress: Progress = lambda _: None,
    batch_size: int | None = None,
    key: str | None = None,
    apart: bool = False,
) -> Outcome:
    """Predict files and write what comes out, sample by sample; what cannot be read gets a row with its error.

    Args:
        answers: what is told of each sample.
        target: where it goes.
        stream: gets the rows where the target has no file.
        progress: called with the number of files that are done.
        batch_size: samples at a time; of texts, columns.
        key: which array of `.npz` files.
        apart: each line of a text is a text of its own.

    Raises:
        DataError: not one sample could be predicted; nothing is written then.
    """
    outcome = Outcome(notes=list(inputs.notes))
    notes = Notes()
    with target.opened(columns_of_table(predictor, answers), stream) as (rows, folder):
        if predictor.card.spec.is_text:
            _predict_texts(predictor, inputs, rows, outcome, progress, batch_size, apart)
        else:
            preparation = predictor.preparation
            decoding = None
            if target.full and isinstance(preparation, ImagePreparation):
                decoding = Decoding.from_json(preparation.decoding)
            maps = None if folder is None else MapFiles(predictor.card, folder, decoding)
            done = 0
            for each in predictor.stream(inputs.files, batch_size=batch_size or BATCH, key=key, notes=notes):
                sample, output = each.sample, each.output
                file = ""
                if output is not None and maps is not None:
                    file = maps.write(sample.below, output, sample.size)
                rows.add(answers.row(sample.name, output, error=sample.error, file=file))
                _count(outcome, sample.name, sample.error)
                done += sample.last
                progress(done)
            if maps is not None and maps.partly:
                outcome.notes.append(
                    f"{maps.partly:,} masks hold the value {maps.unknown} where the network did not see the image, "
                    "which it crops."
                )
        outcome.notes += notes.lines()
        if not outcome.predicted:
            raise DataError(
                f"none of the {outcome.failed:,} samples could be predicted. The first: {outcome.first}"
                if outcome.failed > 1
                else outcome.first
            )
    return outcome


def _count(outcome: Outcome, name: str, error: str) -> None:
    if error:
        outcome.failed += 1
        outcome.first = outcome.first or f"{name}: {error}"
    else:
        outcome.predicted += 1


def _predict_texts(
    predictor: Predictor,
    inputs: Inputs,
    rows: Rows,
    outcome: Outcome,
    progress: Progress,
    columns: int | None,
    apart: bool,
) -> None:
    for done, found in enumerate(inputs.files, start=1):
        try:
            text = read_text(found.path)
            outcome.notes += [finding.message for finding in text.findings]
            for each in predictor.likelihood_of_words(text.words, apart=apart, columns=columns):
                rows.add(
                    {
                        NAME: found.name,
                        "line": each.line or "all",
                        "words": each.words,
                        "unknown": each.unknown,
                        "log_likelihood": each.log_likelihood,
                        "perplexity": each.perplexity if each.words else None,
                    }
                )
            _count(outcome, found.name, "")
        except DataError as error:
            reason = str(error).removeprefix(f"{found.path} ").removeprefix(f"{found.path}: ")
            rows.add({NAME: found.name, ERROR: reason})
            _count(outcome, found.name, reason)
        progress(done)
