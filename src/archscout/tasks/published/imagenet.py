"""ImageNet (ILSVRC 2012), streamed from an image folder."""

from __future__ import annotations

from pathlib import Path

import torch

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.holdout import stratified_holdout
from archscout.tasks.metrics.classification import accuracy, cross_entropy, top_k_accuracy
from archscout.tasks.preparation import ImagePreparation
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.image_folder import scan_classes
from archscout.tasks.readers.images import ImageSource
from archscout.tasks.registry import register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import normalizer, uint8_to_float

__all__ = ["imagenet_task"]

SIDE = 224
CLASSES = 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # docs/methods/darts.md#images
VALIDATION_FRACTION = 0.2  # of the training images, for the search; docs/methods/ednas.md#search-settings
SPLIT_SEED = 0  # belongs to the task, not to the run
SPEC = TaskSpec(name="imagenet", kind="classification", input_shape=(3, SIDE, SIDE), outputs=CLASSES)


@register_task(SPEC)
def imagenet_task(root: Path) -> Task:
    """ImageNet: 1.28 million images, 1000 classes, at 224 x 224; its official validation folder is the test split.

    The search's validation split is a fifth of the training images, drawn with a fixed seed, each class in
    proportion. Training images are cropped (random resized crop) and mirrored at random; others are resized to 256
    and cropped at the centre.

    Args:
        root: the folder with `train/<wnid>/*` and `val/<wnid>/*`, or its parent where that is called `imagenet`.

    Raises:
        DataError: no such folders, other than 1000 classes, or a class without images.
    """
    folder = next((path for path in (root, root / "imagenet") if (path / "train").is_dir()), None)
    if folder is None or not (folder / "val").is_dir():
        raise DataError(
            f"no ImageNet under {root}: it needs train/ and val/, each with a folder for each class (n01440764, ...). "
            "Name the folder that holds both with --data DIR or ARCHSCOUT_DATA; ImageNet must be got from its owners."
        )
    train = scan_classes(folder, "train")
    if len(train.class_names) != CLASSES:
        raise DataError(f"{folder}/train has {len(train.class_names)} class folders; ImageNet has {CLASSES}.")
    test = scan_classes(folder, "val", train.class_names)
    source = ImageSource(
        folder, (*train.names, *test.names), torch.cat([train.labels, test.labels]), Decoding(SIDE, SIDE)
    )
    kept, held = stratified_holdout(train.labels, VALIDATION_FRACTION, generator(SPLIT_SEED, "imagenet"))
    return Task(
        spec=SPEC,
        train=Split(source, kept),
        validation=Split(source, held),
        test=Split(source, torch.arange(len(train), len(source))),
        loss=cross_entropy,
        metric=accuracy(CLASSES),
        extra_metrics=(top_k_accuracy(CLASSES, 5),),
        to_float=uint8_to_float,
        normalize=normalizer(MEAN, STD),
        preparation=ImagePreparation(Decoding(SIDE, SIDE).to_json()),
        class_names=train.class_names,
        provenance={
            "source": "image folder; test is the official validation set",
            "split_seed": SPLIT_SEED,
            "training_images": len(train),
            "test_images": len(test),
        },
    )
