"""Tasks from arrays in memory, from `.npz` files, and from map-style datasets."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.holdout import stratified_holdout
from archscout.tasks.readers.datasets import read_dataset
from archscout.tasks.readers.layouts import read_inputs
from archscout.tasks.registry import register_reader
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskKind, TaskSpec
from archscout.tasks.statistics import statistics_of_array
from archscout.tasks.targets import KINDS, judgement, read_targets, recognise_kind
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import normalizer, standard_augmentation, uint8_to_float

if TYPE_CHECKING:
    ArrayLike = np.ndarray[Any, Any] | Tensor

__all__ = ["npz_task", "task_from_arrays", "task_from_datasets"]

REQUIRED_KEYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL_KEYS = ("x_val", "y_val", "class_names", "layout", "kind")


def task_from_arrays(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    *,
    x_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    name: str = "arrays",
    class_names: Sequence[str] = (),
    validation_fraction: float = 1 / 6,
    seed: int = 0,
    augment: str = "auto",
    layout: str = "auto",
    kind: str = "auto",
    provenance: Mapping[str, Any] | None = None,
) -> Task:
    """A task from numpy arrays or tensors: classification, several labels at once, or a value at every position.

    Supported inputs: images `(N, H, W, C)`, `(N, C, H, W)` and `(N, H, W)`, as uint8, other whole numbers or floats;
    series `(N, C, L)` and `(N, L)`. How the axes are told apart: `layouts.recognise_layout`. How values are stored:
    `layouts.read_inputs`. Shape, kind (`targets.recognise_kind`) and number of outputs are inferred. Each channel is
    normalised with its mean and standard deviation in the train split.

    - classification: labels `(N,)` or `(N, 1)`, whole numbers from 0; accuracy.
    - multilabel: `(N, K)` of 0 and 1; binary cross-entropy and mean average precision.
    - dense, floats `(N, *positions)` or with channels: mean squared error of values that are standardised by channel,
      relative L2 and mean absolute error in the units of the targets.
    - dense, whole numbers `(N, *positions)`: a class at every position; pixel accuracy and mean IoU.

    Args:
        x_train, x_test, x_val: inputs; all of one sample shape.
        class_names: one for each class, in the order of the labels; fixes the number of classes.
        validation_fraction: of the train samples, held out with each class in proportion; unused with `x_val`.
        seed: of that split.
        augment: "auto", "crop", "crop+flip" or "none"; see `transforms.standard_augmentation`.
        layout: "auto", "NCHW", "NHWC", "NHW", "NCL" or "NL".
        kind: "auto", "classification", "multilabel" or "dense".
        provenance: what else a reader of results wants to know of the data.

    Raises:
        DataError: the data contradicts itself or the above; the message names the array and the value.
    """
    if (x_val is None) != (y_val is None):
        raise DataError("x_val and y_val belong together: give both or neither.")
    if kind not in ("auto", *KINDS):
        raise DataError(f"unknown kind '{kind}'; allowed: auto, {', '.join(KINDS)}.")
    given = {"x_train": x_train, "x_test": x_test} | ({} if x_val is None else {"x_val": x_val})
    inputs, layout = read_inputs(given, layout)
    shape = tuple(inputs["x_train"].shape[1:])
    found = recognise_kind(y_train, shape) if kind == "auto" else cast(TaskKind, kind)
    if found == "dense" and augment not in ("auto", "none"):
        raise DataError(f"augmentation '{augment}' would move the inputs, but not what is told of their positions.")
    targets = {
        where.replace("x_", "y_"): read_targets(found, values, inputs[where], where.replace("x_", "y_"))
        for where, values in (("x_train", y_train), ("x_test", y_test), ("x_val", y_val))
        if where in inputs
    }
    source = ArraySource(inputs["x_train"], targets["y_train"])
    if "x_val" in inputs:
        source = ArraySource(
            torch.cat([inputs["x_train"], inputs["x_val"]]), torch.cat([targets["y_train"], targets["y_val"]])
        )
        train, validation = torch.arange(len(source)).tensor_split([len(inputs["x_train"])])
        judged = judgement(found, targets, train, class_names)
    else:
        classes = targets["y_train"] if found == "classification" else torch.zeros(len(source), dtype=torch.int64)
        if found == "classification":
            judgement(found, targets, classes, class_names)  # raises before classes are held out that are wrong
        train, validation = stratified_holdout(classes, validation_fraction, generator(seed, "validation", name))
        judged = judgement(found, targets, train, class_names)
    statistics = statistics_of_array(source.inputs, train)
    facts = {"source": "arrays", "layout": layout, "split_seed": None if "x_val" in inputs else seed}
    return Task(
        spec=TaskSpec(name=name, kind=found, input_shape=shape, outputs=judged.outputs),
        train=Split(source, train),
        validation=Split(source, validation),
        test=Split(ArraySource(inputs["x_test"], targets["y_test"]), torch.arange(len(inputs["x_test"]))),
        loss=judged.loss,
        metric=judged.metric,
        extra_metrics=judged.extra_metrics,
        to_float=uint8_to_float,
        normalize=normalizer(statistics.mean, statistics.std),
        augmentations=() if found == "dense" else standard_augmentation(augment, shape),
        class_names=tuple(class_names),
        provenance={**facts, **(provenance or {})},
    )


def task_from_datasets(
    train: Any,
    test: Any,
    *,
    validation: Any = None,
    name: str = "dataset",
    class_names: Sequence[str] = (),
    image_column: str | None = None,
    label_column: str | None = None,
    **options: Any,
) -> Task:
    """A classification task from map-style datasets: torch's, which yield `(input, label)`, or Hugging Face's.

    Every sample is read once, into memory (4 GiB at most; larger data belongs into an image folder). Give datasets
    that do not augment: the task augments anew in every epoch.

    Args:
        train, test, validation: with `__len__` and `__getitem__`; inputs are arrays, tensors or Pillow images of one
            shape. A sample that is a mapping is read by its columns.
        class_names: default: what the train dataset says of itself (`classes`, or the feature of its label column).
        image_column, label_column: of mappings; default: the usual names.
        options: as for `task_from_arrays`.

    Raises:
        DataError: as `task_from_arrays`; samples of different shapes; unknown columns; too large for memory.
    """
    read = {
        part: read_dataset(dataset, part, image_column, label_column)
        for part, dataset in (("train", train), ("test", test), ("validation", validation))
        if dataset is not None
    }
    if validation is not None:
        options |= {"x_val": read["validation"].inputs, "y_val": read["validation"].labels}
    if len({data.layout for data in read.values()}) == 1:
        options = {"layout": read["train"].layout, **options}
    options["provenance"] = {"source": type(train).__module__ + "." + type(train).__qualname__} | dict(
        options.get("provenance") or {}
    )
    return task_from_arrays(
        read["train"].inputs,
        read["train"].labels,
        read["test"].inputs,
        read["test"].labels,
        name=name,
        class_names=class_names or read["train"].class_names,
        **options,
    )


Task.from_arrays = staticmethod(task_from_arrays)
Task.from_datasets = staticmethod(task_from_datasets)


@register_reader(
    "npz",
    "an .npz file with x_train, y_train, x_test and y_test",
    lambda path: path.suffix == ".npz" and path.is_file(),
)
def npz_task(path: Path, **options: Any) -> Task:
    """A task from an `.npz` file.

    The file holds `x_train`, `y_train`, `x_test`, `y_test`; where it has them, `x_val` with `y_val`, `class_names`
    (text, one for each class), `layout` and `kind` (text, as in `task_from_arrays`) are used too. Python objects in the
    file are refused.

    Args:
        options: as for `task_from_arrays`.

    Raises:
        DataError: the file is missing, truncated, no `.npz`, lacks keys, or its arrays are wrong.
    """
    arrays = _read_npz(path)
    missing = [key for key in REQUIRED_KEYS if key not in arrays]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(arrays)) or 'nothing'}. An .npz task needs "
            f"{', '.join(REQUIRED_KEYS)}; x_val, y_val, class_names, layout and kind may be there."
        )
    if "class_names" in arrays:
        options.setdefault("class_names", [str(value) for value in np.atleast_1d(arrays["class_names"])])
    if "layout" in arrays:
        options.setdefault("layout", str(arrays["layout"]))
    if "kind" in arrays:
        options.setdefault("kind", str(arrays["kind"]))
    options.setdefault("name", path.stem)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    options["provenance"] = {"source": path.name, "sha256": digest} | dict(options.get("provenance") or {})
    try:
        return task_from_arrays(
            *(arrays[key] for key in REQUIRED_KEYS), x_val=arrays.get("x_val"), y_val=arrays.get("y_val"), **options
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    key = ""
    try:
        with path.open("rb") as stream:  # opened here: numpy leaves a damaged file open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array, not an .npz archive; write it with numpy.savez.")
            for key in file.files:
                if key in REQUIRED_KEYS + OPTIONAL_KEYS:
                    arrays[key] = file[key]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (ValueError, OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        where = f"{path}, array {key}" if key else str(path)
        if "pickle" in str(error).lower():
            raise DataError(
                f"{where}: holds Python objects, which are refused because loading them can run code. Save plain "
                "number arrays (dtype not object)."
            ) from None
        if isinstance(error, MemoryError):
            raise DataError(f"{where}: does not fit into memory.") from None
        raise DataError(f"{where}: truncated or no .npz file ({error}). Write it again with numpy.savez.") from None
    return arrays
