"""The ten tasks from tiny files in the published layouts."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import TASKS, Task
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.published.nasbench360.cosmic import read_cosmic
from archscout.tasks.published.nasbench360.darcy import read_darcy
from archscout.tasks.published.nasbench360.deepsea import read_deepsea
from archscout.tasks.published.nasbench360.ecg import read_ecg
from archscout.tasks.published.nasbench360.files import PUBLISHED
from archscout.tasks.published.nasbench360.fsd50k import read_fsd50k
from archscout.tasks.published.nasbench360.ninapro import read_ninapro
from archscout.tasks.published.nasbench360.psicov import read_psicov
from archscout.tasks.published.nasbench360.satellite import read_satellite
from archscout.tasks.published.nasbench360.spherical import read_spherical
from archscout.tasks.readers.prepared import FOLDER
from archscout.tasks.task import Split
from tests.tasks.published.nasbench360 import layouts
from tests.tasks.readers.test_arrays import Bomb

CPU = torch.device("cpu")
READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Task]]] = {
    "ninapro": (layouts.write_ninapro, lambda root: read_ninapro(root, (12, 4, 5))),
    "spherical": (layouts.write_spherical, lambda root: read_spherical(root, (20, 6))),
    "satellite": (layouts.write_satellite, lambda root: read_satellite(root, (40, 10))),
    "deepsea": (layouts.write_deepsea, lambda root: read_deepsea(root, (8, 3, 5))),
    "ecg": (layouts.write_ecg, read_ecg),
    "darcy": (layouts.write_darcy, lambda root: read_darcy(root, 21, (9, 3, 4))),
    "psicov": (layouts.write_proteins, lambda root: read_psicov(root, (6, 2), 2)),
    "cosmic": (layouts.write_cosmic, lambda root: read_cosmic(root, (10, 3))),
    "fsd50k": (layouts.write_fsd50k, lambda root: read_fsd50k(root, 4)),
}


def all_of(split: Split, seed: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    return next(iter(split.source.batches([split.indices], CPU, seed=seed)))


@pytest.mark.parametrize("name", READERS)
def test_splits_are_disjoint_and_repeatable_and_samples_fit_the_spec(name: str, tmp_path: Path) -> None:
    write, read = READERS[name]
    write(tmp_path)
    task, again = read(tmp_path), read(tmp_path)
    seen: dict[int, set[int]] = {}
    for part in ("train", "validation", "test"):
        split = task.split(part)
        assert len(split) > 0
        assert torch.equal(split.indices, again.split(part).indices)
        own = set(split.indices.tolist())
        assert len(own) == len(split)
        assert not own & seen.setdefault(id(split.source), set())
        seen[id(split.source)] |= own
        raw, targets = next(iter(split.source.batches([split.indices[:3]], CPU, seed=1)))
        for seed in (None, 3):
            inputs = task.prepare(raw, seed=seed)
            assert inputs.dtype == torch.float32
            if name != "darcy":
                assert inputs.shape[1:] == TASKS.get(name).spec.input_shape
        outputs = torch.randn(len(raw), task.spec.outputs, *(inputs.shape[2:] if task.spec.kind == "dense" else ()))
        assert torch.isfinite(task.loss(outputs, targets))
        assert np.isfinite(task.metric.measure(outputs, targets))
    assert task.spec.name == name
    assert len(task.development) == len(task.train) + len(task.validation)


@pytest.mark.parametrize("name", READERS)
def test_missing_files_are_named_with_the_next_step(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"archscout data nasbench360 {name}; name the folder with --data DIR"):
        TASKS.get(name).load(tmp_path)


def test_wrong_counts_are_told(tmp_path: Path) -> None:
    layouts.write_ninapro(tmp_path)
    with pytest.raises(DataError, match=r"ninapro_train\.npy has 12 samples; ninapro has 2,638"):
        read_ninapro(tmp_path)


def test_ninapro_is_transposed(tmp_path: Path) -> None:
    written = layouts.write_ninapro(tmp_path)
    inputs, targets = all_of(read_ninapro(tmp_path, (12, 4, 5)).validation)
    assert np.allclose(inputs[:, 0].numpy(), written["ninapro_val"].transpose(0, 2, 1))
    assert targets.tolist() == written["label_val"].astype(int).tolist()


def test_spherical_images_stay_bytes_and_are_not_scaled(tmp_path: Path) -> None:
    written = layouts.write_spherical(tmp_path)
    task = read_spherical(tmp_path, (20, 6))
    inputs, targets = all_of(task.test)
    assert inputs.dtype == torch.uint8
    assert np.array_equal(inputs.numpy(), written["test"]["images"])
    assert np.array_equal(targets.numpy(), written["test"]["labels"])
    assert float(task.prepare(inputs).max()) == float(inputs.max())
    assert (len(task.train), len(task.validation)) == (16, 4)


def test_satellite_validation_is_no_longer_in_train(tmp_path: Path) -> None:
    written = layouts.write_satellite(tmp_path)
    task = read_satellite(tmp_path, (40, 10))
    (x, y), (held, _) = all_of(task.train), all_of(task.validation)
    rows = {row.tobytes() for row in written["train"]["data"].astype(np.float32)}
    assert {row.numpy().tobytes() for row in x} | {row.numpy().tobytes() for row in held} == rows
    assert (len(x), len(held)) == (30, 10)
    assert int(y.min()) >= 0
    assert int(y.max()) <= 23


def test_deepsea_has_channels_first(tmp_path: Path) -> None:
    written = layouts.write_deepsea(tmp_path)
    inputs, targets = all_of(read_deepsea(tmp_path, (8, 3, 5)).train)
    assert inputs.dtype == torch.uint8
    assert np.array_equal(inputs.numpy(), written["x_train"].transpose(0, 2, 1))
    assert np.array_equal(targets.numpy(), written["y_train"])


def test_ecg_windows_of_a_record_are_in_one_split(tmp_path: Path) -> None:
    written = layouts.write_ecg(tmp_path)
    task = read_ecg(tmp_path)
    hops = {"N": 500, "A": 83, "O": 250, "~": 25}
    windows = [
        len(range(0, len(record) - 1000, hops[label]))
        for record, label in zip(written["data"], written["label"], strict=True)
    ]
    assert len(task.train) + len(task.validation) + len(task.test) == sum(windows)
    owners = np.repeat(np.arange(len(windows)), windows)
    parts = [set(owners[task.split(name).indices.numpy()].tolist()) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    first = written["data"][0].astype(np.float64)
    inputs, targets = next(iter(task.train.source.batches([torch.tensor([0])], CPU)))
    assert np.allclose(inputs[0, 0].numpy(), ((first - first.mean()) / first.std())[:1000], atol=1e-6)
    assert targets.tolist() == [0]


@pytest.mark.parametrize("hdf5", [False, True])
def test_darcy_takes_every_fifth_node_of_both_formats(tmp_path: Path, hdf5: bool) -> None:
    written = layouts.write_darcy(tmp_path, hdf5=hdf5)
    task = read_darcy(tmp_path, 21, (9, 2, 3))
    inputs, targets = all_of(task.train)
    first, second = written.values()
    assert np.allclose(inputs[:, 0].numpy(), first["coeff"][:9, ::5, ::5])
    assert np.allclose(targets[:, 0].numpy(), first["sol"][:9, ::5, ::5])
    assert np.allclose(all_of(task.test)[1][:, 0].numpy(), second["sol"][:3, ::5, ::5])
    prepared = task.prepare(inputs)
    assert prepared.shape[1] == 3
    assert prepared[:, 0].mean(0).abs().max() < 1e-4
    assert prepared[0, 1, 1, 0] == pytest.approx(0.25)
    assert prepared[0, 2, 0, 1] == pytest.approx(0.25)
    # What a network gives is de-normalised: zeros are the mean pressure of the train split.
    mean = targets.mean(0, keepdim=True).expand_as(targets)
    error = (mean - targets).flatten(1).norm(dim=1) / targets.flatten(1).norm(dim=1)
    assert float(task.loss(torch.zeros_like(targets), targets)) == pytest.approx(float(error.sum()), rel=1e-5)
    assert task.metric.measure(torch.zeros_like(targets), targets) == pytest.approx(float(error.mean()), rel=1e-5)


def test_cosmic_adds_sky_in_training_alone_and_marks_what_is_ignored(tmp_path: Path) -> None:
    written = layouts.write_cosmic(tmp_path)
    task = read_cosmic(tmp_path, (10, 3))
    inputs, targets = all_of(task.test)
    crop = slice(64, 192)
    for number, (image, target) in enumerate(zip(inputs, targets, strict=True), start=1):
        layers = written[f"test{number}"]
        assert np.allclose(image[0].numpy(), layers[0][crop, crop])
        ignored = layers[2][crop, crop] if len(layers) == 3 else np.zeros((128, 128), bool)
        assert np.array_equal(target[0].numpy() == IGNORED, ignored)
        assert np.array_equal(target[0].numpy()[~ignored] == 1, layers[1][crop, crop][~ignored])
    plain, noisy = all_of(task.train)[0], all_of(task.train, seed=5)[0]
    added = (noisy - plain).flatten(1)
    assert added.std(1).max() < 1e-6
    sky = (task.train.indices + 1).float()
    assert bool(((added[:, 0] / sky > -0.91) & (added[:, 0] / sky < 3.01)).all())
    alone = next(iter(task.train.source.batches([task.train.indices[2:3]], CPU, seed=5)))[0]
    assert torch.equal(alone[0], noisy[2])


def _remove_lists(root: Path, *parts: str) -> None:
    for part in parts:
        (root / "cosmic" / f"{part}_dirs.npy").unlink()


def _by_content(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in all_of(split)[0]}


@pytest.mark.parametrize("parts", [("train", "test"), ("train",), ("test",)])
def test_fields_of_cosmic_are_found_without_lists_by_the_published_rule(tmp_path: Path, parts: tuple[str, ...]) -> None:
    layouts.write_cosmic(tmp_path)
    listed = read_cosmic(tmp_path, (10, 3))
    wanted = _by_content(listed.development), _by_content(listed.test)
    assert listed.provenance["fields"] == "of the lists"
    for part in ("train", "test"):
        base = tmp_path / "cosmic" / f"npy_{part}"
        for other in ("f606w/10760/2", "f814w/12058/6", "f435w/10595/2", "f435w/12103/a3"):  # of no galaxy, or filter
            (base / other).mkdir(parents=True)
            for name in ("1_j8.npy", "sky.npy"):
                shutil.copy(base / "f435w" / "10760" / "2" / name, base / other / name)
    _remove_lists(tmp_path, *parts)
    found = read_cosmic(tmp_path, (10, 3))
    assert (_by_content(found.development), _by_content(found.test)) == wanted
    assert found.provenance["fields"] == "by the published rule"
    if "train" in parts:  # in the order of their names, whatever the file system's is
        visit = tmp_path / "cosmic" / "npy_train" / "f435w" / "10760" / "2"
        images, _ = next(iter(found.train.source.batches([torch.arange(10)], CPU)))
        for image, number in zip(images, (10, 1, 2, 3, 4, 5, 6, 7, 8, 9), strict=True):
            assert np.array_equal(image[0].numpy(), np.load(visit / f"{number}_j8.npy")[0, 64:192, 64:192])


def test_a_cosmic_of_other_counts_or_not_unpacked_is_told(tmp_path: Path) -> None:
    layouts.write_cosmic(tmp_path)
    _remove_lists(tmp_path, "train", "test")
    with pytest.raises(DataError, match=r"npy_train/f435w \(pointings at resolved galaxies\) has 10 samples; .* 4,830"):
        read_cosmic(tmp_path)
    assert len(read_cosmic(tmp_path / "cosmic", (10, 3)).test) == 3  # the folder itself is named
    shutil.rmtree(tmp_path / "cosmic" / "npy_test")
    archive = tmp_path / "cosmic" / "deepCR.ACS-WFC.test.tar"
    archive.write_bytes(b"")
    with pytest.raises(DataError, match=rf"has no npy_test\. Unpack it: tar -xf {archive} -C {archive.parent}\. What"):
        read_cosmic(tmp_path, (10, 3))


def test_refused_pickles_are_not_run(tmp_path: Path) -> None:
    layouts.write_ecg(tmp_path)
    (tmp_path / "challenge2017.pkl").write_bytes(pickle.dumps({"data": [Bomb(tmp_path / "ran")], "label": ["N"]}))
    with pytest.raises(DataError, match="is refused: the pickle names"):
        read_ecg(tmp_path)
    assert not (tmp_path / "ran").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ninapro", "ninaPro/ninapro_train.npy"),
        ("ninapro", "ninaPro/label_val.npy"),
        ("spherical", "s2_cifar100.gz"),
        ("satellite", "satellite_test.npy"),
        ("deepsea", "deepsea_filtered.npz"),
        ("ecg", "challenge2017.pkl"),
        ("darcy", "piececonst_r421_N1024_smooth2.mat"),
        ("psicov", "protein/psicov/features/p001A.pkl"),
        ("psicov", "protein/deepcov/distance/d002A-cb.npy"),
        ("cosmic", "cosmic/npy_train/f435w/10760/2/4_j8.npy"),
        ("fsd50k", "chunks/lbl_map.json"),
    ],
)
def test_truncated_files_are_named(name: str, file: str, tmp_path: Path) -> None:
    write, read = READERS[name]
    write(tmp_path)
    _cut(tmp_path / file)
    with pytest.raises(DataError, match=Path(file).name) as raised:
        read(tmp_path)
    assert f"archscout data nasbench360 {name}" in str(raised.value)
    assert not (tmp_path / FOLDER / name).exists()


def _out_of_range(name: str, root: Path) -> None:
    if name == "ninapro":
        np.save(root / "ninaPro" / "label_val.npy", np.array([0, 18, 1, 2]))
    elif name == "satellite":
        content = {"data": np.zeros((10, 46)), "label": np.zeros(10, int)}
        np.save(root / "satellite_test.npy", np.array(content, dtype=object), allow_pickle=True)
    elif name == "ecg":
        (root / "challenge2017.pkl").write_bytes(pickle.dumps({"data": [np.zeros(1200)], "label": ["X"]}))
    else:
        arrays = dict(np.load(root / "deepsea_filtered.npz"))
        arrays["y_val"][1, 2] = 2
        np.savez(root / "deepsea_filtered.npz", **arrays)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ninapro", r"label_val\.npy\[1\] is 18; labels are 0 to 17"),
        ("satellite", r"label\[0\] is 0; labels are 1 to 24"),
        ("ecg", "label 0 is 'X'; allowed are N, A, O, ~"),
        ("deepsea", "y_val has a value that is neither 0 nor 1"),
    ],
)
def test_labels_out_of_range_are_named(name: str, message: str, tmp_path: Path) -> None:
    write, read = READERS[name]
    write(tmp_path)
    _out_of_range(name, tmp_path)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_everything_published_is_a_registered_task() -> None:
    assert set(PUBLISHED) == set(READERS) | {"cifar100"}
    assert set(PUBLISHED) <= set(TASKS)
