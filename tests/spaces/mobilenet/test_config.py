"""Codes and texts of MobileNets: published ones are read exactly, wrong ones are told in words."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import ArchitectureError
from archscout.spaces import MobileNetConfig, MobileNetSpace, architecture_from_json, architecture_to_json
from archscout.spaces.mobilenet import MobileNetOptions
from archscout.spaces.mobilenet.config import RESOLUTIONS, Block
from archscout.zoo import load_zoo, resolve_architecture

# docs/methods/once-for-all.md#codes.
RELEASED = {
    "dsm_nas.imagenet": (
        "3,3,3,4,4:5,5,7,0,5,5,7,0,5,7,5,0,5,5,5,7,5,7,7,7:6,6,3,0,6,4,6,0,6,6,6,0,6,6,6,4,6,6,4,4",
        "6,6,7,0,6,5,9,0,6,9,6,0,6,6,6,8,6,9,8,8",
    ),
    "dsm_nas_plus.imagenet": (
        "4,4,3,4,4:3,5,5,5,7,7,3,7,5,3,7,0,5,5,7,7,3,5,5,3:6,6,3,3,3,6,3,6,6,3,6,0,6,3,6,4,6,6,4,6",
        "3,6,4,4,7,9,1,9,6,1,9,0,6,4,9,8,3,6,5,3",
    ),
}
GOOD = [1, 2, 0, 0] * 5


@pytest.mark.parametrize("name", RELEASED)
def test_released_architectures_are_read_in_every_form(name: str) -> None:
    legacy, compact = RELEASED[name]
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, MobileNetConfig)
    for text in (legacy, compact):
        assert MobileNetConfig.parse(text) == architecture
        assert resolve_architecture(text) == architecture
    assert (architecture.legacy, architecture.compact) == (legacy, compact)


def test_codes_number_kernel_and_expansion() -> None:
    pairs = [(3, 3), (3, 4), (3, 6), (5, 3), (5, 4), (5, 6), (7, 3), (7, 4), (7, 6)]
    assert [Block.from_code(code) for code in range(1, 10)] == pairs
    assert [Block(*pair).code for pair in pairs] == list(range(1, 10))


def test_a_last_block_after_an_absent_one_moves_up() -> None:
    loose = [1, 2, 0, 9, *GOOD[4:]]
    tight = [1, 2, 9, 0, *GOOD[4:]]
    assert MobileNetConfig.from_code(loose) == MobileNetConfig.from_code(tight)
    assert list(MobileNetConfig.from_code(loose).code) == tight


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.booleans())
def test_every_form_reads_back(seed: int, searched: bool) -> None:
    space = MobileNetSpace(MobileNetOptions(search_resolution=searched))
    architecture = space.random(Random(seed))
    assert (architecture.resolution in RESOLUTIONS) == searched
    assert architecture_from_json(architecture_to_json(architecture)) == architecture
    assert MobileNetConfig.parse(architecture.compact) == architecture
    assert space.decode(space.encode(architecture)) == architecture
    if not searched:
        assert MobileNetConfig.parse(architecture.legacy) == architecture


def test_a_resolution_leads_the_compact_code() -> None:
    architecture = MobileNetConfig.parse("3," + ",".join(map(str, GOOD)))
    assert architecture.resolution == 240
    assert architecture.compact.startswith("3,1,2,0,0,")


def changed(place: int, value: Any) -> list[Any]:
    return [*GOOD[:place], value, *GOOD[place + 1 :]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (GOOD[:19], "the code has 19 numbers; 20 are needed"),
        ([*GOOD, 1], "the code has 21 numbers"),
        (changed(7, 10), "number 8 of the code is 10; allowed: 0"),
        (changed(7, -1), "number 8 of the code is -1"),
        (changed(7, 1.0), "number 8 of the code is 1.0"),
        (changed(7, True), "number 8 of the code is True"),
        (changed(5, 0), "number 6 of the code is 0, but the first two blocks of a stage cannot be absent"),
    ],
)
def test_wrong_codes_name_the_place(code: list[Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        MobileNetConfig.from_code(code)


LEGACY = RELEASED["dsm_nas.imagenet"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,x", "'x' is no whole number"),
        ("1,2,", "'' is no whole number"),
        ("1,2,٣", "is no whole number"),
        ("1,2:3", "has 2 parts; give depths:kernels:ratios"),
        ("9," + ",".join(map(str, GOOD)), "resolution index 9; allowed: 0 to 4"),
        (LEGACY.replace("3,3,3,4,4:", "3,3,3,4:"), "there are 4 depths; 5 are needed"),
        (LEGACY.replace("3,3,3,4,4:", "2,3,3,4,4:"), "stage 1: depth 2, but kernels and ratios"),
        (LEGACY.replace("3,3,3,4,4:", "4,3,3,4,4:"), "stage 1: depth 4, but"),
        (LEGACY.replace(":5,5,7", ":5,0,7"), "stage 1, block 2: kernel 0 and expansion 6"),
        (LEGACY.replace(":6,6,3", ":6,5,3"), "stage 1, block 2: kernel 5 and expansion 5; allowed kernels: 3, 5, 7"),
    ],
)
def test_wrong_texts_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        MobileNetConfig.parse(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages": []}, "has the fields 'stages' and 'resolution'"),
        ({"stages": 3, "resolution": None}, "stages: must be a list of lists"),
        ({"stages": [[[3, 3]] * 2] * 4, "resolution": None}, "stages: there are 4"),
        ({"stages": [[[3, 3]] * 5] * 5, "resolution": None}, "stage 1: 5 blocks; allowed: 2 to 4"),
        ({"stages": [[[3, 3], [3]]] * 5, "resolution": None}, r"stage 1, block 2: a block is \[kernel, expansion\]"),
        ({"stages": [[[3, 3], [True, 3]]] * 5, "resolution": None}, "stage 1, block 2: a block is"),
        ({"stages": [[[3, 3]] * 2] * 5, "resolution": 100}, "resolution: 100 pixels; allowed: 192"),
        ({"stages": [[[3, 3]] * 2] * 5, "resolution": "x"}, "resolution: 'x'; must be a number"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        MobileNetConfig.from_fields(fields, 1)
