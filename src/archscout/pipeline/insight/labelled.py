"""Another labelled set for a trained network: read as its training data was, its labels matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archscout.deployment.card import ModelCard
from archscout.errors import DataError, SettingsError
from archscout.tasks import TASKS, load_task
from archscout.tasks.findings import some
from archscout.tasks.metrics.catalogue import find_metric
from archscout.tasks.metrics.classification import IGNORED, Loss, Metric, cross_entropy, language_loss
from archscout.tasks.metrics.dense import masked_binary_cross_entropy, mean_squared_error, position_cross_entropy
from archscout.tasks.metrics.problem import Problem, TargetForm
from archscout.tasks.metrics.ranking import weighted_binary_cross_entropy
from archscout.tasks.options import SoundOptions, TaskOptions
from archscout.tasks.preparation import ArrayPreparation, ImagePreparation, SoundPreparation, TextPreparation
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.images import ImageSource
from archscout.tasks.samples import Samples, samples_of
from archscout.tasks.sources import CombinedSource, Source, known_targets, sample_names
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import Normalizer, uint8_to_float

__all__ = ["LabelledSet", "read_labelled"]

PARTS = ("train", "validation", "test")
INHERITED = ("kind", "classes", "target", "series_id", "layout", "ignore")
FITTING = ("height", "width", "grey", "margin", "fit", "enlarge", "rendering")  # of a decoding: what evaluation heeds


@dataclass(frozen=True)
class LabelledSet:
    """A labelled set, as a network takes it.

    Attributes:
        task: whose test split the whole set is; its classes, metrics and units are those of the network.
        names: of the samples.
        notes: what was left out or changed.
    """

    task: Task
    names: Sequence[str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What a reader found, of all splits together."""

    kind: str
    input_shape: tuple[int, ...]
    split: Split
    class_names: tuple[str, ...]
    preparation: Any
    groups: tuple[str, ...] | None
    normalize: Any


def read_labelled(
    path: str, card: ModelCard, options: TaskOptions, *, data: Path | None = None, inherited: TaskOptions | None = None
) -> LabelledSet:
    """A labelled set for the network of a card.

    A set of files is used whole, whatever splits it has; of a registered task the test split is taken. Labels are
    matched by name; samples of classes that the network does not know are left out and told.

    Args:
        path: of the set, in any form that a reader reads; or a registered task.
        options: how to read it.
        data: folder of a registered task's files.
        inherited: options of the training, which hold where they say something about this set, too.

    Raises:
        DataError: the set cannot be read as the training data was, or nothing in it has a label that the network knows.
        SettingsError: an option that does not fit.
    """
    found = _read(path, card, options, data, inherited)
    _check_kind(card, found, path)
    source, prepared = _prepared(Path(path).expanduser(), card, found)
    targets, kept, notes = _targets(card, found)
    if not bool(kept.any()):
        raise DataError(
            f"{path} holds no sample with a label that the network knows; its classes are "
            f"{some(card.class_names)}, those of the set {some(found.class_names)}."
        )
    everything = _Relabelled(source, found.split.indices[kept], targets[kept])
    names = sample_names(found.split.source)
    own = [f"{Path(path).name}[{index}]" for index in range(len(kept))]
    if names is not None:
        own = [names[index] for index in found.split.indices.tolist()]
    own = [name for name, keeps in zip(own, kept.tolist(), strict=True) if keeps]
    groups = found.groups
    if groups is not None:
        groups = tuple(group for group, keeps in zip(groups, kept.tolist(), strict=True) if keeps)
    task = _task(path, card, everything, found, prepared, groups)
    return LabelledSet(task, own, tuple(notes))


class _Relabelled:
    """Chosen samples of a source, with targets of their own."""

    def __init__(self, source: Source, indices: Tensor, targets: Tensor) -> None:
        self._source, self._indices, self.targets = source, indices, targets

    def __len__(self) -> int:
        return len(self._indices)

    def batches(self, indices: Any, device: torch.device, *, seed: int | None = None) -> Any:
        """As `Source.batches`."""
        wanted = list(indices)
        for index, (inputs, _) in zip(
            wanted, self._source.batches([self._indices[each] for each in wanted], device, seed=seed), strict=True
        ):
            yield inputs, self.targets[index].to(device)


def _read(path: str, card: ModelCard, options: TaskOptions, data: Path | None, inherited: TaskOptions | None) -> _Found:
    trained, kind = _as_trained(card), {"kind": card.spec.kind}
    known = {} if inherited is None else {name: getattr(inherited, name) for name in inherited.given() & {*INHERITED}}
    # Readers refuse options that they do not heed: what was not said by the user is tried, and then left out.
    attempts = list(
        {str(each): each for each in ({**kind, **known, **trained}, {**kind, **trained}, trained, {})}.values()
    )
    for each in attempts:
        added = {name: value for name, value in each.items() if name not in options.given()}
        wanted = options.model_copy(update=added)
        try:
            return _found(samples_of(partial(load_task, path, data, wanted)), path)
        except SettingsError:
            if each is attempts[-1]:
                raise
    raise AssertionError("the last attempt returns or raises")


def _as_trained(card: ModelCard) -> dict[str, Any]:
    """Options by which a reader prepares samples as the card says."""
    preparation = card.preparation
    if isinstance(preparation, ImagePreparation):
        decoding = Decoding.from_json(preparation.decoding)
        return {"image_size": (decoding.height, decoding.width), "fit": decoding.fit}
    if isinstance(preparation, SoundPreparation):
        known = {name: value for name, value in preparation.settings.model_dump().items() if value is not None}
        return {"sound": SoundOptions(**{name: value for name, value in known.items() if name in _sound_fields()})}
    return {}


def _sound_fields() -> set[str]:
    return set(SoundOptions.model_fields)


def _found(read: Samples | Task, path: str) -> _Found:
    if isinstance(read, Samples):
        parts = [part for part in PARTS if part in read.parts]
        splits = [read.parts[part] for part in parts]
        groups = None
        if read.groups is not None:
            groups = tuple(group for part in parts for group in read.groups.get(part, ()))
        return _Found(read.kind, read.input_shape, _together(splits), read.class_names, read.preparation, groups, None)
    splits = [read.test] if path.removeprefix("task:") in TASKS else [read.split(part) for part in PARTS]
    return _Found(
        read.spec.kind,
        read.spec.input_shape,
        _together(splits),
        read.class_names,
        read.preparation,
        None,
        read.normalize,
    )


def _together(splits: Sequence[Split]) -> Split:
    sources: list[Source] = []
    starts: list[int] = []
    indices = []
    for split in splits:
        known = next((place for place, source in enumerate(sources) if source is split.source), None)
        if known is None:
            starts.append(sum(len(source) for source in sources))
            sources.append(split.source)
            known = len(sources) - 1
        indices.append(split.indices + starts[known])
    return Split(sources[0] if len(sources) == 1 else CombinedSource(sources), torch.cat(indices))


def _check_kind(card: ModelCard, found: _Found, path: str) -> None:
    if card.spec.is_text or found.kind == "language":
        raise DataError("other texts are not evaluated by --on; archscout predict tells their perplexity.")
    if found.kind != card.spec.kind:
        raise DataError(
            f"{path} is read as {found.kind}, and the network does {card.spec.kind}. If its targets fit, say so: "
            f"--kind {card.spec.kind}"
        )


def _prepared(path: Path, card: ModelCard, found: _Found) -> tuple[Source, Any]:
    """The source whose samples are prepared as in the training, and their preparation.

    Raises:
        DataError: they cannot be.
    """
    known, new = card.preparation, found.preparation
    source = found.split.source
    if isinstance(known, ImagePreparation):
        names = sample_names(source)
        if not isinstance(new, ImagePreparation) or names is None:
            raise DataError(f"{path} holds no image files, and the network was trained on such.")
        wanted, chosen = Decoding.from_json(known.decoding), Decoding.from_json(new.decoding)
        if all(getattr(wanted, name) == getattr(chosen, name) for name in FITTING):
            return source, known
        targets = known_targets(source)
        if card.spec.kind == "dense" or targets is None or not path.is_dir():
            different = [name for name in FITTING if getattr(wanted, name) != getattr(chosen, name)]
            raise DataError(
                f"{path} would be read in another way than the training data ({', '.join(different)}), since its "
                "images are of another kind. Bring them to the form of the training images."
            )
        return ImageSource(path, names, targets, wanted, workers=0), known
    if isinstance(known, SoundPreparation):
        if not isinstance(new, SoundPreparation) or new.settings != known.settings:
            raise DataError(f"{path} cannot be read with the sound features of the training.")
    elif isinstance(known, ArrayPreparation) and isinstance(new, ArrayPreparation):
        facts = ("layout", "divisor", "whole")
        if any(getattr(known, name) != getattr(new, name) for name in facts):
            raise DataError(
                f"{path} holds arrays of another form than the training data: "
                + ", ".join(f"{name} {getattr(new, name)}, not {getattr(known, name)}" for name in facts)
                + "."
            )
    elif isinstance(known, TextPreparation):
        raise DataError("other texts are not evaluated by --on.")
    if found.input_shape != card.spec.input_shape:
        shapes = (" x ".join(map(str, shape)) for shape in (found.input_shape, card.spec.input_shape))
        raise DataError("the samples of {} are {}, and the network takes {}.".format(path, *shapes))
    return source, new


def _targets(card: ModelCard, found: _Found) -> tuple[Tensor, Tensor, list[str]]:
    """Targets as the network was trained on, which samples have one, and what is to be said."""
    known = known_targets(found.split.source)
    if known is None:
        batches = found.split.source.batches(torch.split(found.split.indices, 256), torch.device("cpu"))
        targets = torch.cat([each for _, each in batches])
    else:
        targets = known[found.split.indices]
    everything = torch.ones(len(targets), dtype=torch.bool)
    masks = found.kind == "dense" and not targets.is_floating_point()
    if found.kind == "multilabel":
        return (*_labels(card, found, targets), [*_unknown_labels(card, found)])
    if found.kind != "classification" and not masks:
        if targets.shape[1] != card.spec.outputs:
            raise DataError(f"the set has {targets.shape[1]} numbers for a sample, the network {card.spec.outputs}.")
        order = _order_of_numbers(card, found)
        return (targets if order is None else targets[:, order]), everything, []
    return _classes(card, found, targets.long(), masks)


def _classes(card: ModelCard, found: _Found, targets: Tensor, masks: bool) -> tuple[Tensor, Tensor, list[str]]:
    """Classes by their names, where both have names, else by their numbers."""
    count = max(2, card.spec.outputs)
    size = max(len(found.class_names), int(targets.max()) + 1)
    mapping = torch.full((size,), -1)
    numbers = {name: number for number, name in enumerate(card.class_names)}
    for number in range(size):
        if card.class_names and number < len(found.class_names):
            mapping[number] = numbers.get(found.class_names[number], -1)
        elif number < count:
            mapping[number] = number
    ignored = targets == IGNORED
    mapped = mapping[targets.clamp(min=0)]
    lost = (mapped < 0) & ~ignored
    notes = []
    if bool(lost.any()):
        strange = torch.unique(targets[lost]).tolist()
        names = [found.class_names[each] if each < len(found.class_names) else str(each) for each in strange]
        what = "positions" if masks else "samples"
        notes.append(
            f"{int(lost.sum()):,} {what} are of classes that the network does not know and are left out: {some(names)}"
        )
    if masks:
        mapped = torch.where(lost | ignored, IGNORED, mapped)
        return mapped, torch.ones(len(targets), dtype=torch.bool), notes
    return mapped, ~lost, notes


def _labels(card: ModelCard, found: _Found, targets: Tensor) -> tuple[Tensor, Tensor]:
    everything = torch.ones(len(targets), dtype=torch.bool)
    if not card.class_names or not found.class_names:
        if targets.shape[1] != card.spec.outputs:
            raise DataError(f"the set has {targets.shape[1]} labels, the network {card.spec.outputs}.")
        return targets, everything
    missing = [name for name in card.class_names if name not in found.class_names]
    if missing:
        raise DataError(
            f"the set does not tell of {len(missing)} labels whether they are true: {some(missing)}. Add a "
            "column for each."
        )
    return targets[:, [found.class_names.index(name) for name in card.class_names]], everything


def _unknown_labels(card: ModelCard, found: _Found) -> list[str]:
    strange = [name for name in found.class_names if name not in card.class_names]
    if not strange or not card.class_names:
        return []
    return [f"{len(strange)} labels that the network does not know are left out: {some(strange)}"]


def _order_of_numbers(card: ModelCard, found: _Found) -> list[int] | None:
    """Where the network's numbers stand in the set, by their names."""
    if not card.class_names or not found.class_names or tuple(found.class_names) == card.class_names:
        return None
    if set(found.class_names) != set(card.class_names):
        raise DataError(
            f"the numbers of the set are {some(found.class_names)}, those of the network {some(card.class_names)}. "
            "Name the columns with --target."
        )
    return [found.class_names.index(name) for name in card.class_names]


def _task(
    path: str, card: ModelCard, source: _Relabelled, found: _Found, prepared: Any, groups: tuple[str, ...] | None
) -> Task:
    """A task whose test split is the set; metrics, units and normalisation are the network's."""
    everything = Split(source, torch.arange(len(source)))
    problem = Problem(_form(card, source.targets), card.spec.outputs, card.target_scale)
    metrics = _metrics(card, problem)
    normalize = found.normalize
    if card.mean is not None and card.std is not None:
        normalize = Normalizer(card.mean, card.std)
    if normalize is None:
        normalize = _unchanged
    task = Task(
        spec=replace(card.spec, name=Path(path).name) if isinstance(card.spec, TaskSpec) else card.spec,
        train=everything,
        validation=everything,
        test=everything,
        loss=_loss(problem),
        metric=metrics[0],
        extra_metrics=tuple(metrics[1:]),
        to_float=uint8_to_float,
        normalize=normalize,
        class_names=card.class_names,
        scale=card.target_scale,
        preparation=prepared,
    )
    return task if groups is None else replace(task, groups={"test": groups})


def _unchanged(inputs: Tensor) -> Tensor:
    return inputs


def _form(card: ModelCard, targets: Tensor) -> TargetForm:
    simple: dict[str, TargetForm] = {"classification": "classes", "multilabel": "labels", "regression": "numbers"}
    return simple.get(card.spec.kind) or ("fields" if targets.is_floating_point() else "masks")


def _metrics(card: ModelCard, problem: Problem) -> list[Metric]:
    """The metrics of the training by their names; those of a user's own are not known here."""
    names = [str(card.metric.get("name", ""))]
    names += [name for values in card.values.values() for name in values if name not in (*names, "loss", "samples")]
    found = []
    for name in dict.fromkeys(filter(None, names)):
        try:
            found.append(find_metric(name, problem))
        except SettingsError:
            continue
    if not found:
        raise SettingsError(f"the metric '{names[0]}' of the network is not known here, so that nothing can be judged.")
    return found


def _loss(problem: Problem) -> Loss:
    if problem.form == "classes":
        return cross_entropy
    if problem.form == "labels":
        return weighted_binary_cross_entropy(problem.outputs)
    if problem.form == "masks":
        return masked_binary_cross_entropy if problem.outputs == 1 else position_cross_entropy
    return language_loss if problem.form == "words" else mean_squared_error(problem.scale)
