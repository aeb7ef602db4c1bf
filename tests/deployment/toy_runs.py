"""Runs of tiny networks on tiny data of every kind, in files as people have them."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import archscout
from archscout.pipeline.run import Run
from archscout.spaces import ARCHITECTURES, SPACES
from archscout.tasks import TaskSpec
from tests.toys import ToySize, ToySpace, Widths, registered_toys

__all__ = ["quick_run", "registered", "write_images", "write_masks", "write_series", "write_sounds"]

OVERRIDES = [
    "train.epochs=2",
    "train.batch_size=8",
    "train.drop_path=0",
    "train.split=train",
    "evaluate.latency_batch_sizes=[1]",
]


class Channels(Widths):
    """The channels of inner convolutions."""

    format: ClassVar[str] = "toy.channels"
    space: ClassVar[str] = "toy-convolutions"


class Convolutions(nn.Module):
    """Two convolutions; what is no map is read from the mean over positions."""

    def __init__(self, spec: TaskSpec, channels: int) -> None:
        super().__init__()
        layer = nn.Conv1d if len(spec.input_shape) == 2 else nn.Conv2d
        self.first = layer(spec.input_shape[0], channels, 3, padding=1)
        self.last = layer(channels, spec.outputs, 1)
        self.dense = spec.kind == "dense"

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.relu(self.first(inputs)))
        return outputs if self.dense else outputs.flatten(2).mean(2)


class ConvolutionSpace(ToySpace):
    """Convolutions of searched width, for inputs of one or two dimensions."""

    name: ClassVar[str] = "toy-convolutions"

    def check(self, spec: TaskSpec) -> None:
        pass

    def random(self, draw: Random) -> Widths:
        return Channels((draw.randint(1, self.options.widest),))

    def build(self, architecture: Widths, spec: TaskSpec, size: ToySize) -> nn.Module:
        return Convolutions(spec, architecture.widths[0])

    def extremes(self, spec: TaskSpec, size: ToySize) -> tuple[Widths, Widths]:
        return Channels((1,)), Channels((self.options.widest,))


@contextmanager
def registered() -> Iterator[None]:
    """The space of these runs is known within the block."""
    with registered_toys():
        ARCHITECTURES.register(Channels.format)(Channels)
        SPACES.register(ConvolutionSpace.name)(ConvolutionSpace)
        try:
            yield
        finally:
            ARCHITECTURES.unregister(Channels.format)
            SPACES.unregister(ConvolutionSpace.name)


def quick_run(task: Any, out: Path, *, formats: str = "[]", until: str = "export", **options: Any) -> Run:
    """A tiny network, trained for two epochs, evaluated, and exported in these formats."""
    return archscout.train(
        Channels((6,)),
        task=task,
        overrides=[*OVERRIDES, f"export.formats={formats}"],
        values={"device": "cpu", **({"task_options": options} if options else {})},
        out=out,
        until=until,
    )


def write_images(folder: Path, *, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12) -> Path:
    """A folder for each class, in `train` and `test`: noise whose brightness tells the class."""
    draw = np.random.default_rng(0)
    for part, number in (("train", count), ("test", count // 2)):
        for label, name in enumerate(classes):
            place = folder / part / name
            place.mkdir(parents=True)
            for index in range(number):
                low = 255 * label // len(classes)
                pixels = draw.integers(low, low + 255 // len(classes), (16 + index % 5, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{name} {index}.png")
    return folder


def write_masks(folder: Path, *, count: int = 10, values: tuple[int, int] = (0, 255)) -> Path:
    """`train/images`, `train/masks`, `test/...`: bright squares on dark ground."""
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for what in ("images", "masks"):
            (folder / part / what).mkdir(parents=True)
        for index in range(count):
            mask = np.full((16, 16), values[0], np.uint8)
            left = int(draw.integers(1, 9))
            mask[left : left + 6, 4:10] = values[1]
            noise = draw.integers(0, 30, (16, 16)).astype(np.uint8)
            pixels = np.where(mask == values[1], 200, 30).astype(np.uint8) + noise
            Image.fromarray(pixels).save(folder / part / "images" / f"{index}.png")
            Image.fromarray(mask).save(folder / part / "masks" / f"{index}.png")
    return folder


def write_series(folder: Path, *, gaps: bool = True) -> Path:
    """`Toy_TRAIN.ts` and `Toy_TEST.ts`: two channels of 8 to 12 steps, some values missing."""
    draw = np.random.default_rng(0)
    for part in ("TRAIN", "TEST"):
        lines = []
        for index in range(40):
            steps = 12 if index % 3 else 8
            values = draw.normal(index % 2, 1, (2, steps)).round(3)
            channels = [",".join(map(str, channel)) for channel in values]
            if gaps and index % 5 == 0:
                words = channels[0].split(",")
                channels[0] = ",".join("?" if place in (0, 3) else word for place, word in enumerate(words))
            lines.append(":".join([*channels, "ab"[index % 2]]))
        header = "@equalLength false\n@classLabel true a b\n@data\n"
        (folder / f"Toy_{part}.ts").write_text(header + "\n".join(lines) + "\n")
    return folder / "Toy_TRAIN.ts"


def write_sounds(folder: Path, *, rate: int = 8000) -> Path:
    """A folder for each class, in `train` and `test`: tones of two heights, of several lengths."""
    draw = np.random.default_rng(0)
    for part, number in (("train", 10), ("test", 6)):
        for name, pitch in (("high", 1200), ("low", 300)):
            (folder / part / name).mkdir(parents=True)
            for index in range(number):
                seconds = 0.4 + 0.1 * (index % 3)
                time = np.arange(int(seconds * rate)) / rate
                samples = 0.5 * np.sin(2 * np.pi * pitch * time) + draw.normal(0, 0.05, len(time))
                with wave.open(str(folder / part / name / f"{index}.wav"), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(rate)
                    file.writeframes((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return folder
