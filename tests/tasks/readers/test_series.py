from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.errors import DataError, SettingsError
from archscout.tasks import Task, load_task
from archscout.tasks.options import TaskOptions
from archscout.tasks.preparation import ArrayPreparation
from archscout.tasks.readers.series import series_task
from archscout.tasks.readers.series_ts import read_ts

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


def targets(task: Task, name: str) -> torch.Tensor:
    split = task.split(name)
    return next(iter(split.source.batches([split.indices], CPU)))[1]


def told(task: Task, level: str | None = None) -> str:
    return "\n".join(str(finding) for finding in task.findings if level in (None, finding.level))


@pytest.mark.parametrize("given", ["", "Toy_TRAIN.ts", "Toy_TEST.ts"])
def test_a_pair_is_a_task_by_folder_or_file(tmp_path: Path, given: str) -> None:
    folder = write(tmp_path / "Toy", TRAIN, TEST)
    task = load_task(str(folder / given))
    assert (task.name, task.spec.kind, task.spec.input_shape, task.spec.outputs) == ("Toy", "classification", (1, 4), 2)
    assert task.class_names == ("left", "right")
    assert (len(task.train), len(task.validation), len(task.test)) == (10, 2, 2)
    assert samples(task, "test")[1, 0].tolist() == [4, 3, 2, 1]
    assert task.sample_names("test") == ["Toy_TEST.ts: case 1", "Toy_TEST.ts: case 2"]
    assert task.findings == ()


def test_channels_and_unequal_lengths_are_padded_with_the_mean(tmp_path: Path) -> None:
    extra = "@dimensions 2\n@equalLength false\n"
    train = "1,2,3:5,6,7:left\n3,2:1,2:right\n" * 3
    folder = write(tmp_path, train, "1,1,1,1:2,2,2,2:left\n", extra, "false")
    task = series_task(folder)
    assert task.spec.input_shape == (2, 4)
    first = samples(task, "train")[0]
    assert first[:, 3].tolist() == pytest.approx([11 / 5, 21 / 5])
    assert "2 to 4 steps" in str(task.provenance["padded"])
    assert "the series have 2 to 4 steps" in told(task, "note")
    preparation = task.preparation
    assert isinstance(preparation, ArrayPreparation)
    assert (preparation.layout, preparation.length) == ("NCL", 4)
    assert preparation.fill == pytest.approx((11 / 5, 21 / 5))
    assert "Toy_TEST.ts has no case of the classes right" in told(task, "doubtful")


def test_gaps_are_filled_by_straight_lines_and_empty_channels_by_their_mean(tmp_path: Path) -> None:
    folder = write(tmp_path, "1,2,3,4:left\n5,6,7,8:right\n" * 2, "1,?,3,?:left\n?,?,?,?:right\n")
    task = series_task(folder)
    assert samples(task, "test")[:, 0].tolist() == [[1, 2, 3, 3], [4.5] * 4]
    assert "6 missing values in 2 cases" in told(task, "note")
    before = series_task(folder, TaskOptions(rules=1))
    assert samples(before, "test")[:, 0].tolist() == [[1, 2, 3, 3], [0] * 4]  # as runs of version 0.1 read it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4\n", "line 7: no label behind a colon"),
        ("1,x,3,4:left\n", "Values are numbers or(.|\n)*line 7: 'x' is no number"),
        ("1,,3,4:left\n", "line 7: an empty value between commas"),
        ("1,1_0,3,4:left\n", "line 7: '1_0' is no number"),
        ("1,²,3,4:left\n", "line 7: '²' is no number"),
        ("1,2,3,4:left\n1,2,3:left\n", "cases of 3 to 4 steps, but the header does not say @equalLength false"),
        ("1,2,3,4:left\n1,2,3,4:5,6,7,8:left\n", "line 8: 2 channels, but the cases before have 1"),
        ("1,inf,3,4:left\n", "line 7: a value is infinite"),
        (f"1,{'9' * 4300},3,4:left\n", "line 7: a value is infinite, or too large"),
        ("1,x,3,4:left\n1,2:left\n1,2,y,4:left\n", "2 cases cannot be read(.|\n)*line 7(.|\n)*line 9"),
        ("", "has no case behind @data"),
        ("?:left\n::left\n", "line 8: 2 channels|a case without values"),
    ],
)
def test_wrong_cases_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path, text, TEST)
    with pytest.raises(DataError, match=message):
        series_task(folder)


def test_faults_of_both_files_are_one_message_and_can_be_skipped(tmp_path: Path) -> None:
    folder = write(tmp_path, TRAIN + "1,x,3,4:left\n", TEST + "1,2,y,4:left\n")
    with pytest.raises(DataError, match=r"line 19: 'x'(.|\n)*line 9: 'y'"):
        series_task(folder)
    task = load_task(str(folder), skip_damaged=True)
    assert (len(task.development), len(task.test)) == (12, 2)
    assert "Toy_TRAIN.ts: 1 case cannot be read; left out" in told(task, "doubtful")


def test_all_classes_that_do_not_belong_are_told_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path, TRAIN + "1,2,3,4:up\n", TEST + "1,2,3,4:down\n1,2,3,4:down\n")
    with pytest.raises(DataError) as caught:
        series_task(folder)
    assert "'up', 1 case, the first is case 13" in str(caught.value)
    assert "'down', 2 cases, the first is case 3" in str(caught.value)
    assert "it allows left, right" in str(caught.value)


def test_a_class_only_in_test_is_wrong_and_one_that_never_occurs_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path, "1,2:left\n" * 4 + "2,1:right\n" * 4, "1,2:left\n2,1:right\n")
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("left right", "up right never left"))
    task = series_task(folder)
    assert task.class_names == ("right", "left")
    assert targets(task, "test").tolist() == [1, 0]
    assert "no case is there; left out: up, never" in told(task, "doubtful")
    test = folder / "Toy_TEST.ts"
    test.write_text(test.read_text() + "3,3:never\n")
    with pytest.raises(DataError, match=r"Toy_TEST.ts has the classes never, of which Toy_TRAIN.ts has no case"):
        series_task(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("@targetLabel true\n@classLabel true a\n@data\n1:2\n", "says both"),
        ("@univariate true\n@data\n1\n", "has no classes: its header needs"),
        ("@classLabel true a b\n", "has no line @data"),
        ("1,2,3\n", "line 1: expected a header line"),
        ("@classLabel true a b\n@\n@data\n1:a\n", "line 2: an @ without a key"),
        (
            "@classLabel true a b\n@seriesLength 3\n@data\n1,2:a\n",
            "the header says @serieslength 3, but the cases have 2",
        ),
        ("@classLabel true a b\n@dimension 3\n@data\n1,2:a\n", "the header says @dimension 3, but the cases have 1"),
    ],
)
def test_wrong_headers_are_told(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x_TRAIN.ts"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_ts(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("@dimensions ²", "@dimensions is ², no number"),
        ("@seriesLength " + "9" * 4300, "@serieslength is 9"),
        ("@missing false", "says @missing false, but values are missing, in the cases 1"),
        ("@univariate true", "says @univariate true, but the cases have 2 channels"),
        ("@timeStamps true", "says @timeStamps true, but the cases have none"),
    ],
)
def test_headers_that_lie_are_doubtful(tmp_path: Path, header: str, said: str) -> None:
    path = tmp_path / "x_TRAIN.ts"
    path.write_text(f"{header}\n@classLabel true a b\n@data\n1,?:3,4:a\n2,3:3,4:b\n", encoding="utf-8")
    assert any(said in str(finding) and finding.level == "doubtful" for finding in read_ts(path).findings)


def test_files_that_people_and_old_programs_wrote_read_the_same(tmp_path: Path) -> None:
    plain = "% é\n@ProblemName x\n@CLASSLABEL TRUE 'walking up' \"b\"\n@Data\n\n1,2,3:walking up\n4,5,6:b\n"
    path = tmp_path / "x_TRAIN.ts"
    for content in (
        plain.encode(),
        b"\xef\xbb\xbf" + plain.encode(),
        plain.replace("\n", "\r\n").encode(),
        plain.replace("\n", "\r").encode(),
        plain.encode("latin-1"),
        plain.encode("utf-16"),
        plain.replace("1,2,3:", "1,2,3,:").replace(":b", ":'b':").encode(),
    ):
        path.write_bytes(content)
        file = read_ts(path)
        assert [case.tolist() for case in file.cases] == [[[1, 2, 3]], [[4, 5, 6]]], content
        assert file.class_words == ("walking up", "b")
        assert file.targets == (("walking up",), ("b",))
        assert bool(file.findings) == (content == plain.encode("latin-1"))


def test_classes_with_blanks_are_found_without_quotes(tmp_path: Path) -> None:
    folder = write(tmp_path, "1,2:walking up\n" * 3 + "2,1:up\n" * 3, "1,2:up\n2,1:walking  up\n")
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("left right", "up walking up"))
    task = series_task(folder)
    assert task.class_names == ("up", "walking up")
    assert targets(task, "test").tolist() == [0, 1]


def test_numbers_as_targets_are_a_regression(tmp_path: Path) -> None:
    head = "@targetLabel true\n@data\n"
    (tmp_path / "x_TRAIN.ts").write_text(head + "".join(f"{i},{i + 1}:{i / 2}\n" for i in range(12)))
    (tmp_path / "x_TEST.ts").write_text(head + "1,2:0.25\n2,3:-7\n3,4:?\n")
    task = load_task(str(tmp_path))
    assert (task.spec.kind, task.spec.outputs) == ("regression", 1)
    assert targets(task, "test").tolist() == [[0.25], [-7]]
    assert task.unlabelled is not None and len(task.unlabelled) == 1
    assert samples(task, "test")[1].tolist() == [[2, 3]]
    assert "Toy" not in told(task) and "x_TEST.ts: 1 case without a target" in told(task, "doubtful")
    (tmp_path / "x_TEST.ts").write_text(head + "1,2:0.25\n2,3:high\n3,4:1e999\n")
    with pytest.raises(DataError, match=r"2 targets are no finite numbers(.|\n)*x_TEST.ts: case 2: the target is high"):
        load_task(str(tmp_path))


def test_several_numbers_behind_a_case_are_a_forecast(tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_text(
        "@targetLabel true\n@data\n" + "".join(f"{i},{i + 1}:{i + 2},{i + 3}\n" for i in range(12))
    )
    task = load_task(str(tmp_path / "x.ts"), order="time")
    assert (task.spec.kind, task.spec.outputs) == ("regression", 2)
    assert targets(task, "test").tolist() == [[12, 13], [13, 14]]
    assert (len(task.train), len(task.validation)) == (8, 2)


def test_the_kind_that_is_asked_for_wins(tmp_path: Path) -> None:
    head = "@classLabel true 1 2 3\n@data\n"
    (tmp_path / "x_TRAIN.ts").write_text(head + "1,2:1\n2,3:2\n3,4:3\n" * 3)
    task = load_task(str(tmp_path), kind="regression")
    assert (task.spec.kind, task.spec.outputs) == ("regression", 1)
    with pytest.raises(DataError, match="a value at every step"):
        load_task(str(tmp_path), kind="dense")
    with pytest.raises(DataError, match="columns of 0 and 1"):
        load_task(str(tmp_path), kind="multilabel")
    with pytest.raises(SettingsError, match="without the option image_size"):
        load_task(str(tmp_path), image_size=8)
    with pytest.raises(DataError, match="has no columns, so groups cannot be told"):
        load_task(str(tmp_path), groups="column:subject")


def test_a_test_file_without_classes_is_set_aside_and_one_is_held_out(tmp_path: Path) -> None:
    folder = write(tmp_path, TRAIN, TEST)
    (folder / "Toy_TEST.ts").write_text("@classLabel false\n@data\n1,2,3,4\n")
    task = series_task(folder)
    assert (len(task.train), len(task.validation), len(task.test)) == (8, 2, 2)
    assert task.unlabelled is not None and task.sample_names("test")
    assert "none of its cases has a target (1 case)" in told(task, "doubtful")
    (folder / "Toy_TRAIN.ts").write_text("@classLabel false\n@data\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"no case has a target \(there is none"):
        series_task(folder)


@pytest.mark.parametrize("name", ["Toy_TRAIN.ts", "mine.ts"])
def test_a_single_file_has_its_test_split_held_out(tmp_path: Path, name: str) -> None:
    write(tmp_path, TRAIN, TEST)
    (tmp_path / "Toy_TEST.ts").unlink()
    (tmp_path / "Toy_TRAIN.ts").rename(tmp_path / name)
    for given in (tmp_path, tmp_path / name):
        task = load_task(str(given))
        assert (len(task.train), len(task.validation), len(task.test)) == (8, 2, 2)
        assert f"16.7 % of {name} were held out as test" in told(task, "note")
        assert task.provenance["held_out"] == ["validation", "test"]
    fold = load_task(str(tmp_path), folds=3, fold=2)
    assert len(fold.test) == 4


def test_a_file_of_validation_cases_is_used(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, TEST)
    (tmp_path / "Toy_VAL.ts").write_text((tmp_path / "Toy_TEST.ts").read_text())
    task = load_task(str(tmp_path))
    assert (len(task.train), len(task.validation), len(task.test)) == (12, 2, 2)


def test_channels_of_different_rates_are_resampled_to_the_longest(tmp_path: Path) -> None:
    extra = "@dimensions 2\n"
    folder = write(tmp_path, "0,1,2,3,4:0,10,40:left\n" * 4 + "5,6,7,8,9:1:right\n" * 4, "1,1,1,1,1:2,?:left\n", extra)
    task = series_task(folder)
    assert task.spec.input_shape == (2, 5)
    rows = sorted(samples(task, "train")[:, 1].tolist())
    assert rows[0] == [0, 5, 10, 25, 40] and rows[-1] == [1] * 5
    assert samples(task, "test")[0, 1].tolist() == [2] * 5
    assert "8 cases with channels of different lengths" in told(task, "note")


def test_equal_time_stamps_are_left_out(tmp_path: Path) -> None:
    lines = [
        "(2007-01-01 00:00:00,241.97),(2007-01-01 00:01:00,241.75),(2007-01-01 00:02:00,?):left",
        "(2008-09-09 20:56:00,4.0),(2008-09-09 20:58:00,1.0),(2008-09-09 20:57:00,0.0):right",
    ] * 3
    folder = write(tmp_path, "\n".join(lines), lines[1])
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("@timeStamps false", "@timeStamps True"))
    task = series_task(folder)
    assert samples(task, "test").tolist() == [[[4, 0, 1]]]
    assert "time stamps at equal steps of 60 were left out" in told(task, "note")


def test_unequal_time_stamps_are_brought_to_the_steps_of_training(tmp_path: Path) -> None:
    train = "(0,0),(1,10),(2,20),(4,40):left\n(5,1),(6,1),(7,1),(8,1):right\n" * 3
    folder = write(tmp_path, train, "(0,0),(3,30),(6,0):left\n(1,1),(2,1):right\n")
    task = series_task(folder)
    mean = (0 + 10 + 20 + 30 + 40 + 4 * 1) / 9
    assert min(samples(task, "train")[:, 0].tolist()) == pytest.approx([0, 10, 20, 30, 40, mean, mean])
    assert samples(task, "test")[0, 0].tolist() == [0, 10, 20, 30, 20, 10, 0]
    assert "resampled to equal steps of 1" in told(task, "note")
    assert "@timeStamps false, but the cases have time stamps" in told(task, "doubtful")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("(0,1),(1000000,2),(1000001,3):left", "more than ten times what was measured"),
        ("(0,1),(0,2),(1,3):left", "two values of a channel have the same time stamp"),
        ("(soon,1),(later,2):left", "'soon' is no time"),
        ("(0,1),1,2:left", r"are written \(stamp,value\)"),
        ("1,2,3:left", "some cases have time stamps and others have none"),
    ],
)
def test_time_stamps_that_make_no_series_are_told(tmp_path: Path, case: str, message: str) -> None:
    folder = write(tmp_path, "(0,1),(1,2),(2,3):left\n" * 9 + case + "\n", "(0,1),(1,2):left\n")
    with pytest.raises(DataError, match=message):
        series_task(folder)


def test_binary_files_and_halves_of_a_pair_are_told(tmp_path: Path) -> None:
    (tmp_path / "x_TRAIN.ts").write_bytes(bytes([255, 254, 128]))
    with pytest.raises(DataError, match="is no text"):
        read_ts(tmp_path / "x_TRAIN.ts")
    (tmp_path / "x_TRAIN.ts").rename(tmp_path / "x_TEST.ts")
    with pytest.raises(DataError, match="no file with TRAIN in its place"):
        load_task(str(tmp_path / "x_TEST.ts"))
    with pytest.raises(DataError, match="does not exist"):
        load_task(str(tmp_path / "y_TRAIN.ts"))


def test_a_folder_of_several_tasks_is_asked_about(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, TEST)
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Toy_{part}.ts").rename(tmp_path / f"One_{part}.ts")
    write(tmp_path, TRAIN, TEST)
    with pytest.raises(DataError, match=r"it has several: One, Toy. Name one"):
        load_task(str(tmp_path))
    assert load_task(str(tmp_path / "One_TEST.ts")).name == "One"


def test_files_of_single_channels_and_other_formats_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, TRAIN, TEST)
    for name in ("ToyDimension1_TRAIN.arff", "Toy_TRAIN.arff", "Toy_TRAIN.txt", "Toy.txt"):
        (tmp_path / name).write_text("")
    task = load_task(str(tmp_path))
    assert task.name == "Toy"
    assert "the same task in other formats was passed over" in told(task, "note")


def test_a_name_is_looked_for_in_the_data_folder_first(tmp_path: Path) -> None:
    write(tmp_path / "Univariate_ts" / "Toy", TRAIN, TEST)
    task = load_task("ucr:Toy", tmp_path)
    assert task.name == "ucr:Toy"
    with pytest.raises(DataError, match=r"no series 'Tay'.*There are: .*Toy.*name its folder with --data"):
        load_task("ucr:Tay", tmp_path)
    with pytest.raises(DataError, match=r"no series '\.\./Toy'"):
        load_task("ucr:../Toy", tmp_path)


def test_a_name_takes_options_and_all_formats_of_the_archives(tmp_path: Path) -> None:
    rows = "".join(f"{1 + i % 2}\t{i}\t{i + 1}\t{i + 2}\n" for i in range(12))
    for folder, suffix, text in (
        ("UCRArchive_2018", ".tsv", rows),
        ("UCR_TS_Archive_2015", "", rows.replace("\t", ",")),
        ("", ".txt", rows.replace("\t", "  ")),
    ):
        root = tmp_path / (suffix or "bare")
        place = root / folder / "Toy"
        place.mkdir(parents=True)
        for part in ("TRAIN", "TEST"):
            (place / f"Toy_{part}{suffix}").write_text(text)
        task = load_task("ucr:Toy", root)
        assert (task.spec.input_shape, task.class_names, len(task.test)) == ((1, 3), ("1", "2"), 12)
        assert samples(task, "test")[0].tolist() == [[0, 1, 2]]
        assert load_task("ucr:Toy", root, kind="regression").spec.kind == "regression"
        with pytest.raises(SettingsError, match="without the option layout"):
            load_task("ucr:Toy", root, layout="NL")


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


@pytest.mark.parametrize(
    ("name", "kind", "shape", "outputs", "sizes"),
    [
        ("Beef", "classification", (1, 470), 5, (30, 30)),
        ("Coffee", "classification", (1, 286), 2, (28, 28)),
        ("CropPart", "classification", (1, 46), 24, (5_760, 1_440)),
        ("Tecator", "regression", (1, 100), 1, (172, 43)),
        ("Covid3Month", "regression", (1, 84), 1, (140, 61)),
    ],
)
def test_every_shared_series_is_a_task(
    shared_data: Path, name: str, kind: str, shape: tuple[int, ...], outputs: int, sizes: tuple[int, int]
) -> None:
    task = load_task(str(shared_data / "series" / name))
    assert (task.spec.kind, task.spec.input_shape, task.spec.outputs) == (kind, shape, outputs)
    assert (len(task.development), len(task.test)) == sizes
    assert task.findings == ()
