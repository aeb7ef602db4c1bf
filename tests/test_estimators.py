"""Estimators: scikit-learn's own checks, any labels and layouts, files and pickles, and what goes wrong."""

from __future__ import annotations

import pickle
import pickletools
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import archscout
from archscout.errors import ArchscoutError, DataError, RunError, SettingsError, StoppedError
from archscout.estimators import Classifier, FitWarning, InputError, MultilabelClassifier, Regressor, Segmenter
from archscout.pipeline import fitting

Array = np.ndarray[Any, Any]
TINY = {
    "search.epochs": 1,
    "search.kernel_sizes": [3],
    "search.dilations": [1],
    "supernet.channels": 4,
    "network.channels": 8,
    "train.epochs": 2,
}
CHECKED = {**TINY, "train.epochs": 10, "train.batch_size": 16, "train.optimizer.lr": 0.05}
WORDS = np.array(["nought", "one", "a<b", "three", "four", "five", "six", "seven", "zéro, huit", "nine"])


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Images of 8 x 8 and their classes."""
    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8), labels


def tiny(kind: type[Any] = Classifier, **options: Any) -> Any:
    return kind(**{"method": "dash", "overrides": TINY, **options})


# Most tests learn from very few samples.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*have fewer than 10 training samples:archscout.estimators.FitWarning"),
    pytest.mark.filterwarnings("ignore:.*ha(s|ve) no validation sample:archscout.estimators.FitWarning"),
]

# -- the contract ------------------------------------------------------------------------------------------------

# No check is expected to fail: the dictionary of exceptions is empty.
EXPECTED_FAILURES: dict[str, str] = {}


@parametrize_with_checks(  # type: ignore[untyped-decorator]  # scikit-learn has no types
    [tiny(Classifier, overrides=CHECKED), tiny(Regressor, overrides=CHECKED)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
@pytest.mark.filterwarnings("ignore::archscout.estimators.FitWarning")
def test_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


def test_parameters_are_read_changed_and_cloned() -> None:
    estimator = Segmenter(seed=3, overrides=["train.epochs=1"])
    assert estimator.get_params()["seed"] == 3
    copy = clone(estimator.set_params(seed=4, layout="NHW"))
    assert (copy.seed, copy.layout, copy.overrides) == (4, "NHW", ["train.epochs=1"])
    assert repr(copy) == "Segmenter(layout='NHW', overrides=['train.epochs=1'], seed=4)"
    assert "Segmenter" in copy._repr_html_()


@pytest.mark.filterwarnings("ignore::archscout.estimators.FitWarning")
def test_pipelines_and_searches_over_settings() -> None:
    table, labels = load_wine(return_X_y=True)
    line = make_pipeline(StandardScaler(), tiny())
    assert cross_val_score(line, table, labels, cv=2).shape == (2,)
    assert cross_val_score(line, table, labels, cv=GroupKFold(2), groups=np.arange(len(table)) % 4).shape == (2,)
    search = GridSearchCV(line, {"classifier__overrides": [TINY, {**TINY, "train.epochs": 12}]}, cv=2)
    search.fit(table, labels)
    assert search.best_params_["classifier__overrides"]["train.epochs"] == 12
    assert search.score(table, labels) > 0.6


# -- data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [WORDS, np.arange(10) * 7 - 3, np.arange(10)[::-1].astype(np.float32), WORDS.astype(object)],
    ids=["texts", "numbers-with-gaps", "floats", "objects"],
)
def test_predictions_are_the_labels_that_were_given(digits: tuple[Array, Array], labels: Array) -> None:
    images, numbers = digits
    estimator = tiny(overrides={**TINY, "train.epochs": 4}).fit(images[:500], labels[numbers[:500]])
    assert estimator.classes_.tolist() == sorted(labels.tolist())
    found = estimator.predict(images[500:])
    assert found.dtype == labels.dtype
    assert estimator.score(images[500:], labels[numbers[500:]]) == accuracy_score(labels[numbers[500:]], found) > 0.5
    chances = estimator.predict_proba(images[500:])
    assert (estimator.classes_[chances.argmax(1)] == found).all()
    assert np.allclose(chances.sum(1), 1, atol=1e-5)


def test_classes_and_pixels_follow_the_samples_not_their_container(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    pixels = images.astype(np.uint8)
    estimator = tiny(overrides={**TINY, "train.epochs": 4}).fit(pixels[:300], labels[:300])
    found = estimator.predict(pixels[300:320])
    for same in (
        pixels[300:320].tolist(),
        images[300:320],
        images[300:320].astype(np.int64),
        torch.from_numpy(images[300:320]),
    ):
        assert (estimator.predict(same) == found).all()
    with pytest.raises(InputError, match="this network takes whole numbers from 0 to 255"):
        estimator.predict(images[300:320] / 255)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_images_may_have_their_channels_first_or_last(digits: tuple[Array, Array], layout: str) -> None:
    images, labels = digits
    colours = np.stack([images, images / 2, images[:, ::-1]], axis=-1 if layout == "NHWC" else 1)[:300] / 16
    estimator = tiny().fit(colours, labels[:300])
    assert estimator.n_features_in_ == 192
    assert estimator.predictor_.card.spec.input_shape == (3, 8, 8)
    assert estimator.predictor_.card.preparation.layout == layout
    # Whatever is inside, the predictor takes what was given.
    assert (estimator.predictor_.predict(colours[:9]) == estimator.predict(colours[:9])).all()


def test_images_of_16_bits_are_predicted_as_they_were_learnt(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    fine = (images * 4000).astype(np.uint16)
    estimator = tiny(layout="NHW").fit(fine[:300], labels[:300])
    plain = tiny(layout="NHW").fit((fine[:300] / 65535).astype(np.float64), labels[:300])
    assert np.allclose(estimator.predict_proba(fine[:50]), plain.predict_proba(fine[:50] / 65535), atol=1e-4)


def test_small_images_are_searched_over_cells_and_series_over_backbones(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    few = {"search.epochs": 1, "search.ranking.candidates": 2, "train.epochs": 1}
    assert Classifier(overrides=few).fit(images[:100], labels[:100]).architecture_.space == "cells"
    short = {"search.epochs": 1, "train.epochs": 1}
    series = Classifier(overrides=short).fit(images[:100].reshape(100, 64), labels[:100])
    assert series.predictor_.card.spec.input_shape == (1, 64)
    assert "sequence_resnet" in series.architecture_.describe()


def test_series_of_unequal_length() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(120) % 2
    lengths = [40, *draw.integers(20, 40, 119)]
    series = [
        np.sin(np.arange(length) * (0.3 + label)) + draw.normal(0, 0.1, length)
        for label, length in zip(labels, lengths, strict=True)
    ]
    estimator = tiny(overrides=CHECKED).fit(series, labels)
    assert estimator.score(series, labels) > 0.8
    assert (estimator.predict(series[:1]) == estimator.predict([series[0]])).all()
    with pytest.raises(InputError, match="has 50 steps; the longest series of the training has 40"):
        estimator.predict([np.zeros(50)])


def test_numbers_come_back_in_their_units_and_shape(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    years = 1900.0 + 100 * labels
    estimator = tiny(Regressor, overrides={**TINY, "train.epochs": 6, "train.batch_size": 16})
    found = estimator.fit(images[:400], years[:400]).predict(images[400:])
    assert found.shape == (len(images) - 400,)
    assert 1800 < found.mean() < 2900
    assert estimator.score(images[400:], years[400:]) == r2_score(years[400:], found) > 0.1
    assert estimator.fit(images[:60], years[:60, None]).predict(images[:7]).shape == (7, 1)
    assert estimator.fit(images[:60], np.c_[years, labels][:60]).predict(images[:7]).shape == (7, 2)


def test_several_labels_as_a_table_a_frame_or_lists(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    facts = np.stack([labels % 2, labels > 5, labels == 3], 1).astype(int)
    names = ["odd", "large", "three"]
    lists = [[name for name, there in zip(names, row, strict=True) if there] for row in facts]
    by_table = tiny(MultilabelClassifier).fit(images[:300], facts[:300])
    by_frame = tiny(MultilabelClassifier).fit(images[:300], pd.DataFrame(facts[:300], columns=names))
    by_lists = tiny(MultilabelClassifier).fit(images[:300], lists[:300])
    assert by_table.classes_.tolist() == [0, 1, 2]
    assert by_frame.classes_.tolist() == names
    assert by_lists.classes_.tolist() == sorted(names)
    assert (by_frame.predict_proba(images[:50]) == by_table.predict_proba(images[:50])).all()
    found = by_lists.predict(images[300:600])
    assert set(np.unique(found)) <= {0, 1}
    right = (found == facts[300:600][:, [1, 0, 2]]).all(1).mean()
    assert by_lists.score(images[300:600], lists[300:600]) == pytest.approx(right)
    assert by_lists.predictor_.class_names == tuple(sorted(names))


def test_masks_of_any_values_with_positions_that_say_nothing(digits: tuple[Array, Array]) -> None:
    images, _ = digits
    masks = np.where(images > 12, 40, np.where(images > 6, 7, 2))
    masks[:, 0] = 255
    estimator = tiny(
        Segmenter, task_options={"ignore": 255}, overrides={**TINY, "train.epochs": 6, "train.batch_size": 16}
    )
    estimator.fit(images[:300], masks[:300])
    assert estimator.classes_.tolist() == [2, 7, 40]
    found = estimator.predict(images[300:500])
    assert found.shape == (200, 8, 8)
    assert set(np.unique(found)) <= {2, 7, 40}
    assert estimator.predict_proba(images[:5]).shape == (5, 3, 8, 8)
    true, known = masks[300:500], masks[300:500] != 255
    shares = [
        ((found == value) & (true == value))[known].sum() / ((found == value) | (true == value))[known].sum()
        for value in (2, 7, 40)
    ]
    assert estimator.score(images[300:500], true) == pytest.approx(np.mean(shares), abs=1e-5)


def test_classes_at_the_steps_of_series(digits: tuple[Array, Array]) -> None:
    series = digits[0].reshape(-1, 64)[:200]
    estimator = tiny(Segmenter).fit(series, series > 8)
    assert estimator.predict(series[:3]).shape == (3, 64)
    assert estimator.predict(series[:3]).dtype == bool


# -- what is learnt from -----------------------------------------------------------------------------------------


def test_nothing_is_tested_and_all_samples_are_learnt_from(digits: tuple[Array, Array], tmp_path: Path) -> None:
    images, labels = digits
    tiny(out=tmp_path / "run").fit(images[:200], labels[:200])
    data = pd.read_csv(tmp_path / "run/splits.csv")
    assert data["split"].value_counts().to_dict() == {"train": 167, "validation": 33}
    settings = archscout.load_run(tmp_path / "run").settings
    assert settings.train.split == "development"


def test_given_validation_samples_are_never_learnt_from(digits: tuple[Array, Array], tmp_path: Path) -> None:
    images, labels = digits
    estimator = tiny(out=tmp_path / "run", overrides={**TINY, "train.epochs": 4})
    estimator.fit(images[:400], WORDS[labels[:400]], x_val=images[400:500], y_val=WORDS[labels[400:500]])
    settings = archscout.load_run(tmp_path / "run").settings
    assert (settings.train.split, settings.search.split) == ("train", "train")
    right = estimator.score(images[400:500], WORDS[labels[400:500]])
    assert estimator.validation_["accuracy"] == pytest.approx(right, abs=1e-6)
    assert tiny().fit(images[:100], labels[:100]).validation_ == {}


def test_a_run_without_a_test_split_is_not_evaluated(digits: tuple[Array, Array], tmp_path: Path) -> None:
    task = archscout.Task.from_arrays(digits[0][:100], digits[1][:100], test_fraction=0)
    assert len(task.test) == 0
    assert task.provenance["held_out"] == ["validation"]
    with pytest.raises(DataError, match="arrays has no test split, so nothing can be evaluated"):
        archscout.run(task, method="dash", recipe="dash/small", out=tmp_path / "run")
    assert not (tmp_path / "run/stages.json").exists()


def test_groups_stay_together(digits: tuple[Array, Array], tmp_path: Path) -> None:
    images, labels = digits
    groups = np.arange(200) // 20
    tiny(out=tmp_path / "run").fit(images[:200], labels[:200], groups=groups)
    data = pd.read_csv(tmp_path / "run/splits.csv")
    assert set(data["split"].value_counts()) <= {20, 40, 160, 180}


def test_the_seed_decides_and_random_state_is_its_other_name(digits: tuple[Array, Array]) -> None:
    images, labels = digits

    def chances(**options: Any) -> Array:
        found: Array = tiny(**options).fit(images[:100], labels[:100]).predict_proba(images[:20])
        return found

    assert (chances(seed=5) == chances(random_state=5)).all()
    assert (chances() == chances(seed=0)).all()
    assert (chances(random_state=np.random.RandomState(1)) == chances(random_state=np.random.RandomState(1))).all()
    assert (chances(seed=5) != chances(seed=6)).any()


# -- files -------------------------------------------------------------------------------------------------------


def test_a_saved_model_predicts_the_same_without_the_estimator(
    digits: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits
    monkeypatch.chdir(tmp_path)
    estimator = tiny().fit(images[:200], WORDS[labels[:200]])
    assert estimator.save("model") == Path("model.safetensors")
    predictor = archscout.load("model")
    assert predictor.class_names == tuple(sorted(WORDS))
    assert (predictor.predict(images) == estimator.predict(images)).all()
    other = archscout.load(estimator.save("v1.safetensors"))
    assert (other.predict_proba(images) == estimator.predict_proba(images)).all()
    with pytest.raises(DataError, match=r"model\.pkl ends in \.pkl, but models are saved as safetensors"):
        estimator.save("model.pkl")
    with pytest.raises(DataError, match=r"nowhere/model\.safetensors cannot be written \(No such file"):
        estimator.save("nowhere/model")


def test_pickles_hold_the_bytes_of_the_file_and_no_modules(digits: tuple[Array, Array], tmp_path: Path) -> None:
    images, labels = digits
    estimator = tiny().fit(images[:200], labels[:200])
    content = pickle.dumps(estimator)
    names = {str(value) for code, value, _ in pickletools.genops(content) if code.name.endswith(("GLOBAL", "UNICODE"))}
    assert not [name for name in names if name.startswith(("torch", "archscout.nn", "archscout.pipeline"))]
    assert estimator.save(tmp_path / "model").read_bytes() in content
    copy = pickle.loads(content)
    assert (copy.predict_proba(images[:50]) == estimator.predict_proba(images[:50])).all()
    assert copy.architecture_ == estimator.architecture_


def test_a_kept_run_goes_on_and_other_data_is_refused(digits: tuple[Array, Array], tmp_path: Path) -> None:
    images, labels = digits
    options: dict[str, Any] = {"out": tmp_path / "run", "overrides": {**TINY, "time_limit_minutes": 1e-9}}
    with pytest.raises(StoppedError, match=r"Fit again with out='.*run' and the same data, and it goes on") as caught:
        tiny(**options).fit(images[:100], labels[:100])
    assert "archscout resume" not in str(caught.value)
    whole = tiny().fit(images[:100], labels[:100])
    later = tiny(out=tmp_path / "run").fit(images[:100], labels[:100])
    assert (later.predict_proba(images[:50]) == whole.predict_proba(images[:50])).all()
    with pytest.raises(RunError, match=r"Choose another folder with out=, or remove .*run to fit anew"):
        tiny(out=tmp_path / "run").fit(images[1:101], labels[1:101])
    with pytest.raises(RunError, match=r"seed: 0 then, 1 now.*Choose another folder with out="):
        tiny(out=tmp_path / "run", seed=1).fit(images[:100], labels[:100])


def test_an_interrupt_ends_the_fit_and_leaves_nothing(
    digits: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fitting._Warnings, "started", lambda self, stage, step: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="Nothing was kept; name a folder with out="):
        tiny().fit(digits[0][:100], digits[1][:100])
    assert list(tmp_path.iterdir()) == []


def test_a_fit_is_silent_unless_it_is_asked(digits: tuple[Array, Array], capsys: pytest.CaptureFixture[str]) -> None:
    tiny().fit(digits[0][:100], digits[1][:100])
    assert capsys.readouterr() == ("", "")
    tiny(verbose=1).fit(digits[0][:100], digits[1][:100])
    assert "train: done in" in capsys.readouterr().err


# -- what goes wrong ---------------------------------------------------------------------------------------------


def test_doubtful_data_is_warned_of(digits: tuple[Array, Array]) -> None:
    table, labels = load_wine(return_X_y=True)
    with pytest.warns(FitWarning, match=r"columns of X differ in scale by a factor of 2,530.*StandardScaler"):
        tiny().fit(table, labels)
    images, numbers = digits
    with pytest.warns(FitWarning, match="validation samples are also in the train split"):
        tiny().fit(np.repeat(images[:60], 2, 0), np.repeat(numbers[:60], 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "dsh"}, "unknown method 'dsh'. Did you mean dash"),
        ({"overrides": {"train.epoch": 1}}, "did you mean epochs"),
        ({"overrides": "train.epochs=1"}, "overrides is the text 'train.epochs=1'; give a list"),
        ({"task_options": {"layuot": "NHW"}}, "did you mean layout"),
        ({"task_options": {"kind": "dense"}}, "task_options has kind, which Classifier decides by itself"),
        ({"layout": "NXW"}, "unknown layout 'NXW'"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"device": "tpu"}, "device = 'tpu' cannot be used here"),
        ({"seed": -1}, "seed"),
        ({"overrides": ["task_options.test_fraction=0.5"]}, "nothing is tested when an estimator is fitted"),
    ],
)
def test_wrong_parameters_are_named(digits: tuple[Array, Array], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchscoutError, match=message.replace("(", r"\(")):
        Classifier(**options).fit(digits[0][:50], digits[1][:50])


def test_wrong_samples_are_refused_as_value_errors(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    estimator = tiny().fit(images[:100], labels[:100])
    for wrong, message in (
        (images[:5, :7], r"samples of shape \(7, 8\), but Classifier was fitted on samples of shape \(8, 8\)"),
        (images[0], r"shape \(8, 8\), which is that of one sample; .* X\[None\]"),
        ([images[0], images[1, :5]], r"different shapes, for example \(5, 8\) and \(8, 8\)"),
        (images[:0], "Found array with 0 sample"),
        (np.full((2, 8, 8), np.nan), "contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.predict(wrong)
    with pytest.raises(NotFittedError):
        clone(estimator).predict(images)
    with pytest.raises(NotFittedError):
        clone(estimator).save("model")


def test_wrong_targets_are_refused_as_value_errors(digits: tuple[Array, Array]) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    for estimator, y, message in (
        (tiny(), labels + 0.5, "Unknown label type: continuous"),
        (tiny(), ["a", 1] * 10, "labels are of different types"),
        (tiny(), np.arange(20), "every class has only one sample"),
        (tiny(), labels[:19], "inconsistent numbers of samples"),
        (tiny(), None, "Classifier requires y to be passed, but the target y is None"),
        (tiny(Regressor), np.full(20, np.nan), "contains NaN"),
        (tiny(Regressor), WORDS[labels], "could not convert string to float"),
        (tiny(MultilabelClassifier), labels, "For one class for each sample take Classifier"),
        (tiny(MultilabelClassifier), np.full((20, 3), 2), "are .N, labels. of 0 and 1"),
        (tiny(Segmenter), labels, "a Segmenter needs a whole number at every position of X"),
        (tiny(Segmenter), images / 3, "a Segmenter needs a whole number at every position of X"),
        (tiny(Segmenter), np.zeros((20, 8, 8), int), r"holds the classes \[0\]; a Segmenter needs two or more"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(images, y)


def test_wrong_validation_samples_are_refused(digits: tuple[Array, Array]) -> None:
    images, labels = digits[0][:100], digits[1][:100]
    for given, message in (
        ({"x_val": images}, "x_val and y_val belong together"),
        (
            {"x_val": images, "y_val": labels + 10},
            "y_val has the label '1\\d', which the samples of the fit do not have",
        ),
        ({"x_val": images, "y_val": labels[:5]}, "inconsistent numbers of samples"),
        ({"x_val": images[:, :7], "y_val": labels}, r"samples of shape \(7, 8\)"),
        ({"groups": labels[:5]}, "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny().fit(images, labels, **given)
    with pytest.raises(SettingsError, match="task_options has folds"):
        tiny(task_options={"folds": 5}).fit(images, labels)
