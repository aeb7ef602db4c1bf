"""A trained network in use: from a run directory or a model file to predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from archscout.deployment.answers import decide
from archscout.deployment.array_rows import as_given
from archscout.deployment.card import ModelCard, card_of_task
from archscout.deployment.deployed import Deployed
from archscout.deployment.inputs import Found, find_inputs, kinds_of
from archscout.deployment.likelihood import Likelihood, columns_of, line_likelihoods, text_likelihoods
from archscout.deployment.onnx_network import OnnxNetwork, load_onnx
from archscout.deployment.reading import NewSample, Notes, image_sample, read_samples
from archscout.engine import Engine
from archscout.errors import DataError, RunError, SettingsError, SpaceError
from archscout.notebook import html_table
from archscout.pipeline.artifacts import has_card, load_card, load_network
from archscout.pipeline.run import Run
from archscout.rundir import RunDirectory
from archscout.tasks import Task, load_task
from archscout.tasks.preparation import Preparation
from archscout.tasks.readers.image_formats import patient
from archscout.tasks.readers.text import read_text

__all__ = ["Prediction", "Predictor", "decide", "load"]

Array = np.ndarray[Any, Any]
BATCH = 64
MOST_NAMED = 5


@dataclass(frozen=True)
class Prediction:
    """What a network says of a sample.

    Attributes:
        sample: its name, and why it could not be read.
        output: decoded, as `Deployed` gives it, without the batch dimension; None where the sample cannot be read.
    """

    sample: NewSample
    output: Array | None


class Predictor:
    """A network with all that is needed to use it.

    Args:
        network: trained.
        card: what it takes and gives.
        device: where to compute; "auto" takes a GPU if there is one.
        whole: the network has its preprocessing inside, as an exported file may.
    """

    def __init__(self, network: nn.Module, card: ModelCard, *, device: str = "auto", whole: bool = False) -> None:
        self.card = card
        self.device = torch.device("cpu") if isinstance(network, OnnxNetwork) else Engine.create(device).device
        if isinstance(network, OnnxNetwork) and device not in ("auto", "cpu"):
            raise SettingsError(f"device = {device}: ONNX files are run on the CPU here; take model.safetensors.")
        self.network = network.eval().to(self.device)
        self.deployed: nn.Module = network if whole else Deployed(network, card).to(self.device)

    @property
    def preparation(self) -> Preparation:
        """How samples are prepared."""
        if self.card.preparation is None:
            raise DataError(f"the card of {self.card.spec.name} does not say how samples are prepared.")
        return self.card.preparation

    def __repr__(self) -> str:
        spec = self.card.spec
        return f"<Predictor of {spec.name}: {spec.describe()}; takes (N, {', '.join(map(str, self.given_shape))})>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        card = self.card
        names = list(card.class_names)
        rows = {
            "predicts": card.spec.describe(),
            "takes": f"(N, {', '.join(map(str, self.given_shape))}), {self.preparation.given_dtype()}",
            "classes": ", ".join(names[:10]) + (f", ... ({len(names):,} in all)" if len(names) > 10 else ""),
            "parameters": f"{sum(each.numel() for each in self.network.parameters()):,}",
            "device": self.device,
            **{
                f"{split} {name}": f"{value:.4g}" for split, each in card.values.items() for name, value in each.items()
            },
        }
        return html_table(f"Predictor of {card.spec.name}", {name: value for name, value in rows.items() if value})

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each output, where they have names."""
        return self.card.class_names

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of a sample that `predict` takes."""
        return self.preparation.given_shape(self.card.spec.input_shape)

    def predict_proba(self, samples: Any, *, batch_size: int = BATCH) -> Array:
        """Probabilities of each class or label, `(N, K)`; of maps of classes `(N, K, *positions)`.

        Args:
            samples: as for `predict`.

        Raises:
            DataError: as `predict`, or the network gives numbers.
        """
        if self.card.spec.kind == "regression" or (self.card.spec.kind == "dense" and not self.card.is_map_of_classes):
            raise DataError(f"{self.card.spec.name} predicts numbers, which have no probabilities; use predict.")
        return np.concatenate(list(self.outputs(samples, batch_size=batch_size)))

    def predict(self, samples: Any, *, batch_size: int = BATCH) -> Array:
        """The answer for each sample.

        Args:
            samples: a batch of arrays `(N, *given_shape)`; a path of a file, folder or pattern; a Pillow image; or a
                list of paths, images or arrays. Images of other sizes are brought to that of the network as in
                training; series may be shorter than in the training.

        Returns:
            Of a classification the names of the classes (numbers, where they have no names), `(N,)`; of several labels
            0 or 1, `(N, K)`; of a regression values, `(N,)` or `(N, K)`; of maps a class, `(N, *positions)`, or values,
            `(N, K, *positions)`.

        Raises:
            DataError: samples that cannot be read, or of another shape or type; the message names them. `stream` goes
                on instead.
        """
        return decide(np.concatenate(list(self.outputs(samples, batch_size=batch_size))), self.card)

    def outputs(self, samples: Any, *, batch_size: int = BATCH) -> Iterator[Array]:
        """What the network gives, decoded, batch after batch; `samples` as for `predict`."""
        self._check_kind()
        if batch_size < 1:
            raise SettingsError(f"batch_size = {batch_size}: must be at least 1.")
        paths = _as_paths(samples)
        if paths is not None:
            yield from self._of_paths(paths, batch_size)
            return
        given = self._checked(samples)
        for part in torch.split(given, batch_size):
            yield self._run(part)

    def stream(
        self,
        paths: Iterable[str | Path] | Sequence[Found],
        *,
        batch_size: int = BATCH,
        key: str | None = None,
        notes: Notes | None = None,
    ) -> Iterator[Prediction]:
        """Predictions of files, one after the other, in order; a file that cannot be read is no reason to stop.

        At most a batch and some samples ahead are held in memory.

        Args:
            paths: files, folders with all below, patterns, lists of files.
            key: which array of `.npz` files; None: the one that fits.
            notes: get what was changed in samples.

        Raises:
            DataError: a path that does not exist, or a folder without a file that the network takes.
        """
        self._check_kind()
        found = [path for path in paths if isinstance(path, Found)]
        files = found or find_inputs([str(path) for path in paths], kinds_of(self.preparation)).files
        waiting: list[NewSample] = []
        for sample in read_samples(files, self.card, notes or Notes(), key=key):
            waiting.append(sample)
            if sum(each.given is not None for each in waiting) >= batch_size or len(waiting) >= 4 * batch_size:
                yield from self._predicted(waiting)
                waiting = []
        yield from self._predicted(waiting)

    def likelihood(self, file: str | Path, *, apart: bool = False, columns: int | None = None) -> list[Likelihood]:
        """How likely a text file is to a language model: each of its lines, and last the whole.

        Args:
            apart: each line is a text of its own; else each goes on where the one before ended.
            columns: pieces that are read at the same time; default: as when the network was evaluated.

        Raises:
            DataError: the file cannot be read, or the network is no language model.
        """
        words = read_text(Path(file)).words
        return list(self.likelihood_of_words(words, apart=apart, columns=columns))

    def likelihood_of_words(
        self, words: Sequence[str], *, apart: bool = False, columns: int | None = None
    ) -> Iterator[Likelihood]:
        """As `likelihood`, of words with `<eos>` after each line."""
        if not self.card.spec.is_text:
            raise DataError(f"{self.card.spec.name} is no language model; use predict.")
        if apart:
            lines: list[list[str]] = [[]]
            for word in words:
                if word == self.end:
                    lines.append([])
                else:
                    lines[-1].append(word)
            yield from line_likelihoods(self.network, self.card, lines[:-1], device=self.device)
        else:
            used = columns_of(self.card) if columns is None else columns
            yield from text_likelihoods(self.network, self.card, words, columns=used, device=self.device)

    @property
    def end(self) -> str:
        """The word at the end of each line of a text."""
        from archscout.tasks.readers.text import END

        return END

    def _check_kind(self) -> None:
        if self.card.spec.is_text:
            raise DataError(f"{self.card.spec.name} is a language model; use likelihood, or archscout.generate.")

    def _run(self, given: Tensor) -> Array:
        with torch.inference_mode():
            found: Array = self.deployed(given.to(self.device)).cpu().numpy()
        return found

    def _predicted(self, samples: Sequence[NewSample]) -> Iterator[Prediction]:
        known = [sample.given for sample in samples if sample.given is not None]
        outputs = iter(self._run(self._tensor(np.stack(known))) if known else ())
        for sample in samples:
            yield Prediction(sample, next(outputs) if sample.given is not None else None)

    def _of_paths(self, paths: Sequence[str | Path], batch_size: int) -> Iterator[Array]:
        failed = []
        found: list[Array] = []
        for prediction in self.stream(paths, batch_size=batch_size):
            if prediction.output is None:
                failed.append(f"{prediction.sample.name}: {prediction.sample.error}")
                continue
            found.append(prediction.output)
        if failed:
            more = f"\n  and {len(failed) - MOST_NAMED:,} more" if len(failed) > MOST_NAMED else ""
            raise DataError(
                f"{len(failed):,} of {len(failed) + len(found):,} samples cannot be read; use stream to go on without "
                "them.\n  " + "\n  ".join(failed[:MOST_NAMED]) + more
            )
        yield np.stack(found)

    def _tensor(self, given: Array) -> Tensor:
        return torch.from_numpy(np.require(given, requirements=["C", "W"])).to(self.preparation.given_dtype())

    def _checked(self, samples: Any) -> Tensor:
        """A batch as the network takes it. Raises DataError."""
        if isinstance(samples, Image.Image):
            samples = [samples]
        if isinstance(samples, Tensor):
            samples = samples.detach().cpu().numpy()
        wanted, dtype = self.given_shape, self.preparation.given_dtype()
        if isinstance(samples, np.ndarray) and samples.shape[1:] == wanted and len(samples):
            given = samples
            exact = given.dtype == np.uint8 if dtype == torch.uint8 else given.dtype.kind == "f"
            if exact and (dtype == torch.uint8 or np.isfinite(given).all()):
                return self._tensor(given)
        if not hasattr(samples, "__len__") or isinstance(samples, Image.Image):
            raise DataError(f"samples of type {type(samples).__name__} are not read; give arrays, images or paths.")
        if len(samples) == 0:
            raise DataError(f"there is no sample; this network takes (N, {', '.join(map(str, wanted))}).")
        faults: list[str] = []
        rows: list[Array] = []
        with patient():
            for place, sample in enumerate(samples):
                try:
                    rows.append(self._one(sample))
                except DataError as error:
                    faults.append(f"sample {place} {error}")
        if faults:
            more = f"\n  and {len(faults) - MOST_NAMED:,} more" if len(faults) > MOST_NAMED else ""
            raise DataError(
                f"this network takes samples of the shape (N, {', '.join(map(str, wanted))}), as its training data "
                f"had.\n  " + "\n  ".join(faults[:MOST_NAMED]) + more
            )
        return self._tensor(np.stack(rows))

    def _one(self, sample: Any) -> Array:
        if isinstance(sample, Image.Image):
            return image_sample(sample, self.preparation, self.card)
        values = sample.detach().cpu().numpy() if isinstance(sample, Tensor) else np.asarray(sample)
        return as_given(values, self.preparation, self.card, lambda _: None)


def _as_paths(samples: Any) -> list[str | Path] | None:
    """Paths, where samples are such."""
    if isinstance(samples, str | Path):
        return [samples]
    if isinstance(samples, np.ndarray) and samples.dtype.kind == "U":
        samples = samples.ravel().tolist()
    if isinstance(samples, list | tuple) and samples and all(isinstance(each, str | Path) for each in samples):
        return list(samples)
    return None


def load(
    source: Path | str,
    *,
    device: str = "auto",
    model: nn.Module | None = None,
    task: Task | str | None = None,
    data: Path | None = None,
) -> Predictor:
    """The predictor of a run, of the folder of an ensemble, of a `model.safetensors`, or of an ONNX file of archscout.

    Args:
        device: where to compute; "auto" takes a GPU if there is one.
        model: a network of your own, where the run was started with one.
        task: that the network was trained for; only for files of version 0.1, which do not tell.
        data: folder of a registered task's files.

    Raises:
        RunError: the run is not trained yet.
        DataError: no model file, or one that does not say how samples are prepared.
    """
    path = Path(source)
    if not path.exists() and not path.suffix:
        path = path.with_name(f"{path.name}.safetensors")  # which `save` of an estimator adds
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        network, card, raw = load_onnx(path)
        return Predictor(network, card, device=device, whole=not raw)
    file = path
    if path.is_dir():
        directory = RunDirectory(path)
        file = path / "model.safetensors"
        if directory.exists() or not file.is_file():
            directory.require()
            if not directory.complete("train"):
                raise RunError(f"{path} has no trained network yet. Next: archscout resume {path}")
    trained, spec = load_network(file, model=model)
    if has_card(file):
        card = load_card(file)
    else:
        known = _task_of(file, task, data)
        card = card_of_task(known)
        if (card.spec.kind, card.spec.input_shape, card.spec.outputs) != (spec.kind, spec.input_shape, spec.outputs):
            raise SpaceError(f"the network does {spec.describe()}, but {known.name} is {card.spec.describe()}.")
    return Predictor(trained, card, device=device)


def _task_of(file: Path, task: Task | str | None, data: Path | None) -> Task:
    """The task of a model file of version 0.1: as named, else of the run that it lies in."""
    if task is not None:
        return load_task(task, data) if isinstance(task, str) else task
    if RunDirectory(file.parent).exists():
        return Run.open(file.parent).task
    raise DataError(
        f"{file} was written by version 0.1 of archscout, which kept no class names and no preprocessing in it. Name "
        "the task that it was trained for: --task TASK."
    )
