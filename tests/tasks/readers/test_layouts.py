from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks.readers.layouts import read_inputs, recognise_layout
from archscout.tasks.transforms import uint8_to_float


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
        ((5, 28, 20), True, "NHW"),
        ((5, 3, 100), False, "NCL"),
        ((5, 40, 30), False, "NCL"),
        ((5, 100, 1), False, "NLC"),
        ((5, 28, 28), True, "NHW"),
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


def stored(values: Any, layout: str = "auto") -> torch.Tensor:
    return read_inputs(both(values), layout).tensors["x_train"]


def test_channels_last_becomes_channels_first() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    read = read_inputs(both(raw))
    assert read.layout == "NHWC"
    assert read.tensors["x_train"].dtype == torch.uint8
    assert read.tensors["x_train"].is_contiguous()
    assert np.array_equal(read.tensors["x_train"].numpy(), raw.transpose(0, 3, 1, 2))


def test_grey_images_get_a_channel_axis_and_a_named_layout_wins() -> None:
    assert stored(np.zeros((2, 8, 8), np.uint8)).shape == (2, 1, 8, 8)
    assert stored(np.zeros((2, 8, 8), np.float32), "NCL").shape == (2, 8, 8)


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
    found = stored(values, "NCHW")
    assert found.dtype == dtype
    assert float(found.max()) == pytest.approx(largest)


def test_series_are_kept_unscaled() -> None:
    found = stored(np.array([[[0, 7, 255]]]))
    assert found.dtype == torch.float32
    assert found.tolist() == [[[0.0, 7.0, 255.0]]]


def test_read_only_and_reversed_arrays_are_taken() -> None:
    raw = np.zeros((2, 3, 8, 8), np.uint8)[::-1]
    raw.flags.writeable = False
    assert stored(raw).shape == (2, 3, 8, 8)


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
        ({"x_train": np.array([{}, []], dtype=object)}, r"x_train\[0\] is a dict; give an array"),
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
    values[2] = 0
    with pytest.raises(DataError, match="the first is infinite"):
        read_inputs({"x_train": values})


def test_everything_that_is_not_finite_is_told_at_once_and_in_the_axes_that_were_given() -> None:
    values = np.zeros((4, 8, 8, 3), np.float32)
    values[2, 7, 6, 1] = np.nan
    with pytest.raises(DataError, match=r"x_train holds 1 .* \[2, 7, 6, 1\].*\nx_val holds 1 values") as told:
        read_inputs({"x_train": values, "x_test": values[:2], "x_val": values[1:3]})
    assert "x_test" not in str(told.value)


def test_values_beyond_float32_are_told() -> None:
    with pytest.raises(DataError, match=r"holds 27 values that are too large for float32, the first is 1e\+300"):
        read_inputs({"x_train": np.full((1, 3, 9), 1e300)})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 64, 64), "layout='NHW' for images, layout='NCL' for series"),
        ((5, 128, 9), "layout='NLC' for 128 steps of 9 channels, layout='NCL' for 128 channels of 9 steps"),
    ],
)
def test_shapes_with_two_meanings_are_asked_about(shape: tuple[int, ...], message: str) -> None:
    draw = np.random.default_rng(0).normal(size=shape)
    with pytest.raises(DataError, match=message):
        read_inputs(both(draw))
    assert read_inputs(both(draw), rules=1).layout == ("NHW" if shape[1] == shape[2] else "NCL")  # of earlier runs


def test_steps_first_is_a_layout() -> None:
    raw = np.random.default_rng(0).normal(size=(5, 128, 9)).astype(np.float32)
    assert np.array_equal(stored(raw, "NLC").numpy(), raw.transpose(0, 2, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_pixels_of_any_type_are_grey_images(dtype: type) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    assert read_inputs(both((raw > 99) if dtype is bool else raw.astype(dtype))).layout == "NHW"


def test_more_channels_than_steps_are_doubtful_unless_the_layout_is_named() -> None:
    raw = np.random.default_rng(0).normal(size=(5, 40, 30))
    assert [finding.code for finding in read_inputs(both(raw)).findings] == ["layout"]
    assert read_inputs(both(raw), "NCL").findings == ()


def test_channels_without_information_are_told() -> None:
    raw = np.random.default_rng(0).normal(size=(50, 4, 30))
    raw[:, 1] = 7
    raw[:, 2] = 1.7e9 + np.arange(30)  # time stamps: float32 steps by 128 there
    raw[:, 3] *= 1e-12
    found = {finding.code: finding.names for finding in read_inputs(both(raw)).findings}
    assert found == {"constant": ("channel 1",), "digits": ("channel 2",), "tiny": ("channel 3",)}


def test_series_of_unequal_length_are_padded_with_the_mean_of_their_channel_in_training() -> None:
    draw = np.random.default_rng(0)
    train, test = ([draw.normal(size=(2, length)) for length in lengths] for lengths in ((5, 9, 7), (11, 3)))
    read = read_inputs({"x_train": train, "x_test": test})
    assert [tuple(tensor.shape) for tensor in read.tensors.values()] == [(3, 2, 11), (2, 2, 11)]
    assert np.allclose(read.tensors["x_train"][1, :, :9], train[1])
    mean = np.concatenate(train, 1).mean(1)
    assert np.allclose(read.tensors["x_test"][1, :, 3:], mean[:, None].repeat(8, 1))
    assert "3 to 11 steps" in read.findings[0].message
    turned = read_inputs({"x_train": [one.T for one in train], "x_test": [one.T for one in test]})
    assert torch.equal(turned.tensors["x_train"], read.tensors["x_train"])
    flat = read_inputs({"x_train": [one[0] for one in train], "x_test": [one[0] for one in test]})
    assert torch.equal(flat.tensors["x_test"], read.tensors["x_test"][:, :1])


@pytest.mark.parametrize(
    "sizes", [((32, 32, 3), (32, 40, 3)), ((32, 32), (30, 40)), ((3, 8), (4, 9))], ids=["colour", "grey", "series"]
)
def test_samples_of_unequal_size_are_told_with_two_sizes(sizes: tuple[tuple[int, ...], ...]) -> None:
    first, second = (" x ".join(map(str, size)) for size in sizes)
    with pytest.raises(DataError, match=rf"x_train\[0\] has the shape {first}, but x_train\[2\] {second}"):
        read_inputs({"x_train": [np.zeros(sizes[0], np.uint8)] * 2 + [np.zeros(sizes[1], np.uint8)]})


def test_true_and_false_beside_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"x_test holds torch.uint8 values, but x_train torch.bool"):
        read_inputs({"x_train": np.zeros((4, 8, 8), bool), "x_test": np.zeros((4, 8, 8), np.uint8)})


def test_named_layouts_are_checked() -> None:
    with pytest.raises(DataError, match="unknown layout 'HWC'"):
        read_inputs(both(np.zeros((2, 8, 8))), "HWC")
    with pytest.raises(DataError, match=r"layout NCHW has 4 axes, but the inputs are \(2, 8, 8\)"):
        read_inputs(both(np.zeros((2, 8, 8))), "NCHW")


@pytest.mark.parametrize(
    ("values", "layout"),
    [
        (np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8), "NHWC"),
        (np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.float64), "NHW"),
        (np.random.default_rng(0).uniform(0, 255, (5, 6, 7)), "NHW"),
        (np.random.default_rng(0).integers(0, 4096, (5, 1, 6, 7)), "NCHW"),
        (np.random.default_rng(0).normal(size=(5, 6, 7)), "NHW"),
        (np.random.default_rng(0).normal(size=(5, 6, 7)) > 0, "NHW"),
        (np.random.default_rng(0).integers(0, 256, (5, 9, 2), dtype=np.uint8), "NLC"),
        (np.random.default_rng(0).normal(size=(5, 9)), "NL"),
    ],
)
def test_new_samples_are_prepared_as_those_of_the_training(values: np.ndarray[Any, Any], layout: str) -> None:
    read = read_inputs(both(values), layout)
    preparation = read.preparation
    assert preparation.given_shape(tuple(read.tensors["x_train"].shape[1:])) == values.shape[1:]
    given = torch.from_numpy(values).to(preparation.given_dtype())
    expected = uint8_to_float(read.tensors["x_train"])
    assert torch.allclose(preparation.to_stored(given), expected, atol=1e-6)


def test_the_preparation_of_padded_series_knows_their_length_and_fill() -> None:
    series = [np.ones((length, 2)) * (1, 3) for length in (4, 6, 5)]
    preparation = read_inputs({"x_train": series}).preparation
    assert (preparation.layout, preparation.length, preparation.fill) == ("NLC", 6, (1.0, 3.0))
