"""Tiny data sets in the published layouts: the right names, keys, types and axes."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat, wavfile

DRAW = np.random.default_rng(0)


def write_ninapro(root: Path, counts: tuple[int, int, int] = (12, 4, 5)) -> dict[str, Any]:
    folder = root / "ninaPro"
    folder.mkdir(parents=True)
    written = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        written[f"ninapro_{part}"] = DRAW.normal(size=(count, 52, 16))
        written[f"label_{part}"] = DRAW.integers(0, 18, count).astype(np.float64)
    for name, values in written.items():
        np.save(folder / f"{name}.npy", values)
    return written


def write_spherical(root: Path, counts: tuple[int, int] = (20, 6)) -> dict[str, Any]:
    content = {
        part: {
            "images": DRAW.integers(0, 256, (count, 3, 60, 60), dtype=np.uint8),
            "labels": DRAW.integers(0, 100, count),
        }
        for part, count in zip(("train", "test"), counts, strict=True)
    }
    root.mkdir(parents=True, exist_ok=True)
    with gzip.open(root / "s2_cifar100.gz", "wb", compresslevel=1) as file:
        pickle.dump(content, file)
    return content


def write_satellite(root: Path, counts: tuple[int, int] = (40, 10)) -> dict[str, Any]:
    root.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, count in zip(("train", "test"), counts, strict=True):
        written[part] = {"data": DRAW.normal(size=(count, 46)), "label": DRAW.integers(1, 25, count)}
        np.save(root / f"satellite_{part}.npy", np.array(written[part], dtype=object), allow_pickle=True)
    return written


def write_deepsea(root: Path, counts: tuple[int, int, int] = (8, 3, 5)) -> dict[str, Any]:
    root.mkdir(parents=True, exist_ok=True)
    written: dict[str, Any] = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        written[f"x_{part}"] = np.eye(4, dtype=np.float32)[DRAW.integers(0, 4, (count, 1000))]
        written[f"y_{part}"] = (DRAW.random((count, 36)) < 0.3).astype(np.float32)
    np.savez_compressed(root / "deepsea_filtered.npz", **written)
    return written


def write_ecg(root: Path, records: int = 40) -> dict[str, Any]:
    root.mkdir(parents=True, exist_ok=True)
    data = np.empty(records, dtype=object)
    for number in range(records):
        data[number] = DRAW.integers(-500, 500, DRAW.integers(1100, 1400)).astype(np.int16)
    content = {"data": data, "label": np.array([("N", "A", "O", "~")[number % 4] for number in range(records)])}
    (root / "challenge2017.pkl").write_bytes(pickle.dumps(content))
    return content


def write_darcy(
    root: Path, nodes: int = 21, counts: tuple[int, int] = (12, 4), *, hdf5: bool = False
) -> dict[str, Any]:
    root.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, count in zip((1, 2), counts, strict=True):
        fields = {
            "coeff": np.where(DRAW.random((count, nodes, nodes)) < 0.5, 3.0, 12.0),
            "sol": DRAW.random((count, nodes, nodes)),
        }
        path = root / f"piececonst_r421_N1024_smooth{number}.mat"
        if hdf5:
            import h5py

            with h5py.File(path, "w", userblock_size=512) as file:
                for name, values in fields.items():
                    file[name] = values.transpose(2, 1, 0)
            with path.open("r+b") as raw:
                raw.write(b"MATLAB 7.3 MAT-file")
        else:
            savemat(path, fields)
        written[path.name] = fields
    return written


def write_proteins(root: Path, lengths: dict[str, list[int]] | None = None) -> dict[str, Any]:
    lengths = lengths or {"deepcov": [40, 150, 60, 45, 70, 55], "psicov": [50, 130]}
    written = {}
    for group, sizes in lengths.items():
        base = root / "protein" / group
        (base / "features").mkdir(parents=True)
        (base / "distance").mkdir()
        names = [f"{group[0]}{number:03d}A" for number in range(len(sizes))]
        (root / "protein" / f"{group}.lst").write_text("\n".join(names) + "\n")
        for name, size in zip(names, sizes, strict=True):
            features: dict[str, Any] = {
                "seq": "A" * size,
                "ss": DRAW.random((3, size)),
                "pssm": DRAW.random((size, 22)),
            }
            features |= {"sa": DRAW.random(size), "entropy": DRAW.random(size)}
            features |= {pair: DRAW.random((size, size)) for pair in ("ccmpred", "freecon", "potential")}
            (base / "features" / f"{name}.pkl").write_bytes(pickle.dumps(features))
            halves: Any = DRAW.uniform(2, 30, (size, size))
            distances = ((halves + halves.T) / 2).astype(np.float32)
            np.fill_diagonal(distances, 0)
            holder = np.empty(3, dtype=object)
            holder[:] = [size, "A" * size, distances]
            np.save(base / "distance" / f"{name}-cb.npy", holder, allow_pickle=True)
            written[name] = (features, distances)
    return written


def write_cosmic(root: Path, counts: tuple[int, int] = (10, 3)) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for part, count in zip(("train", "test"), counts, strict=True):
        visit = root / "cosmic" / f"npy_{part}" / "f435w" / "10760" / "2"
        visit.mkdir(parents=True)
        names = []
        for number in range(1, count + 1):
            layers = [DRAW.random((256, 256)), DRAW.random((256, 256)) < 0.1, DRAW.random((256, 256)) < 0.05]
            path = visit / f"{number}_j8.npy"
            np.save(path, np.stack(layers[: 2 + number % 2]).astype(np.float32))
            names.append(f"/elsewhere/cosmic/npy_{part}/f435w/10760/2/{path.name}")
            written[f"{part}{number}"] = layers[: 2 + number % 2]
        np.save(visit / "sky.npy", np.arange(1, count + 1, dtype=np.float32))
        np.save(root / "cosmic" / f"{part}_dirs.npy", np.array(names, dtype=object), allow_pickle=True)
    return written


def write_fsd50k(root: Path, labels: int = 4) -> dict[str, Any]:
    audio, noise = root / "audio", root / "noise_22050"
    for folder in (audio, noise, root / "chunks"):
        folder.mkdir(parents=True)
    written: dict[str, Any] = {}
    for part, clips in (("tr", 5), ("val", 3), ("eval", 4)):
        rows = []
        for clip in range(clips):
            named = ",".join(f"label{number}" for number in range(labels) if (clip + number) % 2 == 0)
            for chunk in range(1 + clip % 3):
                name = f"{part}_{clip}_{chunk}.wav"
                samples = (DRAW.normal(size=22_050 if chunk else 15_000) * 3000).astype(np.int16)
                wavfile.write(audio / name, 22_050, samples)
                rows.append({"files": f"/elsewhere/data/audio/{name}", "labels": named, "ext": f"{part}{clip}"})
        with (root / "chunks" / f"{part}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["files", "labels", "ext"])
            writer.writeheader()
            writer.writerows(rows)
        written[part] = rows
    (root / "chunks" / "lbl_map.json").write_text(json.dumps({f"label{number}": number for number in range(labels)}))
    for number in range(2):
        wavfile.write(noise / f"n{number}.wav", 22_050, (DRAW.normal(size=30_000) * 1000).astype(np.int16))
    return written
