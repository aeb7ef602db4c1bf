from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.readers.series_arff import read_arff
from archscout.tasks.readers.series_columns import choose_columns, series_of_table
from archscout.tasks.readers.series_tables import Table, read_table
from archscout.tasks.readers.series_ts import read_ts

CPU = torch.device("cpu")


def whole(task: Task) -> tuple[list[Any], list[Any]]:
    """Inputs and targets of all cases of one file, in its order."""
    source = task.train.source
    inputs, targets = next(iter(source.batches([torch.arange(len(source))], CPU)))
    return inputs.tolist(), targets.tolist()


def told(task: Task, level: str | None = None) -> str:
    return "\n".join(str(finding) for finding in task.findings if level in (None, finding.level))


def rows(line: Callable[[int], str], count: int = 12) -> str:
    return "".join(line(number) + "\n" for number in range(count))


def save(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "suffix", "read"),
    [
        ("ArrowHead", ".tsv", read_table),
        ("GunPoint", ".tsv", read_table),
        ("ArrowHead", ".arff", read_arff),
        ("GunPoint", ".arff", read_arff),
        ("BasicMotions", ".arff", read_arff),
    ],
)
def test_formats_of_the_archives_hold_what_their_ts_files_hold(
    name: str, suffix: str, read: Callable[[Path], Table]
) -> None:
    found = find_spec("aeon")
    if found is None or found.origin is None:
        pytest.skip("aeon is not installed: pip install --no-deps aeon")
    folder = Path(found.origin).parent / "datasets" / "data" / name
    table = read(folder / f"{name}_TRAIN{suffix}")
    file = series_of_table(table, choose_columns(table, DEFAULTS, published=True))
    expected = read_ts(folder / f"{name}_TRAIN.ts")
    assert len(file.cases) == len(expected.cases)
    assert all(np.array_equal(one, other) for one, other in zip(file.cases, expected.cases, strict=True))
    assert file.targets == expected.targets
    assert file.class_words == (expected.class_words if suffix == ".arff" else ())
    assert file.findings == ()


def test_the_archive_of_2018_pads_with_nan_and_counts_classes_its_own_way(tmp_path: Path) -> None:
    text = "2\t1.5\t2\t3\n-1\t4\tNaN\tNaN\n10\t7\tNaN\t9\n" * 4
    task = load_task(save(tmp_path / "x_TRAIN.tsv", text))
    assert task.class_names == ("-1", "2", "10")
    inputs, targets = whole(task)
    mean = (1.5 + 2 + 3 + 4 + 7 + 8 + 9) / 7
    assert inputs[:3] == [[[1.5, 2, 3]], [pytest.approx([4, mean, mean])], [[7, 8, 9]]]
    assert targets[:3] == [1, 0, 2]
    assert "4 missing values in 4 cases" in told(task) and "1 to 3 steps" in told(task)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x_TRAIN", "  1.0000000e+00  -5.0e-01   2.0\n   2.0000000e+00   3.0   4.0\n"),
        ("x_TRAIN.txt", "1,-0.5,2\n2,3,4\n"),
        ("x_TRAIN.csv", "-0.5,2,1\n3,4,2\n"),
        ("mine.csv", "a,b,label\n-0.5,2,1\n3,4,2\n"),
        ("mine.csv", "Class;t0;t1\r\n1;-0,5;2,0\r\n2;3;4,0\r\n"),
        ("mine.csv", '"label","t0","t1"\n"1","-0.5","2"\n"2","3","4"\n'),
        ("mine.csv", "# t0,t1,label\n-5e-1,2,1\n3,4,2\n"),
        ("mine.csv", ",t0,t1,y\n0,-0.5,2,1\n1,3,4,2\n"),
        ("mine.csv", "id,t1,t0,target,\na,2,-0.5,1,\nb,4,3,2,\n"),
        ("mine.csv", "t0 t1 label\n1 -0.5 2 1\n2 3 4 2\n"),
        ("mine.tsv", "\ufefflabel\tt0\tt1\n\n1.0\t-0.5\t2\n2.0\t3\t4\n\n"),
        ("mine.csv", "label;t0;t1\n1;-0.5;2\n2;3;4\n"),
        ("mine.csv", "t0,t1,activity\n-0.5,2,1\n3,4,2\n"),
    ],
)
def test_ways_to_write_one_table_read_the_same(tmp_path: Path, name: str, text: str) -> None:
    first, *body = text.strip("\n").split("\n")
    if name.startswith("mine"):  # a header, and three times the rows; names of series stay unique
        for again in ("a", "b"):
            body += [line.replace("a,", f"a{again},", 1).replace("b,", f"b{again},", 1) for line in body[-2:]]
        for blank in [mark for mark in ", " if first.startswith(mark) or (mark == " " and first == "t0 t1 label")]:
            body = [blank.join([str(number), *line.split(blank)[1:]]) for number, line in enumerate(body)]
        text = "\n".join([first, *body]) + "\n"
    else:
        text = text * 3
    options = TaskOptions(target=("last",)) if name == "x_TRAIN.csv" else None
    task = load_task(save(tmp_path / name, text), options=options)
    inputs, targets = whole(task)
    assert inputs[:2] == [[[-0.5, 2]], [[3, 4]]]
    assert targets[:2] == [0, 1]
    assert task.class_names == ("1", "2")


def test_series_of_rows_have_names_that_decide_what_is_held_out(tmp_path: Path) -> None:
    head = "id," + ",".join(f"t{step}" for step in range(5)) + ",label\n"
    few = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"s{n},{n},1,2,3,4,{'ab'[n % 2]}", 60)))
    more = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"s{n},{n},1,2,3,4,{'ab'[n % 2]}", 90)))
    assert set(few.sample_names("test")) <= set(more.sample_names("test"))
    assert "the column 'id' names the series" in told(few)


def test_a_published_file_whose_first_column_is_no_class_is_asked_about(tmp_path: Path) -> None:
    path = save(tmp_path / "x_TRAIN.tsv", rows(lambda n: f"0.5\t{n}.5\t1.5"))
    with pytest.raises(DataError, match="no column says that it is the target"):
        load_task(path)
    path = save(tmp_path / "x_TRAIN.tsv", rows(lambda n: f"0.5\t{n}.5\t1.5\t{n % 2}"))
    assert "the last column, which alone holds few whole numbers" in told(load_task(path))


def test_the_separator_that_excel_names_is_used(tmp_path: Path) -> None:
    task = load_task(save(tmp_path / "x.csv", "sep=;\nt0;t1;t2;label\n" + rows(lambda n: f"{n};1,5;2;{n % 2}")))
    assert whole(task)[0][3] == [[3, 1.5, 2]]


def test_which_column_is_the_target_is_asked_where_several_could_be(tmp_path: Path) -> None:
    path = save(tmp_path / "x.csv", rows(lambda n: f"{n % 2},0.5,{n}.25,{n % 3}"))
    with pytest.raises(
        DataError, match=r"the first and the last column could both be the target.*--target .*1, 2, 3, 4"
    ):
        load_task(path)
    assert load_task(path, target="first").spec.outputs == 2
    assert load_task(path, target="4").spec.outputs == 3
    path = save(tmp_path / "x.csv", rows(lambda n: f"{n}.5,0.5,{n}.25,{n}.75"))
    with pytest.raises(DataError, match="no column says that it is the target"):
        load_task(path)
    assert load_task(path, target="last").spec.kind == "regression"
    path = save(tmp_path / "x.csv", rows(lambda n: f"{n}.5,0.5,{n}.25,{n % 2}"))
    assert "the last column, which alone holds few whole numbers" in told(load_task(path))
    path = save(tmp_path / "x.csv", rows(lambda n: f"{n}.5,walk,{n}.25,{n % 2}".replace("walk", "ab"[n % 2] * 3)))
    assert load_task(path).class_names == ("aaa", "bbb")
    path = save(tmp_path / "x.csv", "label,class,t0,t1\n" + rows(lambda n: f"a,b,{n},{n}"))
    with pytest.raises(DataError, match="the columns label, class could all be the target"):
        load_task(path)
    with pytest.raises(DataError, match=r"has no column 'klass'; its columns are label, class, t0, t1"):
        load_task(path, target="klass")


def test_numbers_of_a_column_are_classes_or_quantities(tmp_path: Path) -> None:
    head = "t0,t1,t2,y\n"
    real = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{n}.5")))
    assert (real.spec.kind, whole(real)[1][3]) == ("regression", [3.5])
    few = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{n % 3}")))
    assert few.spec.kind == "classification"
    assert "read as 3 classes; if it is a quantity: --kind regression" in told(few, "note")
    many = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{20 + n}", 60)))
    assert many.spec.kind == "regression" and "most of them once; they were read as numbers" in told(many, "note")
    crops = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{n % 24 + 1}", 60)))
    assert crops.spec.outputs == 24
    path = save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{20 + n % 60}", 180))
    with pytest.raises(DataError, match=r"60 different whole numbers, 20 to 79. Say what they are: --kind regression"):
        load_task(path)
    assert load_task(path, kind="regression").spec.outputs == 1


def test_several_columns_of_targets(tmp_path: Path) -> None:
    head = "t0,t1,t2,a,b\n"
    forecast = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{n}.5,{n}")), target=("a", "b"))
    assert (forecast.spec.kind, forecast.spec.outputs, forecast.spec.input_shape) == ("regression", 2, (1, 3))
    assert whole(forecast)[1][2] == [2.5, 2]
    labels = load_task(
        save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{n % 2},{int(n > 3)}")), target=("a", "b")
    )
    assert (labels.spec.kind, labels.class_names) == ("multilabel", ("a", "b"))
    hot = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,{n % 2},{1 - n % 2}")), target=("b", "a"))
    assert (hot.spec.kind, hot.class_names, whole(hot)[1][:2]) == ("classification", ("b", "a"), [0, 1])
    path = save(tmp_path / "x.csv", head + rows(lambda n: f"{n},1,2,x,{n}"))
    with pytest.raises(DataError, match="the targets a, b are text"):
        load_task(path, target=("a", "b"))


def test_a_header_that_counts_twice_gives_channels(tmp_path: Path) -> None:
    head = "y_0,x_1,x_0,y_1,label\n"
    task = load_task(save(tmp_path / "x.csv", head + rows(lambda n: f"3,2,{n},4,{n % 2}")))
    assert task.spec.input_shape == (2, 2)
    assert whole(task)[0][5] == [[3, 4], [5, 2]]
    assert "2 channels of 2 steps: y, x" in told(task, "note")
    odd = load_task(save(tmp_path / "x.csv", "x_0,x_1,y_0,label\n" + rows(lambda n: f"3,2,{n},{n % 2}")))
    assert odd.spec.input_shape == (1, 3)
    assert "not equally many of each" in told(odd, "doubtful")


def test_a_header_of_numbers_is_no_series(tmp_path: Path) -> None:
    task = load_task(save(tmp_path / "x.csv", "0,1,2,3,4\n" + rows(lambda n: f"{n % 2},0.5,1,2,{n}.5")), target="0")
    assert len(task.development) + len(task.test) == 12
    assert "the first line counts the columns" in told(task, "note")
    two = load_task(save(tmp_path / "x.csv", "label,0,1,2\n" + rows(lambda n: f"{n % 2},0.5,1,2")))
    assert len(two.development) + len(two.test) == 12


def test_persons_stay_together_where_asked_and_are_pointed_at_where_not(tmp_path: Path) -> None:
    head = "subject,t0,t1,t2,t3,label\n"
    path = save(tmp_path / "x.csv", head + rows(lambda n: f"p{n // 8},{n},1,2,3,{n % 2}", 96))
    alone = load_task(path)
    assert alone.spec.input_shape == (1, 4)
    assert "keep them in one split with --groups 'column:subject'" in told(alone, "doubtful")
    task = load_task(path, groups="column:subject")
    inputs, _ = whole(task)
    persons = [
        {int(inputs[index][0][0]) // 8 for index in task.split(part).indices.tolist()}
        for part in ("train", "validation", "test")
    ]
    assert not persons[0] & persons[1] and not persons[1] & persons[2] and not persons[0] & persons[2]
    assert sum(map(len, persons)) == 12
    assert "subject" not in told(task)
    with pytest.raises(DataError, match=r"--groups column:NAME, not 'folder:1'"):
        load_task(path, groups="folder:1")
    with pytest.raises(DataError, match="is both target and groups"):
        load_task(path, groups="column:label", target="label")


def test_features_without_an_order_are_doubtful(tmp_path: Path) -> None:
    head = "sepal length,sepal width,petal length,petal width,species\n"
    task = load_task(save(tmp_path / "iris.csv", head + rows(lambda n: f"{n},1,2,3,{'ab'[n % 2]}")))
    assert "If they are features without an order" in told(task, "doubtful")


def test_a_test_file_has_the_columns_of_training_in_any_order_and_may_lack_the_target(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", "t0,t1,t2,label\n" + rows(lambda n: f"{n},1,2,{n % 2}"))
    save(tmp_path / "test.csv", "label,t2,t1,t0\n1,3,2,1\n0,6,5,4\n")
    task = load_task(str(tmp_path))
    inputs, targets = next(iter(task.test.source.batches([task.test.indices], CPU)))
    assert inputs.tolist() == [[[1, 2, 3]], [[4, 5, 6]]] and targets.tolist() == [1, 0]
    assert task.name == tmp_path.name
    save(tmp_path / "test.csv", "t0,t1,t2\n1,2,3\n")
    task = load_task(str(tmp_path / "train.csv"))
    assert task.unlabelled is not None and len(task.unlabelled) == 1 and len(task.test) == 2
    save(tmp_path / "test.csv", "t0,t2,label\n1,2,3\n")
    with pytest.raises(DataError, match=r"lacks the columns t1 that the training file has"):
        load_task(str(tmp_path))


LONG = "recording,time,acc,gyro,label,subject\n"


def steps(number: int) -> str:
    order = (2, 0, 1) if number % 2 else (0, 1, 2)
    return "\n".join(f"r{number},{0.5 * t},{number + t},{t},{'ab'[number % 2]},p{number // 4}" for t in order)


def test_a_row_for_each_step_is_recognised(tmp_path: Path) -> None:
    task = load_task(save(tmp_path / "x.csv", LONG + rows(steps)))
    assert (task.spec.input_shape, task.class_names) == ((2, 3), ("a", "b"))
    inputs, targets = whole(task)
    assert inputs[5] == [[5, 6, 7], [0, 1, 2]] and targets[:3] == [0, 1, 0]
    assert "rows with one 'recording' are the steps of a series, in the order of 'time'" in told(task)
    assert "the column 'subject' was not read as a value" in told(task, "doubtful")
    assert all(name.startswith("x.csv: r") for name in task.sample_names("test"))
    grouped = load_task(str(tmp_path / "x.csv"), groups="column:subject")
    assert len(grouped.test) == 4
    renamed = save(tmp_path / "x.csv", LONG.replace("recording", "walk") + rows(steps))
    with pytest.raises(DataError, match=r"which column tells the series apart, subject\? Name it with --series-id"):
        load_task(renamed)
    assert whole(load_task(renamed, series_id="walk"))[0] == inputs


def test_steps_without_an_order_or_with_changing_targets_are_told(tmp_path: Path) -> None:
    path = save(tmp_path / "x.csv", "id,a,b,label\n" + rows(lambda n: f"{n // 3},{n},1,{n // 3 % 2}", 24))
    with pytest.raises(DataError, match=r"rows share values of 'id'.*--series-id 'id'"):
        load_task(path)
    task = load_task(path, series_id="id")
    assert whole(task)[0][1] == [[3, 4, 5], [1, 1, 1]]
    assert "in the order of the file" in told(task)
    path = save(tmp_path / "x.csv", "id,time,b,label\n" + rows(lambda n: f"{n // 3},{n},1,{n % 2}"))
    with pytest.raises(DataError, match=r"4 cases cannot be read(.|\n)*series '0' has several values of label: 0, 1"):
        load_task(path)
    path = save(tmp_path / "x.csv", "timestamp,value,is_anomaly\n" + rows(lambda n: f"{n},1.5,0"))
    with pytest.raises(DataError, match=r"looks like one long series.*columns are timestamp, value, is_anomaly"):
        load_task(path)
    path = save(tmp_path / "x.csv", "Date,Passengers\n" + rows(lambda n: f"1949-{n + 1:02},112"))
    with pytest.raises(DataError, match=r"has 2 columns \(Date, Passengers\)"):
        load_task(path)


def test_dates_of_steps_are_brought_to_equal_steps(tmp_path: Path) -> None:
    lines = "".join(
        f"{n},2024-01-0{day},{day * 10},{n % 2}\n" for n in range(6) for day in ((1, 2, 4) if n else (1, 2, 3))
    )
    task = load_task(save(tmp_path / "x.csv", "id,date,v,label\n" + lines))
    assert whole(task)[0][:2] == [[[10, 20, 30, pytest.approx(24.347826)]], [[10, 20, 30, 40]]]
    assert "resampled to equal steps of 86400" in told(task, "note")


def test_the_order_of_time_is_that_of_the_column_of_times(tmp_path: Path) -> None:
    head = "day,t0,t1,t2,t3,y\n"
    path = save(tmp_path / "x.csv", head + rows(lambda n: f"2024-01-{12 - n:02},{n},1,2,3,{n}.5"))
    task = load_task(path, order="time")
    inputs, _ = next(iter(task.test.source.batches([task.test.indices], CPU)))
    assert inputs[:, 0, 0].tolist() == [1, 0]
    assert "in the order of the column 'day'" in told(task) and "'day'" in told(load_task(path))
    path = save(tmp_path / "x.csv", head + rows(lambda n: f"day {n},{n},1,2,3,{n}.5"))
    with pytest.raises(DataError, match=r"'day' gives no order of time: 'day 0' is no time"):
        load_task(path, order="time")
    text = LONG + rows(lambda n: "".join(f"r{n},{t - n},{n},{t},a,p\n" for t in range(3)).strip())
    task = load_task(save(tmp_path / "x.csv", text.replace(",a,", ",a.,").replace("a.", "b", 9)), order="time")
    inputs, _ = next(iter(task.test.source.batches([task.test.indices], CPU)))
    assert inputs[:, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t0,t1,label\n1,2,a\n1,b\n", "the first line names 3 columns(.|\n)*line 3: 2 cells"),
        ("t0,t0,label\n1,2,a\n1,2,b\n", "columns have the same name: t0"),
        ("t0,t1,label\n", "has names of columns but no rows"),
        ("", "has no rows"),
        (
            "t0,t1,label\n" + "1,2,a\n" * 5 + "1,x,b\n1,,b\n,,b\n",
            "line 7: 'x' is no number(.|\n)*line 9: a series without",
        ),
        ("t0,t1,label\n1,1e999,a\n1,2,b\n", "line 2: a value is infinite"),
        ("t0,t1,label\n1,2,\n1,2,?\n", "no case has a target"),
        ("t0,label,note\n1,a,x\n2,b,y\n", "a row has 1 values beside the target"),
        ('t0,t1,label\n1,"2,a\n1,2,b\n', "quotation mark|cells"),
        ("name,label,w\na.jpg,1,3\nb.JPG,2,3\n", "the column 'name' names files(.|\n)*archscout run FOLDER --labels"),
        ("1,2\n2,3\n", "has 2 columns(.|\n)*--labels"),
        ("case_id,dim_id,reading_id,value,label\n" + "1,0,0,5,a\n1,1,0,5,a\n", "'dim_id' seems to tell channels apart"),
        ("t0,t1,label\n1,2,a\n2,3,a\n", "all cases are of one class, a"),
    ],
)
def test_tables_that_are_wrong_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(save(tmp_path / "x.csv", text))


ARFF = """% a comment
@RELATION 'a b'
@attribute 'att 0' NUMERIC
@attribute att1 real
@attribute "sub\\"ject" string
@attribute klass {'walk up', b, "it's"}
@DATA

1,2,'p, 1','walk up'
?, -4e0 ,p2,b
5,6,"p\\n3","it's",
"""


def test_arff_files_may_have_quotes_comments_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "x.arff"
    for content in (ARFF, ARFF.replace("\n", "\r\n"), "\ufeff" + ARFF):
        table = read_arff(Path(save(path, content)))
        assert table.columns == ("att 0", "att1", 'sub"ject', "klass")
        assert table.rows[0] == ["1", "2", "p, 1", "walk up"]
        assert table.rows[2] == ["5", "6", "p\n3", "it's"]
        assert table.classes == {"klass": ("walk up", "b", "it's")}
    head, data = ARFF.split("@DATA\n")
    task = load_task(save(path, head + "@DATA" + data * 3))
    assert task.class_names == ("walk up", "b", "it's")
    assert whole(task)[0][1] == [[-4, -4]]
    assert "--groups 'column:sub\"ject'" in told(task, "doubtful")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,2,'p, 1','walk up'", "{0 1, 3 b}", "line 9: sparse data(.|\n)*SparseToNonSparse"),
        ("1,2,'p, 1','walk up'", "1,2,'p, 1", "line 9: quotes that do not close"),
        ("1,2,'p, 1','walk up'", "1,2", "line 9: 2 values, for 4 attributes"),
        ("1,2,'p, 1','walk up'", "1,2,p,run", "'klass' has the values run, which its header does not name"),
        ("1,2,'p, 1','walk up'", "1,two,p,b", "line 9: 'two' is no number"),
        ("@DATA", "", "expected @relation, @attribute or @data, found '1,2,'p, 1'"),
        ("att1 real", "att1 complex", "the attribute 'att1' is 'complex'; allowed: numeric"),
        ("att1 real", "'att 0' real", "two attributes have the name 'att 0'"),
        ("att1 real", "", "an attribute without a name"),
        ("{'walk up', b, \"it's\"}", "{'walk up', b", "are not written"),
        ("att1 real", "att1 relational", "the relational attribute 'att1' has no @end|steps of series are numeric"),
        ("@attribute att1", "@end att1\n@attribute att1", "@end without a relational attribute"),
    ],
)
def test_arff_files_that_are_wrong_are_told(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ARFF
    with pytest.raises(DataError, match=message):
        load_task(save(tmp_path / "x.arff", ARFF.replace(old, new)))


def test_arff_files_without_a_nominal_attribute_are_a_regression_where_a_name_says_so(tmp_path: Path) -> None:
    head = "@relation r\n@attribute a0 numeric\n@attribute a1 numeric\n@attribute target numeric\n@data\n"
    task = load_task(save(tmp_path / "x.arff", head + rows(lambda n: f"{n},1,{n}.5")))
    assert task.spec.kind == "regression"


def test_relational_channels_of_one_case_have_one_length(tmp_path: Path) -> None:
    head = "@relation r\n@attribute s relational\n@attribute a0 numeric\n@attribute a1 numeric\n@end s\n"
    text = head + "@attribute class {x,y}\n@data\n" + "'1,2\\n3,?',x\n\"4,5\\n6,7\",y\n" * 3
    task = load_task(save(tmp_path / "x.arff", text))
    assert whole(task)[0][:2] == [[[1, 2], [3, 3]], [[4, 5], [6, 7]]]
    with pytest.raises(DataError, match="line 8: channels of different lengths"):
        load_task(save(tmp_path / "x.arff", text.replace("3,?", "3", 1)))
