from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks.readers.layouts import read_inputs, recognise_layout


@pytest.mark.parametrize(
    ("shape", "is_uint8", "layout"),
    [
        ((5, 32, 32, 3), True, "NHWC"),
        ((5, 3, 32, 32), True, "NCHW"),
        ((5, 3, 20, 30), True, "NCHW"),
        ((5, 20, 30, 1), False, "NHWC"),
        ((5, 13, 64, 64), False, "NCHW"),  # satellite bands: the axis that differs
        ((5, 64, 64, 13), False, "NHWC"),
        ((5, 1, 4, 4), True, "NCHW"),
        ((5, 4, 4, 1), True, "NHWC"),
        ((5, 28, 28), False, "NHW"),
        ((5, 28, 20), True, "NHW"),
        ((5, 3, 100), False, "NCL"),
        ((5, 100), False, "NL"),
    ],
)
def test_layout_is_recognised(shape: tuple[int, ...], is_uint8: bool, layout: str) -> None:
    assert recognise_layout(shape, is_uint8=is_uint8) == layout


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (5, 3, 32, 4), (5, 7, 8, 9)])
def test_unclear_channel_axes_ask_for_the_layout(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="layout='NCHW' for channels first"):
        recognise_layout(shape, is_uint8=True)


@pytest.mark.parametrize("shape", [(5,), (5, 1, 2, 3, 4)])
def test_other_numbers_of_axes_tell_what_is_supported(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"not supported; allowed: NCHW .* NL \(series of one channel\)"):
        recognise_layout(shape, is_uint8=True)


def both(values: Any) -> dict[str, Any]:
    return {"x_train": values, "x_test": values[:1]}


def test_channels_last_becomes_channels_first() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    read, layout = read_inputs(both(raw))
    assert layout == "NHWC"
    assert read["x_train"].dtype == torch.uint8
    assert read["x_train"].is_contiguous()
    assert np.array_equal(read["x_train"].numpy(), raw.transpose(0, 3, 1, 2))


def test_grey_images_get_a_channel_axis_and_a_named_layout_wins() -> None:
    assert read_inputs(both(np.zeros((2, 8, 8), np.uint8)))[0]["x_train"].shape == (2, 1, 8, 8)
    read, layout = read_inputs(both(np.zeros((2, 8, 8), np.float32)), "NCL")
    assert layout == "NCL"
    assert read["x_train"].shape == (2, 8, 8)


WHOLE = np.array([[[[0, 10], [200, 255]]]])


@pytest.mark.parametrize(
    ("values", "dtype", "largest"),
    [
        (WHOLE.astype(np.uint8), torch.uint8, 255),
        (WHOLE.astype(np.int64), torch.uint8, 255),
        (WHOLE.astype(">i2"), torch.uint8, 255),
        (WHOLE.astype(np.float64), torch.uint8, 255),
        (WHOLE > 50, torch.uint8, 255),
        (WHOLE / 255, torch.float32, 1.0),
        (WHOLE - 0.5 * (WHOLE > 20), torch.float32, 254.5 / 255),
        (WHOLE.astype(np.uint16) * 257, torch.float32, 1.0),
        (WHOLE - 100.0, torch.float32, 155.0),  # already centred: kept
        (torch.from_numpy(WHOLE), torch.uint8, 255),
    ],
)
def test_image_values_are_stored_exactly_and_in_range(values: Any, dtype: torch.dtype, largest: float) -> None:
    stored = read_inputs(both(values), "NCHW")[0]["x_train"]
    assert stored.dtype == dtype
    assert float(stored.max()) == pytest.approx(largest)


def test_series_are_kept_unscaled() -> None:
    stored = read_inputs(both(np.array([[[0, 7, 255]]])))[0]["x_train"]
    assert stored.dtype == torch.float32
    assert stored.tolist() == [[[0.0, 7.0, 255.0]]]


def test_read_only_and_reversed_arrays_are_taken() -> None:
    raw = np.zeros((2, 3, 8, 8), np.uint8)[::-1]
    raw.flags.writeable = False
    assert read_inputs(both(raw))[0]["x_train"].shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"x_train": np.zeros((4, 3, 8, 8)), "x_test": np.zeros((4, 3, 8, 9))},
            r"x_test has samples of shape \(3, 8, 9",
        ),
        ({"x_train": np.zeros((4, 3, 8, 8)), "x_test": np.zeros((0, 3, 8, 8))}, "x_test is empty"),
        ({"x_train": np.zeros((4, 8, 8), np.uint8), "x_test": np.zeros((4, 8, 8))}, "give both as whole numbers"),
        ({"x_train": np.array(["a", "b"])}, "x_train holds values of type <U1"),
        ({"x_train": np.array([{}, []], dtype=object)}, "x_train holds values of type object"),
        ({"x_train": np.zeros((4, 8, 8), complex)}, "x_train holds values of type complex128"),
        ({"x_train": torch.zeros(4, 8, 8, dtype=torch.complex64)}, "complex"),
    ],
)
def test_wrong_inputs_are_named(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_inputs(parts)


def test_values_that_are_not_finite_are_counted_and_located() -> None:
    values = np.zeros((4, 3, 8, 8), np.float32)
    values[2, 1, 0, 5] = np.nan
    values[3, 0, 0, 0] = np.inf
    with pytest.raises(
        DataError, match=r"x_train holds 2 values .* in 2 samples; the first is NaN, at .* \[2, 1, 0, 5\]"
    ):
        read_inputs({"x_train": values})
    with pytest.raises(DataError, match="the first is infinite"):
        read_inputs({"x_train": np.full((1, 3, 9), 1e300)})  # beyond float32


def test_named_layouts_are_checked() -> None:
    with pytest.raises(DataError, match="unknown layout 'HWC'"):
        read_inputs(both(np.zeros((2, 8, 8))), "HWC")
    with pytest.raises(DataError, match=r"layout NCHW has 4 axes, but the inputs are \(2, 8, 8\)"):
        read_inputs(both(np.zeros((2, 8, 8))), "NCHW")
