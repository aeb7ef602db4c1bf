"""Predictions of an ONNX file that archscout wrote, with numpy, onnxruntime and Pillow alone (Python 3.11 or newer).

    python predict_onnx.py model.onnx PATH... > predictions.csv

PATH is an image, a sound (.wav of plain whole numbers), an array (.npy, .npz), a table of series (.csv, .tsv, a series
a row), or a folder of such files. What the network takes and gives is told by the file itself. Exit codes: 0, something
was predicted; 2, nothing was.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import re
import sys
import warnings
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import onnxruntime
from PIL import Image, ImageCms

# === taken from archscout: begin ===
from archscout.deployment.answers import Answers
from archscout.deployment.array_rows import Array, array_rows, as_given, fitted_series, in_layout
from archscout.deployment.prediction_files import CsvRows, MapFiles
from archscout.deployment.reading import _array_decoding, _array_size, _other_size, _pixels_as_array
from archscout.tasks.readers.decoding import _as_in_version_0_1, placed
from archscout.tasks.readers.file_tree import natural, suffix_of
from archscout.tasks.readers.image_formats import IMAGE_SUFFIXES
from archscout.tasks.readers.rendering import orientation, seen
from archscout.tasks.readers.wav import _decode

# === taken from archscout: end ===

ModelCard = Preparation = Range = Series = Values = WavFile = Any  # of annotations
KEY = "archscout.card"  # of the metadata
LYING = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
BATCH = 64
ARRAYS = frozenset((".npy", ".npz"))
TABLES = frozenset((".csv", ".tsv"))
SOUNDS = frozenset((".wav", ".wave"))
MISSING = ("", "?", "nan", "na", "n/a", "null", "none")


class DataError(Exception):
    """A sample or a file that cannot be predicted."""


class SettingsError(DataError):
    """An option that is not for this network."""


@dataclass
class Rendering:
    """Which stored values of images are black and white."""

    integers: Any = None
    reals: Any = None
    bytes: Any = None
    background: int = 255


@dataclass
class Decoding:
    """How images get their size and their channels."""

    height: int
    width: int
    grey: bool = False
    random_crop: bool = True
    mirror: bool = True
    margin: float = 256 / 224
    fit: str = "crop"
    enlarge: bool = False
    rendering: Any = None

    @staticmethod
    def from_json(values: Any) -> Decoding:
        rendering = values.get("rendering")
        return Decoding(**{**values, "rendering": None if rendering is None else Rendering(**rendering)})


class ImagePreparation(SimpleNamespace):
    """Images, decoded."""

    def given_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        channels, height, width = input_shape
        return (height, width, channels)


class ArrayPreparation(SimpleNamespace):
    """Arrays as they were given."""

    def given_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        if self.layout in ("NHW", "NL"):
            return tuple(input_shape[1:])
        return (*input_shape[1:], input_shape[0]) if self.layout in ("NHWC", "NLC") else tuple(input_shape)


class SoundPreparation(SimpleNamespace):
    """Samples of sounds."""

    def given_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        return (self.settings.length,)


class Card(SimpleNamespace):
    """What the network takes and gives, from the metadata of its file."""

    @staticmethod
    def of(values: Any) -> Card:
        if values.get("version", 0) > 1:
            raise DataError(f"its card has version {values['version']}; take the predict_onnx.py that lies beside it.")
        if values.get("raw"):
            raise DataError("it is the network alone (exported with --raw), which takes prepared inputs.")
        task, normal = values["task"], values["normalisation"]
        return Card(
            spec=SimpleNamespace(**{**task, "input_shape": tuple(task["input_shape"])}),
            preparation=_preparation(values["preparation"]),
            mean=None if normal is None else tuple(normal["mean"]),
            class_names=tuple(values["class_names"]),
            thresholds=tuple(values["thresholds"]),
            is_map_of_classes=task["kind"] == "dense" and values["scale"] is None and task["outputs"] > 1,
        )

    def output_name(self, output: int) -> str:
        return self.class_names[output] if output < len(self.class_names) else str(output)


def _preparation(values: Any) -> Any:
    fields = {name: value for name, value in values.items() if name != "kind"}
    if values["kind"] == "images":
        return ImagePreparation(**fields)
    if values["kind"] == "arrays":
        return ArrayPreparation(**fields)
    if values["kind"] == "sounds":
        settings = SimpleNamespace(**fields["settings"])
        settings.length = round(settings.seconds * settings.rate)
        return SoundPreparation(settings=settings)
    raise DataError(
        f"its samples are prepared as '{values['kind']}', which this file cannot do; use archscout predict."
    )


def decode_image(image: Image.Image, decoding: Any) -> Array:
    """An image of any size and mode as `(C, height, width)`, uint8."""
    image.load()
    if decoding.rendering is None:
        shown = _as_in_version_0_1(image, decoding.grey)
    else:
        shown = seen(image, decoding.rendering, grey=decoding.grey)
    pixels = np.asarray(placed(shown, decoding))
    return pixels[np.newaxis] if decoding.grey else pixels.transpose(2, 0, 1)


def image_sample(path: Path, card: Any) -> tuple[Array, tuple[int, int]]:
    """An image as the network takes it, and its height and width."""
    preparation = card.preparation
    arrays = isinstance(preparation, ArrayPreparation)
    decoding: Any = _array_decoding(card) if arrays else Decoding.from_json(preparation.decoding)
    try:
        with Image.open(path) as image:
            image.load()
            size = (image.width, image.height) if orientation(image) in LYING else (image.height, image.width)
            if arrays and size != _array_size(preparation, card):
                raise DataError(_other_size(size, _array_size(preparation, card)))
            pixels = decode_image(image, decoding)
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise DataError(f"unreadable image ({' '.join(str(error).split())}). Repair or remove the file.") from None
    return (_pixels_as_array(pixels, preparation, card) if arrays else pixels.transpose(1, 2, 0)), size


def sound_sample(path: Path, settings: Any) -> Array:
    """The middle of a recording; a shorter one is followed by silence."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames = file.getparams()[:4]
            if rate != settings.rate:
                raise DataError(
                    f"has {rate:,} samples a second; this network was trained at {settings.rate:,}. Convert it: "
                    f"ffmpeg -i IN -ar {settings.rate} OUT.wav (archscout predict does so by itself)."
                )
            wanted = math.ceil(settings.seconds * rate)
            file.setpos(max(0, (frames - wanted) // 2))
            content = file.readframes(wanted)
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(f"no .wav file of plain whole numbers ({error or 'it ends too early'}).") from None
    wav: Any = SimpleNamespace(floating=False, width=width, order="<")
    samples = _decode(content, wav).reshape(-1, channels).mean(1, dtype=np.float64).astype(np.float32)
    samples = samples[: settings.length]
    return np.pad(samples, (0, settings.length - len(samples)))


def table_rows(path: Path, card: Any) -> Iterator[tuple[str, Any]]:
    """The series of a table with a series a row, and what stands behind the file's name."""
    preparation = card.preparation
    known = preparation.columns or {"channels": [], "targets": [], "series": None, "names": None}
    if known["series"] is not None:
        raise DataError("a row a step is not read here; use archscout predict, or write a table with a series a row.")
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = max("\t;,|", key=first.count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    if not rows:
        raise DataError("has no rows.")
    values = [name for channel in known["channels"] for name in channel]
    channels, length = card.spec.input_shape
    named = any(_number_of(cell) is None for cell in rows[0][1:-1])
    places = list(range(len(rows[0])))
    label: int | None = None
    if named and values:
        lacking = [name for name in values if name not in rows[0]]
        if lacking:
            raise DataError(f"lacks the columns {', '.join(lacking[:5])} that the training table had.")
        places = [rows[0].index(name) for name in values]
        label = rows[0].index(known["names"]) if known["names"] in rows[0] else None
    elif values and len(places) == len(values) + len(known["targets"]):
        places = [int(name) - 1 for name in values]
    elif values and len(places) != len(values):
        raise DataError(f"has {len(places)} columns; the training table had {len(values)} values in a row.")
    if not values and channels > 1 and len(places) != channels * length:
        raise DataError(f"a row needs {channels} x {length} values; series of other lengths are read from .npy files.")
    for number, row in enumerate(rows[1:] if named else rows):
        name = f": {row[label]}" if label is not None else f"[{number}]"
        cells = [row[place] if place < len(row) else "" for place in places]
        numbers = [_number_of(cell) for cell in cells]
        if None in numbers:
            yield name, DataError(f"'{cells[numbers.index(None)][:40]}' is no number.")
            continue
        case = np.array(numbers, np.float64).reshape(channels, -1)
        filled = np.flatnonzero(~np.isnan(case).all(0))
        if not len(filled):
            yield name, DataError("a series without values.")
            continue
        yield name, case[:, : filled[-1] + 1]


def _number_of(cell: str) -> float | None:
    if cell.lower() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


def samples_of(path: Path, name: str, card: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, values as the network takes them or a DataError, and size of an image, of each sample of a file."""
    preparation, suffix = card.preparation, suffix_of(path.name)
    stem = name[: len(name) - len(path.suffix)]
    try:
        if suffix in ARRAYS:
            rows = array_rows(path, preparation, card, None, _tell)
        elif suffix in TABLES and len(card.spec.input_shape) == 2 and isinstance(preparation, ArrayPreparation):
            rows = table_rows(path, card)
        elif isinstance(preparation, SoundPreparation):
            yield name, sound_sample(path, preparation.settings), None
            return
        else:
            if len(card.spec.input_shape) != 3:
                raise DataError("is no table (.csv, .tsv) or array (.npy, .npz) of series.")
            yield name, *image_sample(path, card)
            return
        for label, values in rows:
            own = f"{stem}{label}" if label else name
            try:
                if isinstance(values, DataError):
                    raise values
                if suffix in TABLES:
                    given = in_layout(fitted_series(values, preparation, card, _silent), preparation)
                else:
                    given = as_given(values, preparation, card, _silent)
                yield own, given, None
            except DataError as error:
                yield own, error, None
    except (DataError, OSError, UnicodeDecodeError) as error:
        yield name, DataError(str(error)), None


def _tell(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def _silent(_: str) -> None:
    """Changes that the training made, too, are not told here."""


def files_of(paths: Sequence[str], card: Any) -> Iterator[tuple[Path, str]]:
    """Files in the order given; those of a folder as people count, with all below."""
    first = IMAGE_SUFFIXES
    if isinstance(card.preparation, SoundPreparation):
        first = SOUNDS
    elif isinstance(card.preparation, ArrayPreparation):
        first = TABLES if len(card.spec.input_shape) == 2 else ARRAYS
    for given in paths:
        path = Path(given)
        if not path.is_dir():
            if not path.exists():
                raise DataError(f"{given} does not exist.")
            yield path, given
            continue
        found = [Path(folder) / file for folder, _, files in os.walk(path) for file in files if file[:1] != "."]
        wanted = [file for file in found if suffix_of(file.name) in first]
        wanted = wanted or [file for file in found if suffix_of(file.name) in ARRAYS | IMAGE_SUFFIXES]
        if not wanted:
            raise DataError(f"{given} has no file that this network takes.")
        for file in sorted(wanted, key=lambda file: (len(file.parts), natural(str(file)))):
            yield file, str(file)


def predict(session: Any, card: Any, files: Sequence[tuple[Path, str]], rows: Any, answers: Any, maps: Any) -> int:
    """Write a row for each sample; returns how many were predicted."""
    name = session.get_inputs()[0].name
    kind = {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64}.get(session.get_inputs()[0].type, np.float32)
    done = 0
    waiting: list[tuple[str, Any, Any]] = []

    def flush() -> None:
        nonlocal done
        known = [values for _, values, _ in waiting if not isinstance(values, DataError)]
        outputs = iter(session.run(None, {name: np.stack(known).astype(kind)})[0] if known else ())
        for own, values, size in waiting:
            if isinstance(values, DataError):
                rows.add(answers.row(own, None, error=str(values)))
                continue
            output = next(outputs)
            file = maps.write(Path(own).name if Path(own).is_absolute() else own, output, size) if maps else ""
            rows.add(answers.row(own, output, file=file))
            done += 1
        waiting.clear()

    for path, own in files:
        for sample in samples_of(path, own, card):
            waiting.append(sample)
            if len(waiting) == BATCH:
                flush()
    flush()
    return done


def main() -> int:
    """Read the arguments, predict, write a table to the standard output."""
    parser = argparse.ArgumentParser(description="Predictions of an ONNX file that archscout wrote, as CSV.")
    parser.add_argument("model", help="ONNX file with its preprocessing inside")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files or folders")
    parser.add_argument("--top", type=int, default=3, help="likeliest classes that are told")
    parser.add_argument("--threshold", type=float, help="of several labels at once; default: 0.5")
    parser.add_argument("--probabilities", action="store_true", help="also the probability of each class")
    parser.add_argument("--out", help="folder for what is predicted at each position (masks)")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])
            facts = session.get_modelmeta().custom_metadata_map
        except Exception as error:  # what onnxruntime raises has no common class
            raise DataError(f"{given.model} is no ONNX file that can be read ({error}).") from None
        if KEY not in facts:
            raise DataError(f"{given.model} has no card of archscout, which tells what the network takes.")
        card: Any = Card.of(json.loads(facts[KEY]))
        answers = Answers(card, given.top, given.threshold, given.probabilities)
        maps = None
        if given.out is not None and card.spec.kind == "dense":
            folder = Path(given.out)
            folder.mkdir(parents=True, exist_ok=True)
            pictures = isinstance(card.preparation, ImagePreparation)
            decoding: Any = Decoding.from_json(card.preparation.decoding) if pictures else None
            maps = MapFiles(card, folder, decoding)
        files = list(files_of(given.paths, card))
        rows = CsvRows(sys.stdout, answers.columns)
        done = predict(session, card, files, rows, answers, maps)
    except (DataError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if not done:
        sys.stderr.write("error: no sample could be predicted; the rows tell why.\n")
    return 0 if done else 2


if __name__ == "__main__":
    sys.exit(main())
