"""All metrics by name: which are for which targets, and how each is made.

Values are pooled over a split. Classes and labels that occur neither in targets nor in predictions are left out of
means over classes, as scikit-learn leaves them out; a value that does not exist, for example the area under a curve
without positives, is what guessing gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.errors import ArchscoutError, SettingsError, closest
from archscout.registry import Registry
from archscout.tasks.metrics.classification import (
    IGNORED,
    Metric,
    accuracy,
    macro_f1,
    mean_of,
    perplexity,
    top_k_accuracy,
)
from archscout.tasks.metrics.dense import mean_absolute_error, mean_intersection, relative_l2
from archscout.tasks.metrics.numbers import r_squared, root_mean_squared_error, squared_error
from archscout.tasks.metrics.problem import FORMS, Problem, TargetForm
from archscout.tasks.metrics.ranking import auroc, mean_average_precision

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["METRICS", "MetricEntry", "allowed_metrics", "find_metric", "register_metric", "share"]

MetricMaker = Callable[[Problem], Metric]


@dataclass(frozen=True)
class MetricEntry:
    """A metric of choice for one form of targets.

    Attributes:
        name: in full.
        form: of the targets that it judges.
        make: the metric for a problem.
        aliases: other names that people type.
        description: one line.
    """

    name: str
    form: TargetForm
    make: MetricMaker
    aliases: tuple[str, ...] = ()
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return (self.name, *self.aliases)


def _check_entry(key: str, entry: MetricEntry) -> None:
    if entry.form not in FORMS:
        raise ArchscoutError(f"the metric '{entry.name}' is for '{entry.form}'; allowed: {', '.join(FORMS)}.")
    if not callable(entry.make):
        raise ArchscoutError(f"the metric '{entry.name}' has no maker: a function (problem) -> Metric.")
    odd = [name for name in entry.names if name != _plain(name)]
    if odd:
        raise ArchscoutError(f"metrics are called with small letters, digits and underscores, not '{odd[0]}'.")


METRICS: Registry[MetricEntry] = Registry("metric", "archscout.tasks")
"""By form and name, as `classes:accuracy`."""
METRICS.check_with(_check_entry)


def register_metric(
    name: str, forms: Iterable[TargetForm], *, aliases: Collection[str] = ()
) -> Callable[[MetricMaker], MetricMaker]:
    """Decorator: make a metric known by name, for `--metric` and `task.with_metric`.

    It decorates a maker `(problem) -> Metric`; its docstring's first line is the description.

    Args:
        forms: of the targets that it judges: classes, labels, numbers, masks, fields, words.
        aliases: other names.
    """

    def add(make: MetricMaker) -> MetricMaker:
        line = (make.__doc__ or "").strip().split("\n")[0]
        for form in forms:
            METRICS.register(f"{form}:{name}")(MetricEntry(name, form, make, tuple(aliases), line))
        return make

    return add


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower().strip()).strip("_")


def allowed_metrics(form: TargetForm) -> list[str]:
    """The names of what judges targets of a form, with their short names."""
    listed = [
        f"{entry.name} ({', '.join(entry.aliases)})" if entry.aliases else entry.name
        for _, entry in METRICS.items()
        if entry.form == form
    ]
    return [*listed, "topK_accuracy with a number for K (topK)"] if form == "classes" else listed


def find_metric(name: str, problem: Problem) -> Metric:
    """The metric of a name or a short name.

    Raises:
        SettingsError: there is none for such targets; the message lists what there is.
    """
    wanted = _plain(name)
    entries = [entry for _, entry in METRICS.items()]
    mine = [entry for entry in entries if entry.form == problem.form]
    for entry in mine:
        if wanted in entry.names:
            return entry.make(problem)
    top = re.fullmatch(r"top_?(\d{1,6})(_accuracy|_acc)?", wanted)
    if top and problem.form == "classes":
        return _top(int(top[1]), problem)
    what = FORMS[problem.form]
    allowed = ", ".join(allowed_metrics(problem.form))
    others = sorted({FORMS[entry.form] for entry in entries if wanted in entry.names})
    if others:
        raise SettingsError(
            f"the metric '{name}' is for {' and '.join(others)}, and this task is {what}. Allowed: {allowed}."
        )
    near = closest(wanted, [one for entry in mine for one in entry.names])
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise SettingsError(f"unknown metric '{name}'.{meant} For {what} there are: {allowed}.")


def _top(k: int, problem: Problem) -> Metric:
    if not 1 <= k < problem.outputs:
        raise SettingsError(
            f"top{k}_accuracy of {problem.outputs} classes says nothing: choose a number from 1 to "
            f"{problem.outputs - 1}."
        )
    return top_k_accuracy(problem.outputs, k)


def _itself(value: float) -> float:
    return value


def share(name: str, create: Callable[[], torchmetrics.Metric], *, percent: bool = False) -> Metric:
    """A metric that is at most 1, and higher is better; it is its own reward."""
    return Metric(name, "max", create, _itself, percent=percent, span=1.0)


def _adapted(name: str, **arguments: Any) -> Callable[[Problem], Callable[[], torchmetrics.Metric]]:
    """Makes the accumulator `name` of torchmetrics for classes or masks."""

    def of(problem: Problem) -> Callable[[], torchmetrics.Metric]:
        def create() -> torchmetrics.Metric:
            from torchmetrics import classification

            from archscout.tasks.metrics.accumulators import Adapted

            kind = getattr(classification, name)
            inner = kind(num_classes=problem.classes, ignore_index=IGNORED, validate_args=False, **arguments)
            return Adapted(inner, _both_classes)

        return create

    return of


def _both_classes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of two classes where there is one, that of class 1; whole numbers as targets."""
    if outputs.shape[1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], 1)
        targets = targets.squeeze(1) if targets.dim() == outputs.dim() else targets
    return outputs, targets.long()


def _counted(
    value: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Callable[[Problem], Callable[[], torchmetrics.Metric]]:
    """Makes the accumulator of a value that follows from counts of each class: right, predicted, actual."""

    def of(problem: Problem) -> Callable[[], torchmetrics.Metric]:
        def create() -> torchmetrics.Metric:
            from archscout.tasks.metrics.accumulators import Adapted, ClassCounts

            return Adapted(ClassCounts(problem.classes, value, IGNORED), _both_classes)

        return create

    return of


def _mean_where(values: Tensor, there: Tensor) -> Tensor:
    """The mean over the classes that are there; 0 where none is."""
    return values[there].mean() if bool(there.any()) else values.new_zeros(())


# -- classes and masks -------------------------------------------------------------------------------------------------


@register_metric("accuracy", ("classes",), aliases=("acc",))
def _accuracy(problem: Problem) -> Metric:
    """Share of the samples whose class is right."""
    return accuracy(problem.outputs)


@register_metric("balanced_accuracy", ("classes", "masks"), aliases=("bacc",))
def _balanced_accuracy(problem: Problem) -> Metric:
    """Share of each class that is found, on the mean over the classes that occur: rare classes count as much."""

    def value(right: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return _mean_where(right / actual.clamp(min=1), actual > 0)

    return share("balanced_accuracy", _counted(value)(problem), percent=True)


@register_metric("macro_f1", ("classes",), aliases=("f1", "f1_macro"))
def _macro_f1(problem: Problem) -> Metric:
    """F1 of each class, then the mean over classes."""
    return replace(macro_f1(problem.outputs), span=1.0)


@register_metric("weighted_f1", ("classes",), aliases=("f1_weighted",))
def _weighted_f1(problem: Problem) -> Metric:
    """F1 of each class, averaged by how often it occurs."""
    return share("weighted_f1", _adapted("MulticlassF1Score", average="weighted")(problem))


@register_metric("macro_precision", ("classes",), aliases=("precision", "precision_macro"))
def _macro_precision(problem: Problem) -> Metric:
    """Of what is taken for a class, the share that is of it; then the mean over classes."""
    return share("macro_precision", _adapted("MulticlassPrecision", average="macro")(problem))


@register_metric("macro_recall", ("classes",), aliases=("recall", "recall_macro", "sensitivity"))
def _macro_recall(problem: Problem) -> Metric:
    """Share of each class that is found; then the mean over classes in targets or predictions."""
    return share("macro_recall", _adapted("MulticlassRecall", average="macro")(problem))


@register_metric("kappa", ("classes",), aliases=("cohen_kappa",))
def _kappa(problem: Problem) -> Metric:
    """Cohen's kappa: agreement beyond chance."""
    return share("kappa", _adapted("MulticlassCohenKappa")(problem))


@register_metric("quadratic_kappa", ("classes",), aliases=("qwk", "weighted_kappa"))
def _quadratic_kappa(problem: Problem) -> Metric:
    """Cohen's kappa of classes that are in order: an error counts by the square of its distance."""
    return share("quadratic_kappa", _adapted("MulticlassCohenKappa", weights="quadratic")(problem))


@register_metric("mcc", ("classes",), aliases=("matthews", "matthews_correlation", "matthews_corrcoef"))
def _mcc(problem: Problem) -> Metric:
    """Matthews' correlation of targets and predictions."""
    return share("mcc", _adapted("MulticlassMatthewsCorrCoef")(problem))


@register_metric("auroc", ("classes",), aliases=("auc", "roc_auc"))
def _class_auroc(problem: Problem) -> Metric:
    """Area under the ROC curve of each class against the others; then the mean over classes."""
    return share("auroc", _one_against_others(problem, "binary_auroc", both=True, nothing=0.5))


@register_metric("average_precision", ("classes",), aliases=("ap", "auprc", "pr_auc"))
def _class_precision(problem: Problem) -> Metric:
    """Average precision of each class against the others, then the mean; of two classes that of the second."""
    return share("average_precision", _one_against_others(problem, "binary_average_precision", both=False, nothing=0.0))


def _one_against_others(
    problem: Problem, name: str, *, both: bool, nothing: float
) -> Callable[[], torchmetrics.Metric]:
    classes = problem.outputs
    first = 1 if classes == 2 else 0  # of two classes the curves of one say all

    def adapt(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        # Samples are ranked by probability, which logits alone do not tell; its logarithm keeps small ones apart.
        return outputs.double().log_softmax(1)[:, first:], F.one_hot(targets.long(), classes)[:, first:]

    def create() -> torchmetrics.Metric:
        from torchmetrics.functional import classification

        from archscout.tasks.metrics.accumulators import Adapted, RankingMetric

        value = getattr(classification, name)
        ranking = RankingMetric(classes - first, value, both=both, nothing=nothing, merge=False)
        return Adapted(ranking, adapt)

    return create


@register_metric("pixel_accuracy", ("masks",), aliases=("accuracy", "acc"))
def _pixel_accuracy(problem: Problem) -> Metric:
    """Share of the positions whose class is right."""
    return share("pixel_accuracy", _adapted("MulticlassAccuracy", average="micro")(problem), percent=True)


@register_metric("mean_iou", ("masks",), aliases=("iou", "miou", "jaccard"))
def _mean_iou(problem: Problem) -> Metric:
    """Intersection over union of each class, background included; then the mean over the classes that occur."""
    if problem.outputs > 1:
        return replace(mean_intersection(problem.outputs), span=1.0)
    return share("mean_iou", _adapted("MulticlassJaccardIndex", average="macro")(problem))


@register_metric("mean_dice", ("masks",), aliases=("dice", "f1", "macro_f1"))
def _mean_dice(problem: Problem) -> Metric:
    """Dice of each class, background included; then the mean over the classes that occur."""
    return share("mean_dice", _counted(lambda *counts: _mean_where(_dice(*counts), _occurs(*counts)))(problem))


@register_metric("foreground_iou", ("masks",), aliases=("iou_foreground",))
def _foreground_iou(problem: Problem) -> Metric:
    """Intersection over union, on the mean over the classes that occur but class 0."""

    def value(right: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        union = (predicted + actual - right).clamp(min=1)
        return _mean_where((right / union)[1:], _occurs(right, predicted, actual)[1:])

    return share("foreground_iou", _counted(value)(problem))


@register_metric("foreground_dice", ("masks",), aliases=("dice_foreground",))
def _foreground_dice(problem: Problem) -> Metric:
    """Dice, on the mean over the classes that occur but class 0."""
    return share(
        "foreground_dice", _counted(lambda *counts: _mean_where(_dice(*counts)[1:], _occurs(*counts)[1:]))(problem)
    )


def _dice(right: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
    return 2 * right / (predicted + actual).clamp(min=1)


def _occurs(right: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
    return predicted + actual > 0


# -- labels ------------------------------------------------------------------------------------------------------------


@register_metric("mean_average_precision", ("labels",), aliases=("map", "average_precision", "ap"))
def _label_precision(problem: Problem) -> Metric:
    """Average precision of each label, then the mean over labels."""
    return replace(mean_average_precision(problem.outputs, merge=problem.merge), span=1.0)


@register_metric("auroc", ("labels",), aliases=("auc", "roc_auc"))
def _label_auroc(problem: Problem) -> Metric:
    """Area under the ROC curve of each label, then the mean over labels."""
    return replace(auroc(problem.outputs, merge=problem.merge), span=1.0)


def _decided(problem: Problem, value: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], torchmetrics.Metric]:
    """The accumulator of a value of decisions and targets, boolean `(N, labels)`: a label is given from 0.5 on."""

    def create() -> torchmetrics.Metric:
        from archscout.tasks.metrics.accumulators import Collected

        return Collected(
            lambda scores, targets: value(scores > 0, targets[:, : problem.outputs] > 0), merge=problem.merge
        )

    return create


def _counts_of_labels(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (found & truth).sum(0).double(), found.sum(0).double(), truth.sum(0).double()


@register_metric("macro_f1", ("labels",), aliases=("f1", "f1_macro"))
def _label_macro_f1(problem: Problem) -> Metric:
    """F1 of each label at a probability of 0.5, then the mean over the labels that occur."""

    def value(found: Tensor, truth: Tensor) -> Tensor:
        counts = _counts_of_labels(found, truth)
        return _mean_where(_dice(*counts), _occurs(*counts))

    return share("macro_f1", _decided(problem, value))


@register_metric("micro_f1", ("labels",), aliases=("f1_micro",))
def _label_micro_f1(problem: Problem) -> Metric:
    """F1 at a probability of 0.5, of all labels of all samples together."""

    def value(found: Tensor, truth: Tensor) -> Tensor:
        right, predicted, actual = (count.sum() for count in _counts_of_labels(found, truth))
        return _dice(right, predicted, actual)

    return share("micro_f1", _decided(problem, value))


@register_metric("hamming_loss", ("labels",), aliases=("hamming", "hamming_distance"))
def _hamming(problem: Problem) -> Metric:
    """Share of all labels of all samples that are wrong; lower is better."""
    create = _decided(problem, lambda found, truth: (found != truth).double().mean())
    return Metric("hamming_loss", "min", create, lambda value: 1 - value, span=1.0)


@register_metric("exact_match", ("labels",), aliases=("subset_accuracy",))
def _exact_match(problem: Problem) -> Metric:
    """Share of the samples whose labels are all right."""
    create = _decided(problem, lambda found, truth: (found == truth).all(1).double().mean())
    return share("exact_match", create, percent=True)


# -- numbers and fields ------------------------------------------------------------------------------------------------


@register_metric("mean_absolute_error", ("numbers", "fields"), aliases=("mae", "l1"))
def _mae(problem: Problem) -> Metric:
    """Mean absolute error, in the units of the targets; lower is better."""
    return mean_absolute_error(problem.decode, problem.deviation)


@register_metric("root_mean_squared_error", ("numbers", "fields"), aliases=("rmse",))
def _rmse(problem: Problem) -> Metric:
    """Root of the mean squared error, in the units of the targets; lower is better."""
    return root_mean_squared_error(problem.decode, problem.deviation)


@register_metric("mean_squared_error", ("numbers", "fields"), aliases=("mse", "l2"))
def _mse(problem: Problem) -> Metric:
    """Mean squared error, in the squares of the targets' units; lower is better."""
    return squared_error(problem.decode, problem.deviation)


@register_metric("r_squared", ("numbers", "fields"), aliases=("r2",))
def _r_squared(problem: Problem) -> Metric:
    """Coefficient of determination of each output, then the mean: 1 is perfect, 0 is what the mean reaches."""
    return r_squared(problem.decode, problem.outputs)


@register_metric("relative_l2", ("fields",), aliases=("rel_l2", "relative_error"))
def _relative_l2(problem: Problem) -> Metric:
    """Norm of the error of a sample by the norm of its targets, on the mean over samples; lower is better."""
    return relative_l2(problem.decode)


# -- words -------------------------------------------------------------------------------------------------------------


@register_metric("perplexity", ("words",), aliases=("ppl",))
def _perplexity(problem: Problem) -> Metric:
    """Perplexity of the next word; lower is better."""
    return perplexity()


@register_metric("word_accuracy", ("words",), aliases=("accuracy", "acc", "next_word_accuracy"))
def _word_accuracy(problem: Problem) -> Metric:
    """Share of the words that are foretold as the likeliest."""

    def terms(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = outputs if isinstance(outputs, Tensor) else outputs.logits()
        known = targets != IGNORED
        return ((logits.argmax(-1) == targets) & known).sum(), known.sum()

    return share("word_accuracy", mean_of(terms), percent=True)
