"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, `ARCHSCOUT_SHARED_DATA` or `../shared/data`; skips where it is missing."""
    checkout = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("ARCHSCOUT_SHARED_DATA") or checkout.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ARCHSCOUT_SHARED_DATA to a folder that has it")
    return folder
