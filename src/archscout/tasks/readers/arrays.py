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
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions, options_with
from archscout.tasks.readers.datasets import read_dataset
from archscout.tasks.readers.layouts import read_inputs
from archscout.tasks.registry import register_reader
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.sources import ArraySource
from archscout.tasks.statistics import statistics_of_array
from archscout.tasks.targets import read_targets, recognise_kind
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import standard_augmentation

if TYPE_CHECKING:
    ArrayLike = np.ndarray[Any, Any] | Tensor

__all__ = ["npz_task", "task_from_arrays", "task_from_datasets"]

REQUIRED_KEYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL_KEYS = ("x_val", "y_val", "class_names", "layout", "kind")
INPUT_NAMES = {"train": "x_train", "test": "x_test", "validation": "x_val"}
ARRAY_OPTIONS = HOLD_OUT | {"kind", "layout", "augment"}


def task_from_arrays(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    x_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
    name: str = "arrays",
    class_names: Sequence[str] = (),
    groups: Sequence[Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    options: TaskOptions | None = None,
    **named: Any,
) -> Task:
    """A task from numpy arrays or tensors: classes, several labels at once, numbers, or a value at every position.

    Supported inputs: images `(N, H, W, C)`, `(N, C, H, W)` and `(N, H, W)`, as uint8, other whole numbers or floats;
    series `(N, C, L)` and `(N, L)`. How the axes are told apart: `layouts.recognise_layout`. How values are stored:
    `layouts.read_inputs`. Shape, kind (`targets.recognise_kind`) and number of outputs are inferred. Each channel is
    normalised with its mean and standard deviation in the train split. Splits that are not given are held out.

    - classification: labels `(N,)` or `(N, 1)`, whole numbers from 0; accuracy.
    - multilabel: `(N, K)` of 0 and 1; binary cross-entropy and mean average precision.
    - regression: numbers `(N,)` or `(N, K)`; mean squared error of values that are standardised over the train split,
      mean absolute error in the units of the targets.
    - dense, floats `(N, *positions)` or with channels: mean squared error of values that are standardised by channel,
      relative L2 and mean absolute error in the units of the targets.
    - dense, whole numbers `(N, *positions)`: a class at every position; pixel accuracy and mean IoU.

    Args:
        x_train, x_test, x_val: inputs; all of one sample shape.
        class_names: one for each class, in the order of the labels; fixes the number of classes.
        groups: of the train samples; those of one group stay in one split.
        provenance: what else a reader of results wants to know of the data.
        options: see `TaskOptions`.
        named: fields of `TaskOptions`, which win over `options`: layout, kind, augment, metric, ...

    Raises:
        DataError: the data contradicts itself or the above; the message names the array and the value.
        SettingsError: an option that does not exist, or is not for arrays.
    """
    options = options_with(options, named)
    options.check_heeded(ARRAY_OPTIONS, "an array")
    for first, second, what in ((x_val, y_val, "val"), (x_test, y_test, "test")):
        if (first is None) != (second is None):
            raise DataError(f"x_{what} and y_{what} belong together: give both or neither.")
    given = {"train": (x_train, y_train), "test": (x_test, y_test), "validation": (x_val, y_val)}
    given = {part: pair for part, pair in given.items() if pair[0] is not None}
    inputs, layout = read_inputs({INPUT_NAMES[part]: pair[0] for part, pair in given.items()}, options.layout)
    shape = tuple(inputs["x_train"].shape[1:])
    kind = recognise_kind(y_train, shape) if options.kind == "auto" else options.kind
    if kind == "dense" and options.augment not in ("auto", "none"):
        raise DataError(
            f"augmentation '{options.augment}' would move the inputs, but not what is told of their positions."
        )
    targets = {
        part: read_targets(kind, pair[1], inputs[INPUT_NAMES[part]], INPUT_NAMES[part].replace("x_", "y_"))
        for part, pair in given.items()
    }
    if groups is not None and len(groups) != len(targets["train"]):
        raise DataError(f"there are {len(groups)} groups for {len(targets['train'])} train samples; give one for each.")
    samples = Samples(
        name=name,
        kind=kind,
        input_shape=shape,
        parts=_parts(inputs, targets),
        statistics=lambda split: statistics_of_array(cast(ArraySource, split.source).inputs, split.indices),
        class_names=tuple(class_names),
        groups=None if groups is None else {"train": [str(group) for group in groups]},
        augmentations=() if kind == "dense" else standard_augmentation(options.augment, shape, kind),
        provenance={"source": "arrays", "layout": layout, **(provenance or {})},
    )
    return task_of_samples(samples, options)


def _parts(inputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Split]:
    """The given splits; train and validation share a source, so that both together are one."""
    together = [part for part in ("train", "validation") if part in targets]
    source = ArraySource(
        torch.cat([inputs[INPUT_NAMES[part]] for part in together]), torch.cat([targets[part] for part in together])
    )
    places = torch.arange(len(source)).tensor_split([len(targets["train"])])
    parts = {part: Split(source, place) for part, place in zip(together, places, strict=False)}
    if "test" in targets:
        parts["test"] = Split(ArraySource(inputs["x_test"], targets["test"]), torch.arange(len(targets["test"])))
    return parts


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
    heeds=ARRAY_OPTIONS,
)
def npz_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A task from an `.npz` file.

    The file holds `x_train`, `y_train`, `x_test`, `y_test`; where it has them, `x_val` with `y_val`, `class_names`
    (text, one for each class), `layout` and `kind` (text, as in `task_from_arrays`) are used too. Python objects in the
    file are refused.

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
    for key in ("layout", "kind"):
        if key in arrays and key not in options.given():
            options = options_with(options, {key: str(arrays[key])})
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return task_from_arrays(
            *(arrays[key] for key in REQUIRED_KEYS),
            x_val=arrays.get("x_val"),
            y_val=arrays.get("y_val"),
            name=path.stem,
            class_names=[str(value) for value in np.atleast_1d(arrays.get("class_names", np.array([], str)))],
            provenance={"source": path.name, "sha256": digest},
            options=options,
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
