from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest

from archscout.tasks.readers.images import _why_workers_die

UNGUARDED = "import archscout\narchscout.run('digits')\n"
GUARDED = "import archscout\nif __name__ == '__main__':\n    archscout.run('digits')\n"


@pytest.mark.parametrize(
    ("method", "script", "named"),
    [
        ("spawn", UNGUARDED, True),
        ("forkserver", UNGUARDED, True),
        ("spawn", GUARDED, False),
        ("fork", UNGUARDED, False),
    ],
)
def test_a_missing_guard_is_named_where_workers_import_the_script(
    method: str, script: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(script)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "mine.py"), raising=False)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    told = _why_workers_die()
    assert ("mine.py has no line if __name__" in told) == named
    assert ("memory" in told) != named
