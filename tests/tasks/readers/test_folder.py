from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archscout.errors import DataError, SettingsError
from archscout.tasks import Split, load_task
from archscout.tasks.options import options_with
from archscout.tasks.readers.decoding import Decoding, decode
from archscout.tasks.readers.folder import folder_task
from archscout.tasks.readers.images import ImageSource
from archscout.tasks.sources import ArraySource
from tests.tasks.images_on_disk import write_classes, write_image

CPU = torch.device("cpu")
PETS = ("cat", "dog")


def read(split: Split) -> tuple[torch.Tensor, list[int]]:
    inputs, targets = next(split.source.batches([split.indices], CPU))
    return inputs, targets.tolist()


def test_what_is_held_out_of_classes_without_splits_follows_from_names_and_seed(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 36)
    task = load_task(str(tmp_path))
    assert task.class_names == PETS
    assert task.spec.input_shape == (3, 10, 12)
    everything = torch.cat([task.train.indices, task.validation.indices, task.test.indices])
    assert sorted(everything.tolist()) == list(range(72))
    for name in ("train", "validation", "test"):
        assert set(read(task.split(name))[1]) == {0, 1}
    assert torch.equal(folder_task(tmp_path).test.indices, task.test.indices)
    assert not torch.equal(folder_task(tmp_path, options_with(None, {"seed": 1})).test.indices, task.test.indices)
    assert task.provenance["held_out"] == ["validation", "test"]


def test_an_added_file_moves_no_other_one_to_another_split(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 36)
    before = load_task(str(tmp_path))
    write_image(tmp_path / "cat" / "a-new-one.png")
    after = load_task(str(tmp_path))
    for part in ("train", "validation", "test"):
        assert set(before.sample_names(part)) == set(after.sample_names(part)) - {"cat/a-new-one.png"}


def test_runs_of_version_0_1_keep_their_splits(tmp_path: Path) -> None:
    """Until then, files were shuffled by the seed: a sixth of every class."""
    write_classes(tmp_path, PETS, 36)
    task = load_task(str(tmp_path), rules=1)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [50, 10, 12]


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_given_splits_are_kept(tmp_path: Path, validation: str) -> None:
    for split, count in (("train", 6), (validation, 2), ("test", 3)):
        write_classes(tmp_path / split, PETS, count)
    task = folder_task(tmp_path)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [12, 4, 6]
    inputs, targets = read(task.test)
    assert targets == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(inputs[4].numpy(), decode(tmp_path / "test" / "dog" / "001.png", Decoding(10, 12)))
    assert task.provenance["held_out"] == []


def test_a_missing_test_part_is_held_out_of_train(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", PETS, 12)
    write_classes(tmp_path / "val", PETS, 2)
    task = folder_task(tmp_path)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [20, 4, 4]
    assert max(task.test.indices.tolist()) < 24
    assert not set(task.test.indices.tolist()) & set(task.train.indices.tolist())


def test_a_missing_validation_part_is_held_out_of_train(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", PETS, 12)
    write_classes(tmp_path / "test", PETS, 2)
    task = folder_task(tmp_path)
    assert len(task.test) == 4
    assert sorted([*task.train.indices.tolist(), *task.validation.indices.tolist()]) == list(range(24))
    assert set(read(task.validation)[1]) == {0, 1}


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    write_classes(tmp_path, ("exam", "test"), 12)
    assert folder_task(tmp_path).class_names == ("exam", "test")


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 6, grey=True)
    task = folder_task(tmp_path)
    assert task.spec.input_shape == (1, 10, 12)
    assert len(task.augmentations) == 1
    write_image(tmp_path / "cat" / "colour.png")
    assert folder_task(tmp_path).spec.input_shape == (3, 10, 12)


def test_images_of_mixed_sizes_are_padded_and_named_sizes_heeded(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 6)
    write_image(tmp_path / "cat" / "large.png", size=(40, 50))
    task = folder_task(tmp_path)
    assert task.spec.input_shape == (3, 10, 12)
    assert [str(finding) for finding in task.findings] == [
        "note: images of 2 sizes, 10 x 12 to 50 x 40 (height x width) are reduced where they are larger, padded with "
        "the colour of their border to 10 x 12; --image-size and --fit change that."
    ]
    assert folder_task(tmp_path, options_with(None, {"image_size": 16})).spec.input_shape == (3, 16, 16)


@pytest.mark.parametrize("size", [(160, 120), (90, 70), (12, 40)])
def test_images_of_one_size_keep_it_in_memory(tmp_path: Path, size: tuple[int, int]) -> None:
    write_classes(tmp_path, PETS, 6, size=size)
    task = folder_task(tmp_path)
    assert isinstance(task.train.source, ArraySource)
    assert task.spec.input_shape == (3, size[1], size[0])
    assert task.findings == ()
    name = task.train.source.names[0] if task.train.source.names else ""
    pixels = np.asarray(Image.open(tmp_path / name)).transpose(2, 0, 1)
    assert np.array_equal(task.train.source.inputs[0].numpy(), pixels)
    raw = task.train.source.inputs[:2]
    assert task.prepare(raw, seed=1).shape == task.prepare(raw).shape == raw.shape


def test_large_images_that_are_cropped_are_streamed_and_cropped_at_random_in_training(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 6, size=(90, 70))
    write_image(tmp_path / "cat" / "large.png", size=(300, 200))
    crop = options_with(None, {"fit": "crop"})
    task = folder_task(tmp_path, crop, workers=0)
    assert task.spec.input_shape == (3, 70, 70)
    assert isinstance(task.train.source, ImageSource)
    assert task.augmentations == ()
    index = [task.train.indices[:2]]
    (plain,) = [inputs for inputs, _ in task.train.source.batches(index, CPU)]
    (cropped,) = [inputs for inputs, _ in task.train.source.batches(index, CPU, seed=1)]
    assert not torch.equal(plain, cropped)
    still = folder_task(tmp_path, options_with(crop, {"image_size": 20, "augment": "none"}), workers=0)
    assert still.spec.input_shape == (3, 20, 20)
    assert isinstance(still.train.source, ArraySource)
    assert still.augmentations == ()


def test_runs_of_version_0_1_read_the_pixels_that_they_began_with(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, name in enumerate(PETS):
        write_classes(tmp_path / "small", (name,), 6, size=(40, 30))
        write_image(tmp_path / "small" / name / "wide.png", size=(50, 30), seed=number)
        write_classes(tmp_path / "large", (name,), 6, size=(90, 70))
        (tmp_path / "turned" / name).mkdir(parents=True)
        for copy in range(6):
            Image.new("L", (20, 10), 40 * copy).save(tmp_path / "turned" / name / f"{copy}.png", exif=exif)
    old = options_with(None, {"rules": 1})
    assert folder_task(tmp_path / "small", old).spec.input_shape == (3, 32, 32)
    large = folder_task(tmp_path / "large", old, workers=0)
    assert large.spec.input_shape == (3, 224, 224)
    assert isinstance(large.train.source, ImageSource)
    assert large.train.source.decoding == Decoding(224, 224)
    assert folder_task(tmp_path / "turned", old).spec.input_shape == (1, 10, 20)
    assert folder_task(tmp_path / "turned").spec.input_shape == (1, 20, 10)
    with pytest.raises(SettingsError, match="fit and value_range need rules = 2"):
        folder_task(tmp_path / "small", options_with(old, {"fit": "pad"}))


def test_many_small_images_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.tasks.readers.image_samples.MEMORY_LIMIT", 1000)
    write_classes(tmp_path, PETS, 6)
    streamed = folder_task(tmp_path, workers=0)
    monkeypatch.undo()
    kept = folder_task(tmp_path)
    assert isinstance(streamed.train.source, ImageSource)
    assert isinstance(kept.train.source, ArraySource)
    assert torch.equal(read(streamed.train)[0], read(kept.train)[0])
    assert len(streamed.augmentations) == len(kept.augmentations) == 2
    probe = torch.rand(4, 3, 10, 12)
    assert torch.allclose(streamed.normalize(probe), kept.normalize(probe), atol=1e-5)


def test_hidden_files_other_files_and_subfolders(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 3)
    write_image(tmp_path / "cat" / "more" / "deep.PNG", seed=5)
    write_image(tmp_path / "cat" / ".hidden.png")
    write_image(tmp_path / ".cache" / "a.png")
    (tmp_path / "cat" / "notes.txt").write_text("none")
    (tmp_path / "labels.csv").write_text("none")
    task = folder_task(tmp_path)
    assert task.class_names == PETS
    assert sum(len(task.split(name)) for name in ("train", "validation", "test")) == 7
    told = {finding.code: finding for finding in task.findings}
    assert told["hidden"].names == (".cache", "cat/.hidden.png")
    assert "2 files were passed over: 1 .csv, 1 .txt" in told["passed over"].message


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", PETS, 3)
    (tmp_path / "train" / "eel").mkdir()
    (tmp_path / "train" / "eel" / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=r"no images in .*train/eel, but 1 \.txt; every class needs some"):
        folder_task(tmp_path)


def test_splits_of_different_classes_are_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ("ant", "bee", "cat"), 3)
    write_classes(tmp_path / "test", ("ant", "cat", "dog"), 3)
    with pytest.raises(DataError, match=r"classes that the train split lacks: dog; train has ant, bee, cat"):
        folder_task(tmp_path)


def damaged_pets(root: Path) -> None:
    """Images of which some are damaged, in every split; the test split keeps four."""
    for part, count in (("train", 9), ("val", 3), ("test", 3)):
        write_classes(root / part, PETS, count)
    for name in ("train/dog/002.png", "val/cat/000.png"):
        (root / name).write_bytes((root / name).read_bytes()[:100])
    (root / "test" / "dog" / "001.png").write_text("<html>none</html>")
    (root / "test" / "cat" / "002.png").write_bytes(b"")


def test_all_damaged_images_of_all_splits_are_named_at_once(tmp_path: Path) -> None:
    damaged_pets(tmp_path)
    with pytest.raises(DataError, match=r"4 of 30 images cannot be read .*--skip-damaged") as raised:
        folder_task(tmp_path)
    assert str(raised.value).splitlines()[1:] == [
        "  train/dog/002.png: the file ends too early",
        "  val/cat/000.png: the file ends too early",
        "  test/cat/002.png: an empty file",
        "  test/dog/001.png: a text, for example a web page, no image",
    ]


def test_damaged_images_can_be_left_out(tmp_path: Path) -> None:
    damaged_pets(tmp_path)
    task = load_task(str(tmp_path), skip_damaged=True)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [17, 5, 4]
    assert [finding.level for finding in task.findings] == ["doubtful"]
    assert "4 of 30 images cannot be read and are left out" in task.findings[0].message
    assert task.sample_names("test") == [f"test/{name}.png" for name in ("cat/000", "cat/001", "dog/000", "dog/002")]
    inputs, targets = read(task.test)
    assert targets == [0, 0, 1, 1]
    assert np.array_equal(inputs[3].numpy(), decode(tmp_path / "test" / "dog" / "002.png", Decoding(10, 12)))


def test_a_class_or_split_of_damaged_images_alone_is_told(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", PETS, 6)
    write_classes(tmp_path / "test", PETS, 2)
    for image in (tmp_path / "test").rglob("*.png"):
        image.write_text("none")
    with pytest.raises(DataError, match="none of the 4 images of test can be read"):
        load_task(str(tmp_path), skip_damaged=True)
    write_classes(tmp_path / "test", PETS, 2)
    for image in (tmp_path / "train" / "dog").rglob("*.png"):
        image.write_text("none")
    with pytest.raises(DataError, match="dog"):
        load_task(str(tmp_path), skip_damaged=True)


def test_wrong_values_and_damaged_files_are_told_together(tmp_path: Path) -> None:
    write_classes(tmp_path, PETS, 3)
    Image.fromarray(np.full((10, 12), -1, np.float32)).save(tmp_path / "cat" / "low.tif")
    (tmp_path / "dog" / "none.png").write_text("none")
    with pytest.raises(DataError, match=r"(?s)dog/none\.png: no image.*--value-range"):
        folder_task(tmp_path)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "is empty; put the images of each class into a folder"),
        (["a.png", "b.png"], "has no class folders, but 2 images without class"),
        (["val/cat/a.png", "test/cat/a.png"], "has val and test, but no train"),
        (["train/a.png"], r"train has no class folders, but 1 images without class"),
        (["train/cat/a.png", "val/cat/a.png", "valid/cat/a.png"], "has val and valid; keep one"),
        (["cifar-10-batches-py/data_batch_1"], "use the task cifar10, with --data"),
    ],
)
def test_other_layouts_are_told(tmp_path: Path, paths: list[str], message: str) -> None:
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / path, format="PNG")
    with pytest.raises(DataError, match=message):
        folder_task(tmp_path)


def test_an_image_size_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="image_size = 0: it must be at least 1 pixel"):
        folder_task(tmp_path, options_with(None, {"image_size": 0}))


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, ("cat",), 6)
    with pytest.raises(DataError, match="only one class"):
        folder_task(tmp_path)
