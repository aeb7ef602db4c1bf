"""`predict_onnx.py`: without archscout and torch it predicts what `archscout predict` does."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from archscout.cli import app
from archscout.deployment.standalone import FILE_NAME, standalone_source
from archscout.errors import DataError
from archscout.tasks.readers.decoding import Decoding, decode
from archscout.tasks.readers.rendering import Rendering
from tests.deployment.test_predict import arrays_task
from tests.deployment.toy_runs import (
    quick_run,
    registered,
    write_images,
    write_masks,
    write_series,
    write_sounds,
)

BLOCKED = ("torch", "archscout", "scipy", "sklearn", "pydantic", "onnx", "typer")
RUNNER = f"""
import runpy, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True, scope="module")
def toys() -> Iterator[None]:
    with registered():
        yield


def alone(*words: Any, code: int = 0, cwd: Path | None = None) -> str:
    """The standard output of the file in a process that can import neither torch nor archscout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", RUNNER, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def same(first: str, second: str) -> list[dict[str, str]]:
    """Two tables are the same, numbers to 1e-4; errors are told in both."""
    rows, others = ([*csv.DictReader(io.StringIO(text))] for text in (first, second))
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others, strict=True):
        assert list(row) == list(other)
        for column, cell in row.items():
            if column == "error":
                assert bool(cell) == bool(other[column]), (row, other)
            elif "." in cell and cell.replace(".", "").replace("-", "").replace("e", "").isdigit():
                assert float(cell) == pytest.approx(float(other[column]), abs=1e-4)
            else:
                assert cell == other[column]
    return rows


def predicted(run: Path, *words: Any) -> str:
    done = CliRunner().invoke(app, ["predict", str(run), *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_images_in_a_process_without_torch_and_archscout(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", classes=('cat, "big"', "=dog", "-1", "ein\nHund 🐕"))
    quick_run(str(folder), tmp_path / "run", formats="[onnx]")
    export = tmp_path / "run/export"
    (folder / "test/-1/broken.png").write_bytes(b"\x89PNG")
    new = [folder / "test/=dog", folder / "test/-1"]
    rows = same(alone(export / FILE_NAME, export / "model.onnx", *new), predicted(tmp_path / "run", *new))
    assert {row["prediction"] for row in rows} <= {'cat, "big"', "'=dog", "-1", "ein\nHund 🐕", ""}
    same(
        alone(export / FILE_NAME, export / "model.onnx", *new, "--top", 2, "--probabilities"),
        predicted(export / "model.onnx", *new, "--top", 2, "--probabilities"),
    )
    assert "does not exist" in alone(export / FILE_NAME, export / "model.onnx", "gone.png", code=2)
    assert "no ONNX file" in alone(export / FILE_NAME, export / FILE_NAME, "gone.png", code=2)


def test_masks_series_sounds_and_arrays(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "masks")
    quick_run(str(folder), tmp_path / "a", formats="[onnx]")
    Image.new("L", (30, 20), 90).save(folder / "test/images/large.png")
    export = tmp_path / "a/export"
    alone(export / FILE_NAME, export / "model.onnx", "images", "--out", tmp_path / "alone", cwd=folder / "test")
    predicted(tmp_path / "a", folder / "test/images", "--out", tmp_path / "whole")
    for file in sorted((tmp_path / "whole").glob("*.png")):
        with Image.open(file) as one, Image.open(tmp_path / "alone/images" / file.name) as other:
            assert one.size == other.size and one.getpalette() == other.getpalette()
            assert np.mean(np.asarray(one) == np.asarray(other)) > 0.99

    sounds = write_sounds(tmp_path / "sounds")
    quick_run(str(sounds), tmp_path / "b", formats="[onnx]")
    export = tmp_path / "b/export"
    same(alone(export / FILE_NAME, export / "model.onnx", sounds / "test"), predicted(tmp_path / "b", sounds / "test"))

    quick_run(str(write_series(tmp_path)), tmp_path / "c", formats="[onnx]")
    export = tmp_path / "c/export"
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", np.where(draw.random((9, 2, 7)) < 0.1, np.nan, draw.normal(size=(9, 2, 7))))
    same(
        alone(export / FILE_NAME, export / "model.onnx", tmp_path / "x.npy"),
        predicted(tmp_path / "c", tmp_path / "x.npy"),
    )
    assert "longest" in predicted_error(tmp_path / "c", np.zeros((2, 2, 13)), tmp_path)


def predicted_error(run: Path, values: Any, folder: Path) -> str:
    np.save(folder / "wrong.npy", values)
    done = CliRunner().invoke(app, ["predict", str(run), str(folder / "wrong.npy")])
    return str(done.exception)


@pytest.mark.parametrize("kind", ["multilabel", "dense", "regression"])
def test_other_kinds(tmp_path: Path, kind: str) -> None:
    quick_run(arrays_task(kind), tmp_path / "run", formats="[onnx]")
    export = tmp_path / "run/export"
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(1).normal(size=(5, 2, 16)))
    same(
        alone(export / FILE_NAME, export / "model.onnx", tmp_path / "x.npz"),
        predicted(export / "model.onnx", tmp_path / "x.npz"),
    )


def test_tables_of_series(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for part in ("TRAIN", "TEST"):
        lines = ["\t".join([str(index % 2), *map(str, draw.normal(index % 2, 1, 6).round(3))]) for index in range(30)]
        (tmp_path / f"Toy_{part}.tsv").write_text("\n".join(lines) + "\n")
    quick_run(str(tmp_path / "Toy_TRAIN.tsv"), tmp_path / "run", formats="[onnx]")
    export = tmp_path / "run/export"
    bare = [line.partition("\t")[2] for line in lines]
    bare[3] = bare[3].replace(bare[3].split("\t")[2], "")
    bare[4] = bare[4].replace(bare[4].split("\t")[2], "abc")
    (tmp_path / "new.tsv").write_text("\n".join(bare) + "\n")
    for name in ("Toy_TEST.tsv", "new.tsv"):
        rows = same(
            alone(export / FILE_NAME, export / "model.onnx", tmp_path / name),
            predicted(tmp_path / "run", tmp_path / name),
        )
        assert sum(bool(row["error"]) for row in rows) == (name == "new.tsv")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    file = tmp_path_factory.mktemp("file") / FILE_NAME
    file.write_text(standalone_source(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("predict_onnx_alone", file)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


def pictures(folder: Path) -> list[Path]:
    """Images of every mode and depth, upright and turned, of several shapes."""
    draw = np.random.default_rng(0)
    files = []

    def save(image: Image.Image, name: str, **options: Any) -> None:
        image.save(folder / name, **options)
        files.append(folder / name)

    for height, width in ((24, 24), (7, 31), (40, 9), (224, 260)):
        colour = Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        size = f"{height}x{width}"
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
            save(colour.convert(mode), f"{mode}-{size}.png")
        for mode in ("CMYK", "L", "RGB"):
            save(colour.convert(mode), f"{mode}-{size}.jpg")
        save(colour.convert("LAB"), f"lab-{size}.tif")
        deep = draw.integers(0, 65536, (height, width)).astype(np.uint16)
        save(Image.fromarray(deep), f"deep-{size}.png")
        save(Image.fromarray((deep / 65535).astype(np.float32)), f"real-{size}.tif")
        alpha = colour.convert("RGBA")
        alpha.putalpha(Image.fromarray(draw.integers(0, 256, (height, width), dtype=np.uint8)))
        save(alpha, f"alpha-{size}.webp", lossless=True)
        for tag in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = tag
            save(colour, f"turned{tag}-{size}.jpg", exif=exif)
    return files


@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("rendering", [None, Rendering(integers=(10, 60000), bytes=(5, 250), background=0)])
def test_images_are_decoded_alike(
    tmp_path: Path, module: ModuleType, fit: Any, grey: bool, rendering: Rendering | None
) -> None:
    decoding = Decoding(20, 24, grey=grey, fit=fit, enlarge=grey, rendering=rendering)
    preparation = module.ImagePreparation(decoding=decoding.to_json())
    card = SimpleNamespace(preparation=preparation, spec=SimpleNamespace(input_shape=decoding.shape))
    for file in pictures(tmp_path):
        try:
            wanted = decode(file, decoding)
        except DataError:
            with pytest.raises(module.DataError):
                module.image_sample(file, card)
            continue
        found, _ = module.image_sample(file, card)
        np.testing.assert_array_equal(found.transpose(2, 0, 1), wanted, err_msg=file.name)


@pytest.mark.slow
def test_in_an_environment_of_its_own(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    packages = ["numpy", "onnxruntime", "pillow"]
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{', '.join(packages)} cannot be installed here: {done.stderr[-200:]}")
    folder = write_images(tmp_path / "data")
    quick_run(str(folder), tmp_path / "run", formats="[onnx]")
    export = tmp_path / "run/export"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [python, export / FILE_NAME, export / "model.onnx", folder / "test"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    same(found.stdout, predicted(tmp_path / "run", folder / "test"))
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in listed and "archscout" not in listed
