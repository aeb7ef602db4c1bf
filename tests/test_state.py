"""State dictionaries survive the way to disk and back exactly."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archscout.state import pack, unpack

LEAVES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
KEYS = st.text(max_size=4) | st.integers(0, 9)
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=12,
)


def there_and_back(state: Any) -> Any:
    tree, tensors = pack(state)
    return unpack(json.loads(json.dumps(tree)), tensors)


@given(STATES)
def test_any_nesting_comes_back_equal(state: Any) -> None:
    assert there_and_back(state) == state


def test_optimizer_state_with_integer_keys_and_tensors_comes_back() -> None:
    weight = torch.nn.Parameter(torch.randn(2, 3))
    adam = torch.optim.Adam([weight], lr=0.1, betas=(0.5, 0.999))
    weight.square().sum().backward()  # type: ignore[no-untyped-call]
    adam.step()
    state = there_and_back(adam.state_dict())
    assert state["param_groups"][0]["betas"] == (0.5, 0.999)
    assert torch.equal(state["state"][0]["exp_avg"], adam.state[weight]["exp_avg"])


def test_infinite_floats_survive() -> None:
    assert there_and_back({"best": -math.inf}) == {"best": -math.inf}


def test_a_packed_tensor_is_a_copy() -> None:
    tensor = torch.zeros(3)
    _, tensors = pack({"a": tensor})
    tensor += 1
    assert torch.equal(next(iter(tensors.values())), torch.zeros(3))


def test_other_objects_are_refused_with_their_place() -> None:
    with pytest.raises(TypeError, match=r"/a/b.*Generator"):
        pack({"a": {"b": torch.Generator()}})
