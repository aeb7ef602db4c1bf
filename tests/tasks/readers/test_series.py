from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.readers.series import series_task
from archscout.tasks.readers.series_files import read_series

HEADER = "#a comment\n@problemName Toy\n@timeStamps false\n@univariate {}\n{}@classLabel true left right\n@data\n"
CPU = torch.device("cpu")


def write(folder: Path, train: str, test: str, extra: str = "", univariate: str = "true") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    head = HEADER.format(univariate, extra)
    (folder / "Toy_TRAIN.ts").write_text(head + train)
    (folder / "Toy_TEST.ts").write_text(head + test)
    return folder


TRAIN = "".join(f"{i},2,{3 * i},4:{'left' if i % 2 else 'right'}\n" for i in range(12))
TEST = "1,2,3,4:left\n4,3,2,1:right\n"


def samples(task: Task, name: str) -> torch.Tensor:
    split = task.split(name)
    return next(iter(split.source.batches([split.indices], CPU)))[0]


@pytest.mark.parametrize("given", ["", "Toy_TRAIN.ts", "Toy_TEST.ts"])
def test_a_pair_is_a_task_by_folder_or_file(tmp_path: Path, given: str) -> None:
    folder = write(tmp_path / "Toy", TRAIN, TEST)
    task = load_task(str(folder / given))
    assert (task.name, task.spec.kind, task.spec.input_shape, task.spec.outputs) == ("Toy", "classification", (1, 4), 2)
    assert task.class_names == ("left", "right")
    assert (len(task.train), len(task.validation), len(task.test)) == (10, 2, 2)
    assert samples(task, "test")[1, 0].tolist() == [4, 3, 2, 1]


def test_channels_and_unequal_lengths_are_padded_with_the_mean(tmp_path: Path) -> None:
    extra = "@dimensions 2\n@equalLength false\n"
    train = "1,2,3:5,6,7:left\n3,2:1,2:right\n" * 3
    folder = write(tmp_path, train, "1,1,1,1:2,2,2,2:left\n", extra, "false")
    task = series_task(folder)
    assert task.spec.input_shape == (2, 4)
    first = samples(task, "train")[0]
    assert first[:, 3].tolist() == pytest.approx([11 / 5, 21 / 5])
    assert "2 to 4 steps" in str(task.provenance["padded"])


def test_gaps_are_filled_by_straight_lines(tmp_path: Path) -> None:
    folder = write(tmp_path, TRAIN, "1,?,3,?:left\n?,?,?,?:right\n")
    task = series_task(folder)
    assert samples(task, "test")[:, 0].tolist() == [[1, 2, 3, 3], [0, 0, 0, 0]]
    assert str(task.provenance["filled"]).startswith("6 missing values")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4:up\n", "line 7: the label is 'up'; the header allows left, right"),
        ("1,2,3,4\n", "line 7: no label behind a colon"),
        ("1,x,3,4:left\n", "line 7: .* Values are numbers or"),
        ("1,2,3,4:left\n1,2,3:left\n", "cases of 3 to 4 steps, but the header does not say @equalLength false"),
        ("1,2:1,2,3:left\n", "line 7: channels of different lengths"),
        ("1,2,3,4:left\n1,2,3,4:5,6,7,8:left\n", "line 8: 2 channels, but the cases before have 1"),
        ("1,inf,3,4:left\n", "line 7: a value is infinite"),
        ("", "has no case behind @data"),
    ],
)
def test_wrong_cases_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path, text, TEST)
    with pytest.raises(DataError, match=message):
        series_task(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("@timeStamps true\n@classLabel true a b\n@data\n1:a\n", "has time stamps"),
        ("@targetLabel true\n@data\n1:2\n", "has a number as target"),
        ("@classLabel false\n@data\n1\n", "has no classes"),
        ("@classLabel true a b\n", "has no line @data"),
        ("1,2,3\n", "line 1: expected a header line"),
        (
            "@classLabel true a b\n@seriesLength 3\n@data\n1,2:a\n",
            "the header says @serieslength 3, but the cases have 2",
        ),
    ],
)
def test_wrong_headers_are_told(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x_TRAIN.ts"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_series(path)


def test_binary_files_and_halves_of_a_pair_are_told(tmp_path: Path) -> None:
    (tmp_path / "x_TRAIN.ts").write_bytes(bytes([255, 254, 128]))
    with pytest.raises(DataError, match="is no text"):
        read_series(tmp_path / "x_TRAIN.ts")
    with pytest.raises(DataError, match=r"x_TEST\.ts does not exist; series come in pairs"):
        load_task(str(tmp_path / "x_TRAIN.ts"))
    (tmp_path / "y.ts").write_text("")
    with pytest.raises(DataError, match="this name ends in neither"):
        load_task(str(tmp_path / "y.ts"))


def test_a_name_is_looked_for_in_the_data_folder_first(tmp_path: Path) -> None:
    write(tmp_path / "Univariate_ts" / "Toy", TRAIN, TEST)
    task = load_task("ucr:Toy", tmp_path)
    assert task.name == "ucr:Toy"
    with pytest.raises(DataError, match=r"no series 'Tay'.*There are: .*Toy.*name its folder with --data"):
        load_task("ucr:Tay", tmp_path)


def test_series_of_aeon_are_found_without_importing_it(tmp_path: Path) -> None:
    if find_spec("aeon") is None:
        pytest.skip("aeon is not installed: pip install --no-deps aeon")
    task = load_task("ucr:ItalyPowerDemand", tmp_path)
    assert task.spec.input_shape == (1, 24)
    assert (len(task.development), len(task.test)) == (67, 1029)
    vowels = load_task("ucr:JapaneseVowels", tmp_path)
    assert vowels.spec.input_shape == (12, 29)
    assert vowels.spec.outputs == 9
    assert "aeon" not in sys.modules
    assert np.isfinite(samples(vowels, "train").numpy()).all()
