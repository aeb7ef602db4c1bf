"""What a space is checked for when it is registered."""

from __future__ import annotations

from typing import Any

import pytest

from archscout.errors import SpaceError
from archscout.spaces.base import SPACES, without_auxiliary_head
from archscout.spaces.cells.space import CellSize
from tests.toys import ToySize, ToySpace


def named(name: str, **members: Any) -> type:
    return type("Space", (ToySpace,), {"name": name, **members})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (type("Space", (), {"name": "toy"}), "lacks build, check, extremes, .*see archscout.spaces.base.SearchSpace"),
        (named("other"), "has the attribute name = 'other'"),
        (named("toy", size_model=dict), "must be Settings, not <class 'dict'>"),
        (named("toy", encode=lambda *_: ()), "'toy' has encode and lacks canonical, decode, layer_code; .*LayerCoded"),
        (named("toy", extract=lambda *_: None), "'toy' has extract and lacks supernet; .*Extractable"),
    ],
)
def test_an_incomplete_space_is_refused_with_what_it_lacks(kind: type, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACES.register("toy")(kind)
    assert "toy" not in SPACES


def test_a_space_may_share_a_member_with_an_ability_that_it_does_not_have() -> None:
    try:
        SPACES.register("toy")(named("toy", supernet=lambda *_: None))  # WeightSharing, not Extractable
    finally:
        SPACES.unregister("toy")


def test_only_sizes_with_an_auxiliary_head_lose_one() -> None:
    assert not without_auxiliary_head(CellSize(auxiliary=True)).auxiliary
    size = ToySize()
    assert without_auxiliary_head(size) is size
