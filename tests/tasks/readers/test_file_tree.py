from __future__ import annotations

import os
from pathlib import Path

import pytest

from archscout.errors import DataError
from archscout.tasks.readers.file_tree import alike, natural, read_tree, suffix_of
from tests.tasks.readers.trees import SUFFIXES, layout_of, plant

# fmt: off
LEFTOVERS = (
    ".DS_Store", "._a.png", "__MACOSX/cat/._a.png", "Thumbs.db", "desktop.ini", "@eaDir/a.png", "lost+found/a.png",
    ".ipynb_checkpoints/a.png", "$RECYCLE.BIN/a.png", ".git/a.png", "a.tmp", "~$notes.docx", ".Trashes/a.png",
    "a.png~", ".nfs0001", "System Volume Information/a.png",
)
# fmt: on


def test_what_file_systems_leave_behind_is_passed_over_without_a_word(tmp_path: Path) -> None:
    plant(tmp_path, ["cat/a.png", "dog/a.png", *LEFTOVERS, *(f"cat/{name}" for name in LEFTOVERS)])
    layout = layout_of(tmp_path)
    assert layout.parts["train"].names == ("cat/a.png", "dog/a.png")
    assert layout.findings == ()


def test_other_files_are_counted_by_suffix(tmp_path: Path) -> None:
    plant(tmp_path, ["cat/a.png", "dog/a.png", "README", "dog/x.JSON", "d.nii.gz"])
    plant(tmp_path, [f"cat/{number}.txt" for number in range(30)])
    tree = read_tree(tmp_path, SUFFIXES)
    (finding,) = tree.passed_over()
    assert finding.message == "33 files were passed over: 30 .txt, 1 without suffix, 1 .nii.gz, 1 .json."
    assert len(finding.names) == 33


def test_links_are_followed_once_and_loops_are_named(tmp_path: Path) -> None:
    plant(tmp_path, ["store/1.png", "store/2.png", "data/cat/3.png", "data/dog/4.png"])
    (tmp_path / "data" / "cat" / "more").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "cat" / "again").symlink_to("../dog")
    (tmp_path / "data" / "cat" / "loop").symlink_to(".")
    (tmp_path / "data" / "dog" / "up").symlink_to("../..")
    (tmp_path / "data" / "dog" / "self.png").symlink_to("self.png")
    (tmp_path / "data" / "dog" / "link.png").symlink_to(tmp_path / "store" / "1.png")
    layout = layout_of(tmp_path / "data")
    assert layout.parts["train"].names == (
        *("cat/3.png", "cat/more/1.png", "cat/more/2.png", "dog/4.png", "dog/link.png"),
    )
    found = {finding.code: finding.names for finding in layout.findings if finding.code in ("loops", "links")}
    assert found == {"loops": ("cat/loop", "dog/self.png", "dog/up"), "links": ("cat/again",)}


def test_broken_links_are_wrong_and_all_named(tmp_path: Path) -> None:
    plant(tmp_path, ["cat/1.png", "dog/2.png"])
    for name in ("cat/x.png", "dog/y.png"):
        (tmp_path / name).symlink_to("/nowhere/gone.png")
    (finding,) = layout_of(tmp_path).findings
    assert (finding.level, finding.names) == ("wrong", ("cat/x.png", "dog/y.png"))
    assert finding.message == "2 links lead nowhere: repair or remove what is named, or say --skip-damaged."
    (finding,) = layout_of(tmp_path, skip_damaged=True).findings
    assert finding.level == "doubtful"


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, ["cat/1.png", "dog/2.png", "dog/locked/3.png"])
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("archscout.tasks.readers.file_tree.os.scandir", refuse)
    (finding,) = layout_of(tmp_path).findings
    assert (finding.level, finding.names) == ("wrong", ("dog/locked (Permission denied)",))
    with pytest.raises(DataError, match=r"cannot read the folder .*gone: No such file"):
        read_tree(tmp_path / "gone", SUFFIXES)


def test_a_deep_tree_is_read(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 200)
    plant(tmp_path, [f"cat/{deep}/1.png", "dog/1.png"])
    assert len(layout_of(tmp_path).parts["train"]) == 2


def test_names_are_sorted_as_people_count() -> None:
    assert sorted(["img10", "img2", "b", "10", "9", "a1b10", "a1b9", ""], key=natural) == [
        *("", "9", "10", "a1b9", "a1b10", "b", "img2", "img10")
    ]
    assert sorted(["1", "01", "001"], key=natural) == ["001", "01", "1"]


def test_names_that_read_alike_have_one_form() -> None:
    assert alike("cafe\u0301 ") == alike("caf\u00e9") == "caf\u00e9"
    assert alike(" a  b") == "a b"


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.PNG", ".png"), ("x/a.nii.gz", ".nii.gz"), ("a", ""), ("a.b.JPG ", ".jpg")]
)
def test_suffixes_are_compared_in_lower_case(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix
