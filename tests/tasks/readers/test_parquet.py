"""Parquet and Arrow files, and Hugging Face's cache."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from archscout.errors import DataError, MissingExtraError
from archscout.tasks import Task, load_task

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def images(count: int = 20) -> list[dict[str, Any]]:
    return [{"bytes": png(one), "path": None} for one in PIXELS[:count]]


def raw(task: Task, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    split = task.split(part)
    return next(iter(split.source.batches([split.indices], torch.device("cpu"))))


def write(path: Path, columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None) -> None:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path)


FEATURES = b'{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'


def test_images_in_parquet_files_of_splits(tmp_path: Path) -> None:
    labels = [0, 1] * 10
    write(tmp_path / "train-00000-of-00002.parquet", {"image": images(), "label": labels}, {b"huggingface": FEATURES})
    write(tmp_path / "train-00001-of-00002.parquet", {"image": images(), "label": labels})
    write(tmp_path / "test-00000-of-00001.parquet", {"image": images(5), "label": labels[:5]})
    task = load_task(str(tmp_path))
    assert (task.spec.input_shape, task.class_names) == ((3, 8, 6), ("cat", "dog"))
    assert len(task.train) + len(task.validation) == 40
    inputs, targets = raw(task, "test")
    assert np.array_equal(inputs.numpy(), PIXELS[:5].transpose(0, 3, 1, 2))
    assert targets.tolist() == labels[:5]


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "stream.arrow", "feather"])
def test_arrays_and_texts_in_a_file_of_any_format(suffix: str, tmp_path: Path) -> None:
    values = DRAW.normal(size=(20, 2, 9)).astype(np.float32)
    table = pa.table({"x": values.tolist(), "y": ["b", "a"] * 10, "note": ["-"] * 20})
    path = tmp_path / f"mine.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_stream if suffix.startswith("stream") else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table)
    task = load_task(str(path))
    assert (task.spec.input_shape, task.class_names) == ((2, 9), ("a", "b"))
    assert np.allclose(raw(task, "train")[0].numpy(), values[task.train.indices.numpy()])
    assert ("note",) in [each.names for each in task.findings]


def test_series_of_unequal_length_numbers_as_targets_and_groups(tmp_path: Path) -> None:
    series = [DRAW.normal(size=int(length)).tolist() for length in DRAW.integers(5, 9, 20)]
    columns = {"series": series, "age": DRAW.normal(size=20), "weight": DRAW.normal(size=20), "who": list("abcde") * 4}
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=r"no column is known to be the targets.*age \(double\).*--target COLUMN"):
        load_task(str(tmp_path / "a.parquet"))
    task = load_task(str(tmp_path / "a.parquet"), target=("age", "weight"), groups="who")
    assert (task.spec.kind, task.spec.outputs) == ("regression", 2)
    assert task.spec.input_shape == (1, max(map(len, series)))
    people = [{index % 5 for index in task.split(part).indices.tolist()} for part in ("train", "validation", "test")]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])


def test_lists_of_labels_are_several_labels(tmp_path: Path) -> None:
    labels = [["a"], ["a", "b"], [], ["c"]] * 5
    write(tmp_path / "a.parquet", {"x": DRAW.normal(size=(20, 9)).tolist(), "labels": labels})
    task = load_task(str(tmp_path / "a.parquet"))
    assert (task.spec.kind, task.class_names) == ("multilabel", ("a", "b", "c"))
    names = [[task.class_names[place] for place in row.nonzero()[:, 0].tolist()] for row in raw(task, "train")[1]]
    assert names == [labels[index] for index in task.train.indices.tolist()]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2], "label": [0, 1]}, r"no column of images or lists. The columns are a \(int64\), label"),
        ({"image": [b"no image", b""], "label": [0, 1]}, "row 0, image: no image that can be read"),
        ({"image": [None, png(PIXELS[0])], "label": [0, 1]}, "row 0, image is empty"),
        ({"x": [[1.0, 2.0], None], "label": [0, 1]}, "row 1: x is empty"),
        ({"image": [{"bytes": None, "path": "../secret.png"}], "label": [0]}, "not below"),
        ({"image": [{"bytes": None, "path": "gone.png"}], "label": [0]}, "No such file"),
        ({"image": images(2), "label": [0, None]}, "1 labels of y_train are missing"),
    ],
)
def test_unusable_columns_are_told(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=message):
        load_task(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(50) + b"PAR1", b"ARROW1\0\0", b"nonsense" * 9])
def test_damaged_files_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is (empty|damaged)"):
        load_task(str(tmp_path / "a.parquet"))


def test_rows_of_the_test_split_without_targets_are_kept_to_be_predicted(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {"image": images(), "label": [0, 1] * 10})
    write(tmp_path / "test.parquet", {"image": images(5)})
    task = load_task(str(tmp_path))
    assert task.unlabelled is not None
    assert len(task.unlabelled) == 5


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", {"x": [[1.0]], "y": [0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"archscout\[hub\]"):
        load_task(str(tmp_path / "a.parquet"))


def test_a_data_set_of_the_cache_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    folder = tmp_path / "owner___pets" / "default" / "0.0.0" / ("a" * 40)
    folder.mkdir(parents=True)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    table = pa.table({"image": images(), "label": [0, 1] * 10}, schema=features.arrow_schema)
    splits = {}
    for part in ("train", "test", "extra"):
        with (
            pa.OSFile(str(folder / f"pets-{part}.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as writer,
        ):
            writer.write_table(table)
        splits[part] = datasets.SplitInfo(part, 1, 20, dataset_name="pets")
    datasets.DatasetInfo(
        features=features,
        builder_name="parquet",
        dataset_name="pets",
        config_name="default",
        version="0.0.0",
        splits=datasets.splits.SplitDict(splits),
    ).write_to_directory(str(folder))
    task = load_task("hf:owner/pets")
    assert (task.name, task.class_names, len(task.test)) == ("hf:owner/pets", ("cat", "dog"), 20)
    assert np.array_equal(raw(task, "test")[0].numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert [each.names for each in task.findings] == [("extra",)]
    with pytest.raises(DataError, match=r"hf:owner/dogs cannot be read from Hugging Face's cache.*downloads nothing"):
        load_task("hf:owner/dogs")
