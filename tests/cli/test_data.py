"""`archscout data`: what is needed, what is there, what is prepared."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from archscout.cli.data import group
from archscout.errors import UnknownNameError
from tests.tasks.published.nasbench360 import layouts


def output(*arguments: str | Path) -> str:
    done = CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_missing_files_and_their_place_are_listed(tmp_path: Path) -> None:
    text = output("nasbench360", "darcy", "--root", tmp_path)
    assert text.count("missing  piececonst_r421_N1024_smooth") == 2
    assert "published at https://nb360.ml.cmu.edu" in text
    assert "1.6 GB each; licence MIT, no checksum is published" in text


def test_what_is_there_is_counted_and_the_next_step_told(tmp_path: Path) -> None:
    layouts.write_proteins(tmp_path / "psicov")
    text = output("nasbench360", "psicov", "--root", tmp_path)
    assert "6 files  protein/deepcov/features/*.pkl" in text
    assert f"all there in {tmp_path / 'psicov'}; next: archscout check-data psicov --data {tmp_path}" in text
    (tmp_path / "psicov" / "protein" / "psicov.lst").unlink()
    assert "missing  protein/psicov.lst" in output("nasbench360", "psicov", "--data", tmp_path)


def test_all_ten_are_listed_without_a_name(tmp_path: Path) -> None:
    text = output("nasbench360", "--root", tmp_path)
    assert sum(not line.startswith(" ") for line in text.splitlines()) == 10
    assert "MD5 eb9058c3a382ffc7106e4002c42a8d85" in text


def test_another_name_is_refused() -> None:
    done = CliRunner().invoke(group, ["nasbench360", "darcey"])
    assert isinstance(done.exception, UnknownNameError)
    assert "Did you mean darcy" in str(done.exception)


def test_preparing_ahead(tmp_path: Path) -> None:
    layouts.write_ecg(tmp_path)
    text = output("prepare", "ecg", "--data", tmp_path)
    assert text.startswith("ecg: classification of 1 x 1000 into 4 classes; train ")
    assert (tmp_path / "prepared" / "ecg" / "values.npy").is_file()
