"""A network of the user's own at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from archscout.cli.user_model import load_model
from archscout.errors import SettingsError

SOURCE = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

made = make()
number = 3

def three():
    return 3

def broken():
    raise RuntimeError("no weights")

def leaves():
    raise SystemExit(3)

class Net(nn.Linear):
    def __init__(self):
        super().__init__(2, 3)

class Outer:
    Inner = Net
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network_of_a_test.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])


@pytest.mark.parametrize("name", ["make", "made"])
def test_a_network_or_a_function_that_makes_one(name: str) -> None:
    assert isinstance(load_model(f"own_network_of_a_test:{name}"), nn.Sequential)
    assert isinstance(load_model(f"own_network_of_a_test.py:{name}"), nn.Sequential)


def test_none_stays_none() -> None:
    assert load_model(None) is None


@pytest.mark.parametrize("text", ["own_network_of_a_test:nothing", "no_such_module_at_all:make", "own", "", ":make"])
def test_unknown_names_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="MODULE:NAME"):
        load_model(text)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(SettingsError, match="no weights"):
        load_model("own_network_of_a_test:broken")
    with pytest.raises(SettingsError):
        load_model("own_network_of_a_test:number")
    with pytest.raises(SettingsError, match=r"torch\.nn\.Module"):
        load_model("own_network_of_a_test:three")


def test_a_file_in_another_folder_and_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my-net.py").write_text("from helper_of_a_test import Net\n")
    (tmp_path / "sub" / "helper_of_a_test.py").write_text(SOURCE)
    assert type(load_model("sub/my-net.py:Net")).__name__ == "Net"
    assert type(load_model(f"{tmp_path}/sub/my-net.py:Net")).__name__ == "Net"
    assert type(load_model("own_network_of_a_test:Outer.Inner")).__name__ == "Net"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own_network_of_a_test", "the name of the network is missing. It has the networks made, Net"),
        ("own_network_of_a_test:", "the name of the network is missing"),
        ("own_network_of_a_test:Nett", "has nothing of the name 'Nett'. It has the networks Net"),
        ("own_network_of_a_test:leaves", r"leaves\(\) fails with SystemExit: 3 \(own_network_of_a_test.py, line 17\)"),
        ("own_network_of_a_test:broken", r"RuntimeError: no weights \(own_network_of_a_test.py, line 14\)"),
        ("sub/none.py:Net", "cannot import sub/none.py: ModuleNotFoundError"),
        ("broken_file_of_a_test:Net", r"cannot import broken_file_of_a_test: SyntaxError: .*line 1"),
    ],
)
def test_messages_say_what_was_wrong_and_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken_file_of_a_test.py").write_text("def :\n")
    with pytest.raises(SettingsError, match=message):
        load_model(text)
