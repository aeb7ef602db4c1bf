"""Masks from files: values and colours as classes, at the places of their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.masks import OUTSIDE, place
from archscout.tasks.sources import ArraySource

SIZE = (24, 16)  # width, height
CPU = torch.device("cpu")


def shapes(seed: int, values: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray[Any, Any]:
    """Rectangles of class numbers on a ground of class 0."""
    draw = np.random.default_rng(seed)
    width, height = size
    found = np.zeros((height, width), np.uint8)
    for value in range(1, values):
        top, left = draw.integers(0, height // 2), draw.integers(0, width // 2)
        found[top : top + height // 2, left : left + width // 2] = value
    return found


def save(root: Path, masks: list[Image.Image], *, suffix: str = ".png", size: tuple[int, int] = SIZE) -> Path:
    """Images that show their masks: twelve, grey, class k at 40 times k."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number, mask in enumerate(masks):
        Image.fromarray(shapes(number, 4, size) * 40).save(root / "images" / f"{number}.png")
        mask.save(root / "masks" / f"{number}{suffix}")
    return root


def coded(
    codes: list[Any], mode: str | None = None, count: int = 12, size: tuple[int, int] = SIZE
) -> list[Image.Image]:
    """Masks of as many classes as codes: values or colours."""
    table = np.array(codes, np.uint8 if max(np.ravel(codes)) < 256 else np.uint16)
    found = [Image.fromarray(table[shapes(number, len(codes), size)]) for number in range(12)]
    return [image.convert(mode) for image in found] if mode else found


def read(task: Task, part: str = "train") -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    split = task.split(part)
    inputs, targets = next(split.source.batches([split.indices], CPU))
    numbers = [int(name.rpartition("/")[2].removesuffix(".png")) for name in task.sample_names(part)]
    return inputs, targets, numbers


def palette(masks: list[Image.Image], shift: int = 0) -> list[Image.Image]:
    for number, mask in enumerate(masks):
        mask.putpalette([(place + shift * number) % 256 for place in range(768)])
    return masks


@pytest.mark.parametrize(
    ("masks", "names"),
    [
        (coded([0, 255]), ("0", "255")),
        (coded([0, 1]), ("0", "1")),
        (coded([0, 255], "1"), ("0", "1")),
        (coded([0, 3, 9]), ("0", "3", "9")),
        (coded([1, 2, 3]), ("1", "2", "3")),
        (coded([0, 128, 255]), ("0", "128", "255")),
        (coded([7, 300, 5000]), ("7", "300", "5000")),
        (coded([(0, 0, 0), (0, 128, 0), (128, 0, 0)]), ("#000000", "#008000", "#800000")),
        (coded([0, 5, 8], "RGB"), ("0", "5", "8")),
        (coded([0, 5, 8], "LA"), ("0", "5", "8")),
        (coded([(0, 0, 1, 255), (0, 9, 0, 255)]), ("#000001", "#000900")),
        (palette(coded([0, 1, 2])), ("0", "1", "2")),
    ],
)
def test_values_and_colours_become_classes_in_order(
    tmp_path: Path, masks: list[Image.Image], names: tuple[str, ...]
) -> None:
    task = load_task(str(save(tmp_path, masks)))
    assert (task.spec.kind, task.class_names, task.spec.outputs) == ("dense", names, len(names))
    for part in ("train", "validation", "test"):
        _, targets, numbers = read(task, part)
        assert targets.dtype == torch.int64
        for target, number in zip(targets, numbers, strict=True):
            assert np.array_equal(target.numpy(), shapes(number, len(names)))
    contiguous = names == tuple(str(label) for label in range(len(names)))
    assert any("values of the masks are the classes" in found.message for found in task.findings) != contiguous
    assert task.augmentations == ()


def test_palettes_that_differ_between_files_are_read_as_colours(tmp_path: Path) -> None:
    masks = palette(coded([0, 1]), shift=3)
    for number, mask in enumerate(masks):
        colours = mask.getpalette() or []
        mask.putpalette([*([0, 0, 0, 200, 10, 10] if number % 2 else [200, 10, 10, 0, 0, 0]), *colours[6:]])
    task = load_task(str(save(tmp_path, masks)))
    assert task.class_names == ("#000000", "#c80a0a") or task.class_names == ("0", "#c80a0a")
    _, targets, numbers = read(task)
    for target, number in zip(targets, numbers, strict=True):
        truth = shapes(number) if number % 2 else 1 - shapes(number)
        assert np.array_equal(target.numpy(), truth)


def test_a_value_that_may_mean_no_class_is_asked_about(tmp_path: Path) -> None:
    save(tmp_path, coded([0, 1, 2, 255]))
    with pytest.raises(DataError, match=r"values 0 to 2, and 255.*--ignore 255.*--ignore -1"):
        load_task(str(tmp_path))
    task = load_task(str(tmp_path), ignore=255)
    assert task.class_names == ("0", "1", "2")
    _, targets, numbers = read(task)
    truth = shapes(numbers[0], 4).astype(np.int64)
    assert np.array_equal(targets[0].numpy(), np.where(truth == 3, IGNORED, truth))
    assert load_task(str(tmp_path), ignore=-1).class_names == ("0", "1", "2", "255")
    told = [found.message for found in load_task(str(tmp_path), ignore=77).findings if found.code == "ignored"]
    assert told == ["no mask holds the value 77, which is to be left out; they hold 0, 1, 2, 255."]


def test_masks_that_losses_have_smeared_are_two_classes_or_refused(tmp_path: Path) -> None:
    task = load_task(str(save(tmp_path / "two", coded([0, 255], size=(64, 64)), suffix=".jpg", size=(64, 64))))
    assert task.class_names == ("0", "255")
    assert [found.code for found in task.findings if found.level == "doubtful"] == ["values of masks"]
    _, targets, numbers = read(task)
    assert (targets[0].numpy() == shapes(numbers[0], size=(64, 64))).mean() > 0.98
    with pytest.raises(DataError, match="12 masks are JPEG or the like, which mixes values"):
        load_task(str(save(tmp_path / "more", coded([0, 60, 120]), suffix=".jpg")))


@pytest.mark.parametrize(
    ("values", "words"),
    [([4, 4], "hold only the value 4"), (list(range(0, 3000, 9)), "hold 334 different values, from 0 to 2997")],
)
def test_values_that_are_no_classes_are_refused(tmp_path: Path, values: list[int], words: str) -> None:
    draw = np.random.default_rng(0)
    table = np.array(values, np.uint16)
    masks = [Image.fromarray(table[draw.integers(0, len(values), (16, 24))]) for _ in range(12)]
    with pytest.raises(DataError, match=words):
        load_task(str(save(tmp_path, masks)))


def test_masks_of_other_sizes_are_resized_and_of_other_shapes_are_wrong(tmp_path: Path) -> None:
    masks = [mask.resize((48, 32), Image.Resampling.NEAREST) for mask in coded([0, 255])]
    task = load_task(str(save(tmp_path, masks)))
    _, targets, numbers = read(task)
    assert np.array_equal(targets[0].numpy(), shapes(numbers[0]))
    assert next(found.message for found in task.findings if found.code == "sizes of masks").startswith("12 masks have")
    for number in (3, 7):
        masks[number].resize((24, 24)).save(tmp_path / "masks" / f"{number}.png")
    with pytest.raises(DataError) as error:
        load_task(str(tmp_path))
    assert "masks/3.png: the image has 24 x 16 pixels, the mask 24 x 24" in str(error.value)
    assert "masks/7.png" in str(error.value)
    left = load_task(str(tmp_path), skip_damaged=True)
    names = [name for part in ("train", "validation", "test") for name in left.sample_names(part)]
    assert len(names) == 10
    assert not {"images/3.png", "images/7.png"} & set(names)


def test_damaged_masks_are_all_named(tmp_path: Path) -> None:
    save(tmp_path, coded([0, 255]))
    for number in (1, 4):
        (tmp_path / "masks" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"(?s)2 masks cannot be read.*masks/1\.png.*masks/4\.png"):
        load_task(str(tmp_path))
    (tmp_path / "images" / "5.png").write_bytes(b"no image")
    task = load_task(str(tmp_path), skip_damaged=True)
    for part in ("train", "validation", "test"):
        _, targets, numbers = read(task, part)
        assert not {1, 4, 5} & set(numbers)
        assert all(np.array_equal(mask, shapes(number)) for mask, number in zip(targets.numpy(), numbers, strict=True))


@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
@pytest.mark.parametrize("size", [(48, 48), (80, 64), (150, 200)])
@pytest.mark.parametrize("streamed", [False, True])
def test_masks_lie_where_their_images_lie(
    tmp_path: Path, fit: str, size: tuple[int, int], streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr("archscout.tasks.readers.image_samples.MEMORY_LIMIT", 10)
    monkeypatch.setenv("ARCHSCOUT_WORKERS", "0")
    save(tmp_path, coded([0, 1, 2, 3], size=(96, 64)), size=(96, 64))
    task = load_task(str(tmp_path), fit=fit, image_size=size)
    assert isinstance(task.train.source, ArraySource) != streamed
    inputs, targets, _ = read(task)
    known = targets != IGNORED
    assert bool(known.all()) == (fit != "pad")
    # The image shows 40 times the class: only pixels at edges, which are mixtures, may tell another one.
    agree = (inputs[:, 0].float() / 40).round().long() == targets
    assert float(agree[known].float().mean()) > 0.93
    again = next(task.train.source.batches([task.train.indices], CPU, seed=3))
    assert torch.equal(again[0], inputs)


def test_padded_positions_are_outside_and_corners_stay(tmp_path: Path) -> None:
    mask = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    padded = place(mask, Decoding(4, 4, random_crop=False, margin=1.0, fit="pad"))
    assert padded.tolist() == [
        [OUTSIDE, 1, 2, OUTSIDE],
        [OUTSIDE, 3, 4, OUTSIDE],
        [OUTSIDE, 5, 6, OUTSIDE],
        [OUTSIDE] * 4,
    ]
    squeezed = place(mask, Decoding(6, 4, random_crop=False, margin=1.0, fit="squeeze"))
    assert squeezed.tolist() == np.repeat(np.repeat(mask, 2, 0), 2, 1).tolist()
    cropped = place(mask, Decoding(2, 2, random_crop=False, margin=1.0, fit="crop"))
    assert cropped.shape == (2, 2)
    assert set(cropped.ravel()) <= {1, 2, 3, 4, 5, 6}


def test_an_image_that_is_shown_turned_needs_a_mask_of_what_is_shown(tmp_path: Path) -> None:
    save(tmp_path, coded([0, 1]))
    for number in range(12):
        turn = Image.Exif()
        turn[0x0112] = 6
        Image.fromarray(np.rot90(shapes(number, 4) * 40)).save(tmp_path / "images" / f"{number}.png", exif=turn)
    task = load_task(str(tmp_path))
    assert task.spec.input_shape == (1, 16, 24)
    inputs, _, numbers = read(task)
    assert np.array_equal(inputs[0, 0].numpy(), shapes(numbers[0], 4) * 40)


def test_test_images_without_masks_are_kept_for_the_end(tmp_path: Path) -> None:
    save(tmp_path / "train", coded([0, 255]))
    (tmp_path / "test" / "images").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(shapes(number) * 50).save(tmp_path / "test" / "images" / f"t{number}.png")
    task = load_task(str(tmp_path))
    assert task.unlabelled is not None
    assert [len(task.unlabelled), len(task.train) + len(task.validation) + len(task.test)] == [3, 12]
    _, targets = next(task.unlabelled.source.batches([task.unlabelled.indices], CPU))
    assert bool((targets == IGNORED).all())


def test_augmentation_that_would_move_images_only_is_refused(tmp_path: Path) -> None:
    save(tmp_path, coded([0, 255]))
    with pytest.raises(DataError, match="augmentation 'crop' would move the images, but not their masks"):
        load_task(str(tmp_path), augment="crop")


def test_the_nuclei_start_without_an_option(tmp_path: Path, shared_data: Path) -> None:
    import tarfile

    with tarfile.open(shared_data / "nuclei" / "nuclei-256.tar") as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(("0.png", "csv"))]
        archive.extractall(tmp_path, members, filter="data")
    task = load_task(str(tmp_path / "nuclei"), image_size=64)
    assert (task.spec.kind, task.spec.outputs, task.spec.input_shape) == ("dense", 2, (1, 64, 64))
    assert [found.level for found in task.findings if found.level != "note"] == []
