"""The embedded default task: scikit-learn's handwritten digits, 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

from pathlib import Path

import torch

from archscout.seeds import generator
from archscout.tasks.metrics.classification import accuracy, cross_entropy
from archscout.tasks.preparation import ImagePreparation
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.rendering import Rendering
from archscout.tasks.registry import register_task
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import normalizer, random_crop, uint8_to_float

__all__ = ["digits_task"]

# A sixth of the images for test and a sixth for validation: 1,197 + 300 + 300.
TEST_SIZE = 300
VALIDATION_SIZE = 300
SPEC = TaskSpec(name="digits", kind="classification", input_shape=(1, 8, 8), outputs=10)
SPLIT_SEED = 0  # the split belongs to the task, not to the run: results of different seeds share one test split


@register_task(SPEC)
def digits_task(root: Path) -> Task:
    """Handwritten digits of scikit-learn: 8 x 8 grey images, 10 classes; no files needed."""
    from sklearn.datasets import load_digits  # takes half a second, which other tasks need not wait for

    data = load_digits()
    # Pixels are 0..16; stored as 0..255, as images are.
    pixels = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    source = ArraySource(pixels, torch.from_numpy(data.target).to(torch.long))
    order = torch.randperm(len(source), generator=generator(SPLIT_SEED, "digits"))
    test = order[:TEST_SIZE]
    validation = order[TEST_SIZE : TEST_SIZE + VALIDATION_SIZE]
    train = order[TEST_SIZE + VALIDATION_SIZE :]
    return Task(
        spec=SPEC,
        train=Split(source, train),
        validation=Split(source, validation),
        test=Split(source, test),
        loss=cross_entropy,
        metric=accuracy(10),
        to_float=uint8_to_float,
        normalize=normalizer([0.3053], [0.3758]),  # of the train split
        augmentations=(random_crop(1),),
        class_names=tuple(str(digit) for digit in range(10)),
        preparation=ImagePreparation(Decoding(8, 8, grey=True, fit="squeeze", rendering=Rendering()).to_json()),
        provenance={"source": "sklearn.datasets.load_digits", "split_seed": SPLIT_SEED},
    )
