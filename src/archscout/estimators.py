"""Estimators with scikit-learn's contract: fit on arrays, predict, score; in pipelines and grid searches.

An estimator searches a network for the data, trains it, and keeps it as the content of a `model.safetensors`; pickles
hold these bytes and no modules. See docs/estimators.md.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    check_random_state,
    column_or_1d,
    validate_data,
)

from archscout.atomic import write_atomic
from archscout.errors import DataError, SettingsError
from archscout.pipeline.fitting import Fitted, FitWarning, HowToFit, fit_arrays
from archscout.pipeline.predictor import Predictor, load
from archscout.spaces import Architecture, architecture_from_json
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.metrics.dense import mean_intersection
from archscout.tasks.options import TaskOptions, options_with
from archscout.tasks.spec import TaskKind

__all__ = ["Classifier", "FitWarning", "InputError", "MultilabelClassifier", "Regressor", "Segmenter"]

Array = np.ndarray[Any, Any]
SUFFIX = ".safetensors"
LARGEST_JUMP, MEAN_JUMP = 100.0, 3.0  # of the deviation, from one column to the next; beyond, X is a table


class InputError(DataError, ValueError):
    """Data that an estimator cannot take: a ValueError too, as programs around scikit-learn expect."""


@contextmanager
def _as_value_errors() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except DataError as error:
        raise InputError(str(error)) from None


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the estimators share.

    Args:
        method, space, recipe: as for `archscout.run`. None: EDNAS over cells for classes of images, DASH over backbones
            for all else, each with a recipe of a minute or two for some thousand small samples.
        overrides: further settings, as `["train.epochs=5"]` or `{"train.epochs": 5}`.
        metric: what decides in the search; None: that of the kind of task. `score` is not changed by it.
        layout: axes of `X`, where its shape does not tell: NCHW, NHWC, NHW, NCL, NLC, NL.
        task_options: more of how the data is read, as `{"augment": "none", "class_weights": "balanced"}`: fields of
            `archscout.tasks.options.TaskOptions`.
        validation_fraction: of the samples, held out in the search. The final training learns from all samples.
        seed: of everything that is drawn; the same seed gives the same network on a CPU.
        random_state: scikit-learn's name for it; where it is given, it counts.
        device: "auto" takes a GPU if there is one.
        out: the run directory, kept, with logs and checkpoints; an interrupted fit of the same settings and data goes
            on. None: a temporary one, which is removed.
        verbose: 0 shows nothing, 1 a progress bar.

    Attributes:
        n_features_in_: columns of a table, or values of a sample; not of series of unequal length.
        feature_names_in_: of a frame whose columns have names.
        architecture_: what was found.
        predictor_: the network with all that is needed to use it.
        validation_: metrics on `x_val`; empty where none was given.
    """

    _kind: ClassVar[TaskKind]
    _several: ClassVar[bool] = False  # targets may have several columns

    def __init__(
        self,
        *,
        method: str | None = None,
        space: str | None = None,
        recipe: str | None = None,
        overrides: Sequence[str] | Mapping[str, Any] = (),
        metric: str | None = None,
        layout: str = "auto",
        task_options: Mapping[str, Any] | None = None,
        validation_fraction: float = 1 / 6,
        seed: int = 0,
        random_state: Any = None,
        device: str = "auto",
        out: str | Path | None = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.space = space
        self.recipe = recipe
        self.overrides = overrides
        self.metric = metric
        self.layout = layout
        self.task_options = task_options
        self.validation_fraction = validation_fraction
        self.seed = seed
        self.random_state = random_state
        self.device = device
        self.out = out
        self.verbose = verbose

    # -- learning ------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, *, groups: Any = None, x_val: Any = None, y_val: Any = None) -> Self:  # noqa: N803
        """Search a network for the samples, and train it.

        Args:
            X: images `(N, H, W)`, `(N, H, W, C)`, `(N, C, H, W)`, series `(N, C, L)` or `(N, L)`, also lists of
                series of unequal length, or a table `(N, features)`, which is read as series.
            y: what to learn, one for each sample.
            groups: of each sample; those of one group are never on both sides of the validation.
            x_val, y_val: validation samples of your own, which are never learnt from.

        Raises:
            InputError: the data is wrong; other ValueErrors are scikit-learn's.
            SettingsError: a parameter is.
        """
        options = self._options()
        with _as_value_errors():
            x, targets = self._read(X, y)
            numbers, names = self._encode_first(targets, options)
            data = {"x_train": x, "y_train": numbers, "class_names": names}
            if (x_val is None) != (y_val is None):
                raise InputError("x_val and y_val belong together: give both or neither.")
            if x_val is not None:
                data["x_val"] = self._read_new(x_val)
                data["y_val"] = self._encode(_column(np.asarray(y_val)), options)
                check_consistent_length(data["x_val"], data["y_val"])
            if groups is not None:
                check_consistent_length(x, groups)
                data["groups"] = np.asarray(groups)
            fitted = fit_arrays(data, options.model_copy(update={"ignore": None}), self._how())
        self._keep(fitted)
        return self

    def _how(self) -> HowToFit:
        texts = self.overrides
        if isinstance(texts, Mapping):
            texts = [f"{key}={json.dumps(value)}" for key, value in texts.items()]
        elif isinstance(texts, str):
            raise SettingsError(f"overrides is the text '{texts}'; give a list of texts, or a dictionary.")
        return HowToFit(
            self.method, self.space, self.recipe, texts, self._number(), self.device, self.out, int(self.verbose)
        )

    def _number(self) -> int:
        """The seed."""
        if self.random_state is None:
            return int(self.seed)
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _options(self) -> TaskOptions:
        named = dict(self.task_options or {})
        own = {
            "kind": self._kind,
            "layout": self.layout,
            "validation_fraction": self.validation_fraction,
            "seed": self._number() if isinstance(self.random_state, int | np.integer | None) else int(self.seed),
            **({} if self.metric is None else {"metric": self.metric}),
        }
        both = sorted(set(named) & {*own, "test_fraction", "folds", "fold"})
        if both:
            raise SettingsError(
                f"task_options has {', '.join(both)}, which {type(self).__name__} decides by itself or has a parameter "
                "for; leave it out."
            )
        return options_with(None, {**named, **own})

    def _keep(self, fitted: Fitted) -> None:
        self._model, self._architecture = fitted.model, fitted.architecture
        self.validation_ = dict(fitted.validation)
        self._predictor = _predictor_of(self._model, self.device)

    # -- reading -------------------------------------------------------------------------------------------------

    def _read(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Checked samples and targets; sets what is known of the samples."""
        x = _as_array(x)
        if _is_table(x):
            targets = {"multi_output": True} if self._several else {}
            if y is not None:
                y = self._plain_targets(y)
            x, y = validate_data(self, x, y, **targets, y_numeric=self._kind == "regression")
            _warn_of_scales(x)
        else:
            if y is None:
                raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
            y = self._plain_targets(y)
            for known in ("n_features_in_", "feature_names_in_"):
                if hasattr(self, known):
                    delattr(self, known)
            if not isinstance(x, list):
                x = check_array(x, allow_nd=True)
                self.n_features_in_ = int(np.prod(x.shape[1:]))
            check_consistent_length(x, y)
        self._sample_shape = None if isinstance(x, list) else tuple(x.shape[1:])
        return x, y

    def _plain_targets(self, y: Any) -> Any:
        """Targets as an array, before they are encoded."""
        if isinstance(y, torch.Tensor):
            return y.detach().cpu().numpy()
        if isinstance(y, list | tuple) and len({isinstance(label, str) for label in y}) > 1:
            return np.array(y, object)  # else numpy would make texts of the numbers
        return y

    def _read_new(self, x: Any) -> Any:
        """Samples like those of the fit."""
        x = _as_array(x)
        if self._sample_shape is None:  # of unlike lengths: the network knows which it can take
            return x if isinstance(x, list) else list(x)
        if isinstance(x, list):
            shapes = sorted({np.shape(sample) for sample in x}, key=str)
            raise InputError(
                f"X holds samples of different shapes, for example {shapes[0]} and {shapes[-1]}, but "
                f"{type(self).__name__} was fitted on samples of shape {self._sample_shape}."
            )
        wanted = len(self._sample_shape)
        if wanted > 1 and np.ndim(x) == wanted:
            raise InputError(
                f"X has the shape {np.shape(x)}, which is that of one sample; {type(self).__name__} takes many, (N, "
                f"{', '.join(map(str, self._sample_shape))}): X[None] makes them of one."
            )
        x = validate_data(self, x, reset=False) if _is_table(x) else check_array(x, allow_nd=True)
        if tuple(x.shape[1:]) != self._sample_shape:
            raise InputError(
                f"X has samples of shape {tuple(x.shape[1:])}, but {type(self).__name__} was fitted on samples of "
                f"shape {self._sample_shape}."
            )
        return x

    def _encode_first(self, y: Any, options: TaskOptions) -> tuple[Any, Sequence[str]]:
        """The targets of the fit as numbers, and the names of the classes; sets `classes_` where there are some."""
        raise NotImplementedError

    def _encode(self, y: Any, options: TaskOptions) -> Any:
        """Further targets, encoded alike."""
        raise NotImplementedError

    # -- what was learnt -----------------------------------------------------------------------------------------

    @property
    def predictor_(self) -> Predictor:
        """The network with all that is needed to use it."""
        check_is_fitted(self)
        if "_predictor" not in vars(self):
            self._predictor = _predictor_of(self._model, self.device)
        return self._predictor

    @property
    def architecture_(self) -> Architecture:
        """What was found."""
        check_is_fitted(self)
        return architecture_from_json(self._architecture)

    def save(self, path: Path | str) -> Path:
        """Write the network as one file, which `archscout.load` and the command line read; return its path.

        Args:
            path: its name; without an ending, `.safetensors` is added.

        Raises:
            DataError: another ending, or the file cannot be written.
        """
        check_is_fitted(self)
        file = Path(path)
        if file.suffix not in ("", SUFFIX):
            raise DataError(
                f"{file} ends in {file.suffix}, but models are saved as safetensors: {file.with_suffix(SUFFIX)}"
            )
        file = file.with_name(file.name if file.suffix else file.name + SUFFIX)
        try:
            write_atomic(file, self._model)
        except OSError as error:
            raise DataError(f"{file} cannot be written ({error.strerror}). Name another place.") from None
        return file

    def _outputs(self, x: Any) -> Array:
        """What the network gives for samples: probabilities or values."""
        check_is_fitted(self)
        with _as_value_errors():
            return np.concatenate(list(self.predictor_.outputs(self._read_new(x))))

    def __sklearn_is_fitted__(self) -> bool:
        return "_model" in vars(self)

    def __getstate__(self) -> dict[str, Any]:
        # The network travels as the bytes of its file, never as a pickled module.
        return {name: value for name, value in super().__getstate__().items() if name != "_predictor"}


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """One class for each sample.

    `y` is `(N,)`: numbers or texts, in any order and with gaps. `score` is the accuracy. For the parameters see
    docs/estimators.md.

    Attributes:
        classes_: the labels, sorted; the columns of `predict_proba`.
    """

    _kind = "classification"
    classes_: Array

    def _encode_first(self, y: Any, options: TaskOptions) -> tuple[Array, Sequence[str]]:
        with _mixed_labels():
            y = column_or_1d(y, warn=True)
            check_classification_targets(y)
            self.classes_, numbers = np.unique(y, return_inverse=True)
        return numbers, _names(self.classes_)

    def _encode(self, y: Any, options: TaskOptions) -> Array:
        return _numbers_of(column_or_1d(y, warn=True), self.classes_, "y_val")

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """The probability of each class, `(N, classes)`."""
        return self._outputs(X)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The label of each sample, `(N,)`."""
        found = self.predict_proba(X)
        best: Array = self.classes_[found.argmax(1)]
        return best


class MultilabelClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Any number of labels for each sample.

    `y` is `(N, labels)` of 0 and 1, or a list with the labels of each sample. `score` is scikit-learn's: the share of
    the samples whose labels are all right. For the parameters see docs/estimators.md.

    Attributes:
        classes_: the labels; the columns of `predict` and `predict_proba`.
    """

    _kind = "multilabel"
    _several = True
    classes_: Array

    def _plain_targets(self, y: Any) -> Any:
        y = super()._plain_targets(y)
        self._binarizer: MultiLabelBinarizer | None = None
        self._columns = getattr(y, "columns", None)
        if _are_label_sets(y):
            self._binarizer = MultiLabelBinarizer()
            with _mixed_labels():
                return self._binarizer.fit_transform(y)
        return y

    def _encode_first(self, y: Any, options: TaskOptions) -> tuple[Array, Sequence[str]]:
        numbers = self._encode(y, options)
        if self._binarizer is not None:
            self.classes_ = self._binarizer.classes_
        else:
            columns, self._columns = self._columns, None
            self.classes_ = np.arange(numbers.shape[1]) if columns is None else np.asarray(columns)
        return numbers, _names(self.classes_)

    def _encode(self, y: Any, options: TaskOptions) -> Array:
        if self._binarizer is not None and _are_label_sets(y):
            unknown = {label for row in y for label in row} - set(self._binarizer.classes_)
            if unknown:
                raise InputError(
                    f"y has the label {str(next(iter(unknown)))!r}, which the samples of the fit do not have."
                )
            y = self._binarizer.transform(y)
        array = np.asarray(y)
        if array.ndim != 2 or array.shape[1] < 2 or not np.isin(array, (0, 1)).all():
            raise InputError(
                f"y has the shape {array.shape}; several labels at once are (N, labels) of 0 and 1, with two labels or "
                "more, or a list with the labels of each sample. For one class for each sample take Classifier."
            )
        return array.astype(np.uint8)

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """The probability of each label, `(N, labels)`."""
        return self._outputs(X)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """1 where a label is there, `(N, labels)`."""
        found = self.predict_proba(X)
        limits = np.array(self.predictor_.card.thresholds or (0.5,) * found.shape[1])
        return (found >= limits).astype(np.int64)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """The share of the samples whose labels are all right."""
        with _as_value_errors():
            true = self._encode(super()._plain_targets(y), self._options())
        return float(accuracy_score(true, self.predict(X), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A number for each sample, or several.

    `y` is `(N,)` or `(N, numbers)`, in any units. `score` is the coefficient of determination. For the parameters see
    docs/estimators.md.
    """

    _kind = "regression"
    _several = True

    def _encode_first(self, y: Any, options: TaskOptions) -> tuple[Array, Sequence[str]]:
        numbers = self._encode(y, options)
        self._target_shape = numbers.shape[1:]
        return numbers, ()

    def _encode(self, y: Any, options: TaskOptions) -> Array:
        numbers: Array = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        return numbers

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The numbers of each sample, in the units and the shape of `y`."""
        found = self._outputs(X)
        return found.reshape(len(found), *self._target_shape).astype(np.float64)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class Segmenter(_Estimator):
    """A class at every position of an image or a series.

    `y` is `(N, *positions)` of whole numbers, in any order and with gaps; those that say nothing are named with
    `task_options={"ignore": 255}`. `score` is the mean intersection over union of the classes. For the parameters see
    docs/estimators.md.

    Attributes:
        classes_: the values of `y`, sorted; the second axis of `predict_proba`.
    """

    _kind = "dense"
    _several = True
    classes_: Array

    def _read(self, x: Any, y: Any) -> tuple[Any, Any]:
        x, y = _as_array(x), None if y is None else np.asarray(self._plain_targets(y))
        if y is None or y.ndim < 2 or y.dtype.kind not in "bui" or y.shape[1:] not in _positions(x):
            told = "None" if y is None else f"{y.dtype} of shape {y.shape}"
            raise InputError(
                f"y is {told}; a Segmenter needs a whole number at every position of X, which has the shape {x.shape}."
            )
        if x.ndim == 2:
            x = validate_data(self, x)
            self._sample_shape = tuple(x.shape[1:])
            check_consistent_length(x, y)
            return x, y
        return super()._read(x, y)

    def _encode_first(self, y: Any, options: TaskOptions) -> tuple[Array, Sequence[str]]:
        known = y if options.ignore is None else y[y != options.ignore]
        self.classes_ = np.unique(known)
        if len(self.classes_) < 2:
            raise InputError(f"y holds the classes {self.classes_.tolist()}; a Segmenter needs two or more.")
        return self._encode(y, options), _names(self.classes_)

    def _encode(self, y: Any, options: TaskOptions) -> Array:
        y = np.asarray(y)
        left_out = np.zeros(y.shape, bool) if options.ignore is None else y == options.ignore
        numbers = np.full(y.shape, IGNORED, np.int64)
        numbers[~left_out] = _numbers_of(y[~left_out], self.classes_, "y")
        return numbers

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """The probability of each class at every position, `(N, classes, *positions)`."""
        return self._outputs(X)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The class at every position, `(N, *positions)`."""
        found = self.predict_proba(X)
        best: Array = self.classes_[found.argmax(1)]
        return best

    def score(self, X: Any, y: Any) -> float:  # noqa: N803
        """Mean intersection over union of the classes that occur, over all positions together."""
        found = self.predict_proba(X).argmax(1)
        with _as_value_errors():
            true = self._encode(self._plain_targets(y), self._options())
            if true.shape != found.shape:
                raise InputError(f"y has the shape {true.shape}, the predictions have {found.shape}.")
        metric = mean_intersection(len(self.classes_)).create()
        metric.update(torch.from_numpy(found), torch.from_numpy(true))
        return float(metric.compute())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


def _predictor_of(model: bytes, device: str) -> Predictor:
    """The predictor of the content of a model file."""
    with tempfile.TemporaryDirectory(prefix="archscout-") as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(model)
        return load(file, device=device)


def _as_array(x: Any) -> Any:
    """Samples as an array, or as a list where their shapes differ; frames and sparse matrices stay as they are."""
    if isinstance(x, torch.Tensor):
        return x.detach().cpu().numpy()
    if isinstance(x, np.ndarray) or sparse.issparse(x) or hasattr(x, "columns"):
        return x
    try:
        return np.asarray(x)
    except ValueError:
        return [np.asarray(sample) for sample in x]


def _is_table(x: Any) -> bool:
    """Whether scikit-learn's checks of tables are meant: also of what has too few axes, which they refuse."""
    return not isinstance(x, list) and (not isinstance(x, np.ndarray) or x.ndim <= 2)


def _warn_of_scales(x: Array) -> None:
    """Warn where columns differ in scale as features of tables do, and steps of series do not.

    Inputs are normalised as series, with one mean and deviation: features of small values would not be seen.
    """
    deviations = x.std(0, dtype=np.float64)
    known = deviations[deviations > 0]
    jumps = np.abs(np.diff(np.log(known)))
    if len(jumps) and (jumps.max() > np.log(LARGEST_JUMP) or jumps.mean() > np.log(MEAN_JUMP)):
        warnings.warn(
            f"the columns of X differ in scale by a factor of {known.max() / known.min():,.0f}. If they are features "
            "of a table, bring them to one scale first: make_pipeline(StandardScaler(), ...).",
            FitWarning,
            stacklevel=4,
        )


def _positions(x: Any) -> set[tuple[int, ...]]:
    """What may be the positions of samples, without an axis of channels."""
    shape = tuple(np.shape(x)[1:])
    return {shape, shape[1:], shape[:-1]} if len(shape) > 1 else {shape}


def _column(y: Array) -> Array:
    """Targets `(N, 1)` as `(N,)`."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


@contextmanager
def _mixed_labels() -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        raise InputError(f"the labels are of different types, which have no order ({error}); give one type.") from None


def _numbers_of(y: Array, classes: Array, where: str) -> Array:
    """The places of labels among the classes. Raises InputError for others."""
    known = np.isin(y, classes)
    if not known.all():
        raise InputError(f"{where} has the label {str(y[~known][0])!r}, which the samples of the fit do not have.")
    return np.searchsorted(classes, y)


def _names(classes: Array) -> list[str]:
    """Names of classes; none where they are 0, 1, 2, ... anyway."""
    plain = classes.dtype.kind in "iu" and bool((classes == np.arange(len(classes))).all())
    return [] if plain else [str(each) for each in classes.tolist()]


def _are_label_sets(y: Any) -> bool:
    """Whether the targets are lists of labels, not rows of 0 and 1."""
    if isinstance(y, np.ndarray) and y.dtype != object:
        return False
    if hasattr(y, "columns") or not all(isinstance(row, list | tuple | set | frozenset) for row in y):
        return False
    rows = [list(row) for row in y]
    return len({len(row) for row in rows}) > 1 or not all(label in (0, 1) for row in rows for label in row)
