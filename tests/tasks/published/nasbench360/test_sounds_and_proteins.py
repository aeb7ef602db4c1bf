from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from archscout.engine import Engine
from archscout.errors import DataError
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.published.nasbench360.audio import mask_spectrogram, mix_background, read_recording
from archscout.tasks.published.nasbench360.fsd50k import read_fsd50k
from archscout.tasks.published.nasbench360.psicov import read_psicov
from archscout.tasks.readers.pickles import read_pickled
from archscout.tasks.readers.prepared import file_key
from archscout.tasks.sound_features import SoundSettings, log_mel
from archscout.tasks.streams import evaluation_batches
from archscout.training.evaluation import evaluate_network
from tests.tasks.published.nasbench360 import layouts

CPU = torch.device("cpu")


# -- sounds ------------------------------------------------------------------------------------------------------


def test_recordings_of_another_rate_or_damaged_are_told_with_the_next_step(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 44_100, np.zeros(10, np.int16))
    with pytest.raises(DataError, match=r"a\.wav has 44,100 samples a second; .* have 22,050\. .*nasbench360 fsd50k"):
        read_recording(tmp_path / "a.wav", 22_050)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"b\.wav is truncated.*nasbench360 fsd50k"):
        read_recording(tmp_path / "b.wav", 22_050)


def test_spectrograms_of_sounds_are_those_of_their_repeated_second(tmp_path: Path) -> None:
    layouts.write_fsd50k(tmp_path)
    source = read_fsd50k(tmp_path, 4).train.source
    x, _ = next(iter(source.batches([torch.tensor([0])], CPU)))
    samples = wavfile.read(tmp_path / "audio" / "tr_0_0.wav")[1].astype(np.float32) / 2**15
    second = torch.from_numpy(np.concatenate([samples, samples])[:22_050])
    assert torch.allclose(x[0, 0].float(), log_mel(second.unsqueeze(0), SoundSettings())[0], atol=0.03)


def test_spectrograms_of_an_earlier_definition_or_of_other_recordings_are_made_again(tmp_path: Path) -> None:
    layouts.write_fsd50k(tmp_path)
    first, _ = next(iter(read_fsd50k(tmp_path, 4).test.source.batches([torch.arange(3)], CPU)))
    key = tmp_path / "prepared" / "fsd50k" / "key.json"
    current = json.loads(key.read_text())
    lists = [*(tmp_path / "chunks" / f"{part}.csv" for part in ("tr", "val", "eval")), tmp_path / "chunks/lbl_map.json"]
    key.write_text(json.dumps({"version": 1, "files": file_key(lists), "noises": 2}))  # as it was
    np.save(key.parent / "eval.npy", np.zeros((7, 96, 101), np.float16))
    again, _ = next(iter(read_fsd50k(tmp_path, 4).test.source.batches([torch.arange(3)], CPU)))
    assert json.loads(key.read_text()) == current
    assert torch.equal(first, again)
    wavfile.write(tmp_path / "audio" / "eval_0_0.wav", 22_050, np.ones(22_050, np.int16))
    changed, _ = next(iter(read_fsd50k(tmp_path, 4).test.source.batches([torch.arange(3)], CPU)))
    assert not torch.equal(first, changed)


def test_masks_cover_bands_with_the_minimum_and_repeat_by_seed() -> None:
    inputs = 1 + torch.rand(400, 1, 96, 101)
    masked, again = (mask_spectrogram(inputs, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(masked, again)
    changed = masked != inputs
    assert 0.4 < float(changed.flatten(1).any(1).float().mean()) < 0.55
    assert torch.equal(masked.amin((1, 2, 3)), inputs.amin((1, 2, 3)))
    hidden_rows = changed.all(3)[:, 0].sum(1)
    assert int(hidden_rows.max()) <= 2 * 14


def test_background_is_mixed_up_to_a_half() -> None:
    mix = mix_background(torch.full((2, 96, 101), 10.0))
    mixed = mix(torch.zeros(400, 1, 96, 101), torch.Generator().manual_seed(0))
    share = mixed.amax((1, 2, 3)) / 10
    assert float(share.max()) <= 0.5
    assert 0.68 < float((share > 0).float().mean()) < 0.82


def test_training_draws_a_chunk_of_the_clip_and_evaluation_reads_all(tmp_path: Path) -> None:
    written = layouts.write_fsd50k(tmp_path)
    task = read_fsd50k(tmp_path, 4)
    assert (len(task.train), len(task.validation), len(task.test)) == (5, len(written["val"]), len(written["eval"]))
    drawn = set()
    for seed in range(20):
        x, y = next(iter(task.train.source.batches([torch.tensor([2])], CPU, seed=seed)))
        drawn.add(x.numpy().tobytes())
        assert y[0].tolist() == [1, 0, 1, 0, 2]
    assert len(drawn) == 3
    _, targets = next(iter(task.test.source.batches([task.test.indices], CPU)))
    assert torch.unique(targets[:, -1]).tolist() == [8, 9, 10, 11]
    assert task.prepare(x, seed=0).shape == (1, 1, 96, 102)
    assert float(task.prepare(x)[..., -1].abs().max()) == 0


def test_wrong_lists_of_sounds_are_told(tmp_path: Path) -> None:
    layouts.write_fsd50k(tmp_path)
    path = tmp_path / "chunks" / "val.csv"
    text = path.read_text()
    path.write_text(text.replace("label0", "labelX", 1))
    with pytest.raises(DataError, match=r"val\.csv, line 2: unknown label 'labelX'"):
        read_fsd50k(tmp_path, 4)
    path.write_text(text.replace("val_1_0.wav", "../../gone.wav"))
    with pytest.raises(DataError, match=r"val\.csv, line 3: .* leads out of its folder"):
        read_fsd50k(tmp_path, 4)
    path.write_text(text.replace("val_1_0.wav", "gone.wav"))
    with pytest.raises(DataError, match=r"line 3: no recording gone\.wav"):
        read_fsd50k(tmp_path, 4)


# -- proteins ----------------------------------------------------------------------------------------------------


def test_whole_maps_have_the_published_channels_and_distances(tmp_path: Path) -> None:
    written = layouts.write_proteins(tmp_path)
    task = read_psicov(tmp_path, (6, 2), 2)
    batches = list(evaluation_batches(task, task.test, 256, CPU))
    inputs, targets = batches[0].inputs, batches[0].targets
    assert (len(batches), inputs.shape, targets.shape) == (1, (2, 57, 512, 512), (2, 2, 512, 512))
    features, distances = written["p000A"]
    inside = slice(5, 55)
    profiles = np.concatenate([features["ss"], features["pssm"].T, features["sa"][None], features["entropy"][None]])
    assert np.allclose(inputs[0, :27, inside, inside], np.broadcast_to(profiles[:, :, None], (27, 50, 50)))
    assert np.allclose(inputs[0, 27:54, inside, inside], np.broadcast_to(profiles[:, None, :], (27, 50, 50)))
    assert np.allclose(inputs[0, 55, inside, inside], features["freecon"])
    off = ~np.eye(50, dtype=bool)
    assert np.allclose(targets[0, 0, inside, inside].numpy()[off], np.maximum(distances, 1)[off])
    assert float(targets[0, 0, 5, 5]) == pytest.approx(float(distances[0, 1]))
    assert float(targets[0, 0, 6, 6]) == pytest.approx(float(distances[0, 1] + distances[1, 2]) / 2)
    outside = torch.ones(512, 512, dtype=torch.bool)
    outside[inside, inside] = False
    assert bool((targets[0, 0][outside] == IGNORED).all())
    assert bool((targets[0, 1][outside] == -1).all())
    assert bool((inputs[0][:, outside] == 0).all())
    assert targets[0, 1, 5, 30] == 25


def test_crops_are_windows_of_the_padded_map(tmp_path: Path) -> None:
    layouts.write_proteins(tmp_path)
    task = read_psicov(tmp_path, (6, 2), 2)
    whole = next(iter(task.train.source.whole.batches([torch.tensor([1])], CPU)))  # type: ignore[attr-defined]
    offsets = set()
    for seed in range(8):
        x, y = next(iter(task.train.source.batches([torch.tensor([1])], CPU, seed=seed)))
        assert (x.shape, y.shape) == ((1, 57, 128, 128), (1, 2, 128, 128))
        separation = whole[1][0, 1]
        places = [
            (r, c)
            for r in range(33)
            for c in range(33)
            if torch.equal(separation[r : r + 128, c : c + 128], y[0, 1])
            and torch.equal(whole[0][0, :, r : r + 128, c : c + 128], x[0])
        ]
        assert len(places) == 1
        offsets.add(places[0])
    assert len(offsets) > 4


def test_a_protein_network_is_judged_on_whole_maps(tmp_path: Path) -> None:
    layouts.write_proteins(tmp_path)
    task = read_psicov(tmp_path, (6, 2), 2)
    values = evaluate_network(torch.nn.Conv2d(57, 1, 1), task, task.test, Engine.create("cpu"))
    assert set(values) == {"mae8", "loss"}
    assert all(np.isfinite(value) for value in values.values())


def test_proteins_that_contradict_themselves_are_told(tmp_path: Path) -> None:
    layouts.write_proteins(tmp_path)
    path = tmp_path / "protein" / "psicov" / "features" / "p000A.pkl"
    features = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({key: value for key, value in features.items() if key != "sa"}))
    with pytest.raises(DataError, match=r"p000A\.pkl has no sa"):
        read_psicov(tmp_path, (6, 2), 2)
    path.write_bytes(pickle.dumps(features | {"pssm": np.zeros((50, 21))}))
    with pytest.raises(DataError, match=r"pssm is float64 of shape \(50, 21\); it must be numbers \(22, 50\)"):
        read_psicov(tmp_path, (6, 2), 2)


# -- pickles of arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_plain_arrays_are_rebuilt(tmp_path: Path, protocol: int) -> None:
    objects = np.empty(2, dtype=object)
    objects[:] = [np.arange(3, dtype=np.int16), "text"]
    content: dict[str, Any] = {
        "float": np.random.default_rng(0).normal(size=(3, 4)),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">i4"),
        "bool": np.array([True, False]),
        "text": np.array(["N", "~"]),
        "objects": objects,
        "scalar": np.float32(1.5),
        "nested": [1, (2.5, None, True), {"a": b"bytes"}],
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    read = read_pickled(path)
    for key in ("float", "fortran", "big", "bool", "text"):
        assert np.array_equal(read[key], content[key]), key
    assert read["objects"][0].tolist() == [0, 1, 2]
    assert read["objects"][1] == "text"
    assert read["scalar"] == 1.5
    assert read["nested"] == [1, (2.5, None, True), {"a": "bytes"}]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY", b"\x1f\x8b\x08broken"])
def test_what_is_no_pickle_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.pkl is .*Get it\."):
        read_pickled(path, "Get it.")
