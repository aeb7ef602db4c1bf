"""Files of arrays: what their names tell, and what is said where they do not."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.readers.array_names import ArrayHeader, find_roles, part_of_name

DRAW = np.random.default_rng(0)
X = DRAW.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
Y = np.arange(30) % 3
FOUR: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:9]}


def raw(task: Task, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    split = task.split(part)
    return next(iter(split.source.batches([split.indices], torch.device("cpu"))))


def sizes(task: Task) -> tuple[int, int, int]:
    return len(task.train), len(task.validation), len(task.test)


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("trainX", "trainY", "testX", "testY"),
        ("Xtr", "Ytr", "Xte", "Yte"),
        ("images_train", "labels_train", "images_test", "labels_test"),
        ("train/data", "train/target", "test/data", "test/target"),
        ("x", "y", "x_test", "y_test"),
        ("arr_0", "arr_1", "arr_2", "arr_3"),
    ],
)
def test_npz_with_the_usual_keys(keys: tuple[str, ...], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **dict(zip(keys, FOUR.values(), strict=True)))
    task = load_task(str(tmp_path / "a.npz"))
    assert sizes(task) == (25, 5, 9)
    inputs, targets = raw(task, "test")
    assert np.array_equal(inputs.numpy(), X[:9].transpose(0, 3, 1, 2))
    assert targets.tolist() == Y[:9].tolist()


def test_medmnist_keys_with_validation(tmp_path: Path) -> None:
    parts = {"train": 30, "val": 12, "test": 9}
    arrays: dict[str, Any] = {f"{part}_images": X[:count] for part, count in parts.items()}
    arrays |= {f"{part}_labels": Y[:count, None].astype(np.uint8) for part, count in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    assert sizes(load_task(str(tmp_path / "a.npz"))) == (30, 12, 9)


@pytest.mark.parametrize("keys", [("X", "y"), ("data", "labels"), ("DATA", "Target"), ("arr_0", "arr_1")])
def test_npz_without_a_test_split_gets_one_held_out(keys: tuple[str, str], tmp_path: Path) -> None:
    arrays: dict[str, Any] = dict(zip(keys, (X, Y), strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    task = load_task(str(tmp_path / "a.npz"))
    assert sizes(task) == (21, 4, 5)
    assert task.provenance["held_out"] == ["validation", "test"]


def test_images_and_masks_are_a_segmentation(tmp_path: Path) -> None:
    masks = (DRAW.random((30, 8, 8)) > 0.5).astype(np.uint8) * 255
    np.savez(tmp_path / "a.npz", images=X, masks=masks)
    task = load_task(str(tmp_path / "a.npz"))
    assert (task.spec.kind, task.spec.outputs, task.class_names) == ("dense", 2, ("0", "255"))


def test_arrays_without_names_in_the_order_of_a_split_are_told_by_their_shapes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X, X[:9], Y, Y[:9])  # as train_test_split of scikit-learn returns them
    task = load_task(str(tmp_path / "a.npz"))
    assert sizes(task) == (25, 5, 9)
    assert "arr_1 and arr_3 are test" in next(each.message for each in task.findings if each.code == "unnamed")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((X, Y[:9]), r"do not pair up .*arr_0 \(30 x 8 x 8 x 3, uint8\), arr_1 \(9, int64\)"),
        ((X, Y, X), "do not pair up"),
        ((X[..., 0],) * 4, "fit several orders"),
    ],
)
def test_arrays_without_names_that_fit_no_order_are_listed(
    arrays: tuple[np.ndarray[Any, Any], ...], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", *arrays)
    with pytest.raises(DataError, match=message):
        load_task(str(tmp_path / "a.npz"))


def test_what_an_npz_has_is_listed_where_nothing_is_recognised(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", eins=X, zwei=Y)
    with pytest.raises(
        DataError, match=r"no inputs and no targets .*eins \(30 x 8 x 8 x 3, uint8\), zwei \(30, int64\)"
    ):
        load_task(str(tmp_path / "a.npz"))


def test_arrays_that_are_not_read_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **FOUR, weights=Y)
    (note,) = load_task(str(tmp_path / "a.npz")).findings
    assert (note.level, note.names) == ("note", ("weights",))


def test_the_target_is_named_where_there_are_several(tmp_path: Path) -> None:
    age, height = DRAW.uniform(1, 90, 30), DRAW.uniform(1, 2, 30)
    np.savez(tmp_path / "a.npz", images=X, labels=Y, masks=X[..., 0], age=age, height=height)
    with pytest.raises(
        DataError, match=r"several arrays that can be the targets of train: labels, masks.*--target labels"
    ):
        load_task(str(tmp_path / "a.npz"))
    assert load_task(str(tmp_path / "a.npz"), target="labels").spec.kind == "classification"
    task = load_task(str(tmp_path / "a.npz"), target=("height", "age"))
    assert (task.spec.kind, task.spec.outputs) == ("regression", 2)
    indices = task.train.indices.numpy()
    assert np.allclose(raw(task, "train")[1].numpy(), np.stack([height, age], 1)[indices])


def test_the_clearest_name_wins(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **FOUR, images=X[:5], labels=Y, train_features=X[:7])
    task = load_task(str(tmp_path / "a.npz"))
    assert sizes(task) == (25, 5, 9)
    (note,) = task.findings
    assert set(note.names) == {"images", "labels", "train_features"}


def test_groups_are_an_array_of_the_file(tmp_path: Path) -> None:
    patients = np.repeat(np.arange(6), 5)
    np.savez(tmp_path / "a.npz", x=X, y=Y, patient=patients)
    task = load_task(str(tmp_path / "a.npz"), groups="patient")
    found = [set(patients[task.split(part).indices.numpy()].tolist()) for part in ("train", "validation", "test")]
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    with pytest.raises(DataError, match="no array 'doctor' of groups; it has x"):
        load_task(str(tmp_path / "a.npz"), groups="doctor")


def test_text_labels_and_class_names_in_an_npz(tmp_path: Path) -> None:
    words = np.array(["cat", "dog", "eel"])
    np.savez(tmp_path / "a.npz", x=X, y=words[Y], class_names=words[::-1])
    task = load_task(str(tmp_path / "a.npz"))
    assert task.class_names == ("eel", "dog", "cat")
    indices = task.train.indices.numpy()
    assert raw(task, "train")[1].tolist() == (2 - Y[indices]).tolist()


def test_class_names_as_objects_are_refused_with_what_to_do(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c"], dtype=object)
    np.savez(tmp_path / "a.npz", **FOUR, class_names=names)
    with pytest.raises(DataError, match=r"array class_names: holds Python objects.*numpy.array\(texts, dtype=str\)"):
        load_task(str(tmp_path / "a.npz"))


def test_an_archive_with_a_forged_size_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **FOUR)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = members["x_train.npy"].replace(b"(30, 8, 8, 3)", b"(9999999999, 8, 8, 3)")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        for name, content in (members | {"x_train.npy": header}).items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"b\.npz, array x_train"):
        load_task(str(tmp_path / "b.npz"))


def test_a_folder_of_npy_files(tmp_path: Path) -> None:
    for name, array in zip(("X_train", "y_train", "X_test", "y_test"), FOUR.values(), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    task = load_task(str(tmp_path))
    assert sizes(task) == (25, 5, 9)
    assert task.name == tmp_path.name
    with pytest.raises(DataError, match=r"X_test.npy holds one array \(9 x 8 x 8 x 3, uint8\).*give the folder"):
        load_task(str(tmp_path / "X_test.npy"))


def test_npy_files_in_folders_of_splits(tmp_path: Path) -> None:
    for part, count in (("train", 30), ("val", 12), ("test", 9)):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "X.npy", X[:count])
        np.save(tmp_path / part / "y.npy", Y[:count])
    assert sizes(load_task(str(tmp_path))) == (30, 12, 9)


def test_npz_files_that_differ_in_the_split_belong_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "flow_train_16.npz", x=X, y=Y)
    np.savez(tmp_path / "flow_test_16.npz", x=X[:9], y=Y[:9])
    np.savez(tmp_path / "flow_test_32.npz", x=X[:5], y=Y[:5])
    task = load_task(str(tmp_path))
    assert (task.name, sizes(task)) == ("flow_16", (25, 5, 9))
    assert next(each.names for each in task.findings if each.code == "unread") == ("flow_test_32.npz",)
    alone = load_task(str(tmp_path / "flow_train_16.npz"))
    assert [each.code for each in alone.findings] == ["siblings"]
    np.savez(tmp_path / "heat_train.npz", x=X, y=Y)
    with pytest.raises(DataError, match=r"2 data sets: .*flow_train_16.npz.*heat_train.npz"):
        load_task(str(tmp_path))


def test_a_damaged_npy_file_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", Y)
    (tmp_path / "X.npy").write_bytes((tmp_path / "X.npy").read_bytes()[:900])
    with pytest.raises(DataError, match=r"X\.npy: truncated or no \.npy file"):
        load_task(str(tmp_path))
    (tmp_path / "X.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"X\.npy: truncated or no \.npy file"):
        load_task(str(tmp_path))


def test_a_folder_of_images_with_an_array_beside_them_stays_one_of_images(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.fromarray(X[index]).save(tmp_path / name / f"{index}.png")
    np.save(tmp_path / "embedding.npy", X)
    assert load_task(str(tmp_path)).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "part", "rest"),
    [
        ("darcy_train_16", "train", "darcy_16"),
        ("trainX", "train", "x"),
        ("t10k-images", "test", "images"),
        ("train-00000-of-00001", "train", "00000_of_00001"),
        ("protest_marches", "", "protest_marches"),
    ],
)
def test_the_split_in_a_name(name: str, part: str, rest: str) -> None:
    assert part_of_name(name) == (part, rest)


def test_a_name_alone_and_one_with_the_split_are_told_apart() -> None:
    headers = {name: ArrayHeader((9, 2), "int64") for name in ("x", "y", "x_val", "y_val", "groups", "layout")}
    roles = find_roles(headers, "a.npz")
    assert roles.inputs == {"train": "x", "validation": "x_val"}
    assert roles.targets == {"train": ("y",), "validation": ("y_val",)}
    assert (roles.groups, roles.layout, roles.findings) == ("groups", "layout", [])


@pytest.mark.parametrize(
    ("folder", "kind", "shape", "outputs", "counts"),
    [
        ("pneumonia", "classification", (1, 28, 28), 2, (2428, 270, 468)),
        ("pneumonia/pneumonia-balanced.npz", "classification", (1, 28, 28), 2, (2428, 270, 468)),
        ("darcy16", "dense", (1, 16, 16), 1, (833, 167, 50)),
    ],
)
def test_real_data_as_it_lies(
    shared_data: Path, folder: str, kind: str, shape: tuple[int, ...], outputs: int, counts: tuple[int, ...]
) -> None:
    task = load_task(str(shared_data / folder))
    assert (task.spec.kind, task.spec.input_shape, task.spec.outputs, sizes(task)) == (kind, shape, outputs, counts)
