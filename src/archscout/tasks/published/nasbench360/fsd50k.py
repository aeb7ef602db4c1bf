"""FSD50K: what can be heard in a recording, of 200 kinds of sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.errors import DataError
from archscout.tasks.metrics.ranking import mean_average_precision
from archscout.tasks.published.nasbench360.audio import mask_spectrogram, mix_background, read_recording
from archscout.tasks.published.nasbench360.clips import ChunkSource, ClipSource
from archscout.tasks.published.nasbench360.files import hint, locate
from archscout.tasks.published.nasbench360.point_tasks import multilabel_task
from archscout.tasks.published.nasbench360.sound_lists import Chunks, read_chunks, read_label_map
from archscout.tasks.readers.prepared import file_key, load_array, prepared
from archscout.tasks.registry import register_task
from archscout.tasks.sound_features import SoundSettings, features_key, log_mel
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["fsd50k_task", "read_fsd50k"]

LABELS = 200
SOUND = SoundSettings()  # docs/nasbench360.md#what-is-done-with-the-data
_, MELS, FRAMES = SOUND.shape  # 101 frames of a second
POSITIVE_WEIGHT = 10.0
PARTS = ("tr", "val", "eval")
LISTS = tuple(f"chunks/{part}.csv" for part in PARTS)
BATCH = 64  # chunks that are transformed at a time
SPEC = TaskSpec("fsd50k", "multilabel", (1, MELS, FRAMES + 1), LABELS)


@register_task(SPEC)
def fsd50k_task(root: Path) -> Task:
    """FSD50K: spectrograms of sounds, 1 x 96 x 102, 200 labels; train by clip, validation and test by chunk."""
    return read_fsd50k(root)


def read_fsd50k(root: Path, labels: int = LABELS) -> Task:
    """The task of the published lists and recordings, in their own splits.

    A training sample is a clip: one of its chunks of a second, drawn anew for each epoch. Validation and test have a
    sample for each chunk; the metric averages the logits of a clip's chunks. Targets are `(labels + 1,)`: the labels,
    then the clip's number. Spectrograms are made once, as float16, and kept.

    Raises:
        DataError: lists, recordings or background noise are missing, damaged, or contradict the list of labels.
    """
    *lists, map_path = locate("fsd50k", root, (*LISTS, "chunks/lbl_map.json"))
    label_map = read_label_map(map_path, labels)
    base = map_path.parent.parent
    parts = [read_chunks(path, label_map, base) for path in lists]
    noises = sorted((base / "noise_22050").glob("*.wav"))
    if not noises:
        raise DataError(f"{base / 'noise_22050'} has no .wav file of background noise. {hint('fsd50k')}")

    def build(folder: Path) -> None:
        for name, chunks in zip(PARTS, parts, strict=True):
            _write_spectrograms(folder, name, chunks.files)
        _write_spectrograms(folder, "noise", noises)

    recordings = [path for chunks in parts for path in chunks.files]
    key = {
        "lists": file_key([*lists, map_path]),
        "recordings": file_key([*recordings, *noises]),
        "features": features_key(SOUND),
    }
    folder = prepared(root, "fsd50k", key, build)
    train, validation, test = _splits(folder, parts)
    task = multilabel_task(
        SPEC if labels == LABELS else TaskSpec(SPEC.name, SPEC.kind, SPEC.input_shape, labels),
        (train, validation, test),
        {"source": "FSD50K, chunks of a second", "split": "the published one"},
        mean_average_precision(labels, merge=True),
        POSITIVE_WEIGHT,
        (mask_spectrogram, mix_background(load_array(folder, "noise"))),
    )
    return _with_last_column(task)


def _with_last_column(task: Task) -> Task:
    """One column of zeros at the end, after augmentation: 102 columns, as published."""
    from dataclasses import replace

    return replace(task, normalize=lambda inputs: F.pad(inputs, (0, 1)))


def _splits(folder: Path, parts: list[Chunks]) -> tuple[Split, Split, Split]:
    """Clips are numbered through all three, so that no two share a number."""
    offsets = np.cumsum([0, *(len(chunks.clip_labels) for chunks in parts)]).tolist()
    sources: list[Any] = []
    for name, chunks, offset in zip(PARTS, parts, offsets, strict=False):
        kind = ClipSource if name == "tr" else ChunkSource
        owners, clip_labels = torch.from_numpy(chunks.clips), torch.from_numpy(chunks.clip_labels)
        sources.append(kind(load_array(folder, name), owners, clip_labels, offset))
    train, validation, test = (Split(source, torch.arange(len(source))) for source in sources)
    return train, validation, test


def _write_spectrograms(folder: Path, name: str, files: list[Path]) -> None:
    path = folder / f"{name}.npy"
    written = np.lib.format.open_memmap(path, "w+", np.float16, (len(files), MELS, FRAMES))
    for start in range(0, len(files), BATCH):
        batch = torch.stack([_second(read_recording(file, SOUND.rate)) for file in files[start : start + BATCH]])
        written[start : start + BATCH] = log_mel(batch, SOUND).numpy()
    written.flush()


def _second(samples: Tensor) -> Tensor:
    """A second of sound: repeated where it is shorter, cut where it is longer."""
    return samples.repeat(-(-SOUND.length // len(samples)))[: SOUND.length]
