from __future__ import annotations

from pathlib import Path

import pytest

import archscout
from archscout.errors import ArchscoutError, DataError, SettingsError, UnknownNameError
from archscout.tasks import TASKS, Task, TaskSpec, load_task, register_reader, register_task, task_spec
from archscout.tasks.checks import check_data
from archscout.tasks.options import TaskOptions
from archscout.tasks.registry import READERS, data_root, named_task
from tests.tasks.images_on_disk import write_classes


def test_built_in_tasks_are_listed_with_descriptions() -> None:
    assert {"digits", "cifar10", "cifar100", "imagenet"} <= set(TASKS.names())
    assert all(entry.description.endswith(".") for _, entry in TASKS.items())


def test_a_registered_task_gets_the_data_folder(tmp_path: Path) -> None:
    seen = []
    spec = TaskSpec("toy", "classification", (1, 2, 2), 2)

    @register_task(spec)
    def toy(root: Path) -> Task:
        seen.append(root)
        return load_task("digits")

    try:
        load_task("toy", tmp_path)
        assert seen == [tmp_path]
        assert task_spec("toy") == spec
        with pytest.raises(ArchscoutError, match="'toy' is registered already"):
            register_task(spec)(toy)
    finally:
        TASKS.unregister("toy")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec("toy", "clasification", (1, 2, 2), 2), "the kind 'clasification'; allowed: classification,"),  # type: ignore[arg-type]
        (TaskSpec("toy", "classification", (1, 0, 2), 2), r"shape \(1, 0, 2\)"),
        (TaskSpec("toy", "classification", (), 2), r"shape \(\)"),
        (TaskSpec("toy", "classification", (4,), 0), "0 outputs"),
    ],
)
def test_a_task_of_impossible_shapes_is_refused_on_registration(spec: TaskSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        register_task(spec)(lambda root: load_task("digits"))
    assert "toy" not in TASKS


def test_a_registered_reader_is_asked_before_the_own_ones_and_is_named_in_messages(tmp_path: Path) -> None:
    def is_table(path: Path) -> bool:
        return path.is_dir() and (path / "table.csv").is_file()

    @register_reader("toy", "a folder with table.csv", is_table)
    def read_table(path: Path, options: TaskOptions) -> Task:
        raise DataError(f"{path} was read as a table")

    try:
        for name in ("table.csv", "table.doc"):
            (tmp_path / name).write_text("1,2")
        with pytest.raises(DataError, match="was read as a table"):
            load_task(str(tmp_path))
        with pytest.raises(SettingsError, match=r"a folder with table\.csv is read without the option layout; allowed"):
            load_task(str(tmp_path), layout="NL")
        with pytest.raises(DataError, match=r"a path: .*a folder with table\.csv.*a folder of images"):
            load_task(str(tmp_path / "table.doc"))
    finally:
        READERS.unregister("toy")


def test_a_folder_that_is_called_like_a_registered_task_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_task("digits") == named_task("task:digits") == "digits"
    (tmp_path / "digits").mkdir()
    assert named_task("digits") == "digits"  # nothing is in it
    write_classes(tmp_path / "digits", ("cat", "dog"), 8)
    with pytest.raises(DataError, match=r"write \./digits, for the registered task task:digits"):
        named_task("digits")
    with pytest.raises(DataError, match=r"write \./digits"):
        check_data("digits")
    with pytest.raises(DataError, match=r"write \./digits"):
        archscout.run("digits")
    with pytest.raises(DataError, match=r"write \./digits"):
        archscout.train("darts_v2", task="digits")
    assert load_task("digits").class_names != ("cat", "dog")  # a run that was started goes on
    assert load_task("task:digits").spec == load_task("digits").spec == task_spec("task:digits")
    assert load_task("./digits").class_names == load_task("digits/").class_names == ("cat", "dog")
    assert named_task("digits", tmp_path) == "digits"  # its files are named
    monkeypatch.setenv("ARCHSCOUT_DATA", str(tmp_path))
    assert named_task("digits") == "digits"
    monkeypatch.delenv("ARCHSCOUT_DATA")
    (tmp_path / "digits" / "config.yaml").write_text("")
    assert named_task("digits") == "digits"  # a run directory
    assert named_task("task:nothing") == "task:nothing"


def test_the_data_folder_is_named_by_argument_environment_or_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_DATA", "/data")
    assert data_root(Path("/mine")) == Path("/mine")
    assert data_root() == Path("/data")
    monkeypatch.delenv("ARCHSCOUT_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/archscout")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert data_root() == Path("~/.cache/archscout").expanduser()


def test_what_is_no_task_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("1,2")
    with pytest.raises(DataError, match=r"a\.doc is a \.doc; a task can be"):
        load_task(str(tmp_path / "a.doc"))
    with pytest.raises(DataError, match="does not exist"):
        load_task(str(tmp_path / "none.npz"))
    with pytest.raises(UnknownNameError, match="Did you mean cifar10 or cifar100"):
        load_task("cifar1")
