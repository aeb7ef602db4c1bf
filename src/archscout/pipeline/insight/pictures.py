"""Samples as people look at them: images, spectrograms, curves, masks; for contact sheets of mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from archscout.engine import Engine
from archscout.pipeline.insight.content import Insight, Mistake
from archscout.tasks.choices import problem_of
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.preparation import SoundPreparation
from archscout.tasks.sources import whole_samples
from archscout.tasks.task import Split, Task
from archscout.viz.report.insight import MistakeView, Picture

__all__ = ["MOST_SHOWN", "captions", "mistake_views"]

Array = np.ndarray[Any, Any]
MOST_SHOWN = 24
MOST_PIXELS = 128  # of a side: enough to recognise a sample, and small in a page
SMALL = 64  # of a side: images below are enlarged
MOST_STEPS = 160  # of a curve
MOST_CURVES = 6  # channels of a series
# Of classes of masks, in order; the first one, usually the background, stays dark.
COLOURS = ((24, 28, 36), (86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
UNKNOWN = (128, 128, 128)


def captions(mistake: Mistake, form: str) -> tuple[str, ...]:
    """What stands below a sample."""
    if form in ("masks", "fields"):
        what = "mean IoU" if form == "masks" else "RMSE"
        return () if mistake.value is None else (f"{what} {mistake.value:.3g}",)
    lines = (f"true: {mistake.true}", f"predicted: {mistake.predicted}")
    if mistake.probability is not None:
        return (*lines, f"{100 * mistake.probability:.1f} % sure")
    return lines if mistake.value is None else (*lines, f"off by {mistake.value:+.4g}")


def mistake_views(
    insight: Insight,
    task: Task,
    split: Split,
    network: Callable[[], nn.Module],
    engine: Engine,
    most: int = MOST_SHOWN,
) -> list[MistakeView]:
    """The worst samples of an insight as pictures; none of texts.

    Args:
        split: the samples that the positions of the mistakes count.
        network: makes the network, which is asked again for what it says at each position of maps; of others it is not
            called.
    """
    chosen = _different(insight.mistakes, most)
    if not chosen or task.spec.is_text:
        return []
    indices = split.indices[torch.tensor([mistake.position for mistake in chosen])]
    maps = insight.form in ("masks", "fields")
    asked = engine.place(network()).eval() if maps else None
    views = []
    source = whole_samples(split.source)
    for mistake, (raw, target) in zip(chosen, source.batches(torch.split(indices, 1), engine.device), strict=True):
        pictures = _pictures(task, raw[0].cpu())
        if asked is not None:
            pictures += _maps(task, insight.form, target[0].cpu(), _answer(task, raw, asked, engine))
        views.append(MistakeView(mistake.sample, captions(mistake, insight.form), tuple(pictures)))
    return views


def _different(mistakes: Sequence[Mistake], most: int) -> list[Mistake]:
    """The first mistakes, each sample once: of several labels one sample may be wrong often."""
    seen: dict[int, Mistake] = {}
    for mistake in mistakes:
        seen.setdefault(mistake.position, mistake)
    return list(seen.values())[:most]


def _answer(task: Task, raw: Tensor, network: nn.Module, engine: Engine) -> Tensor:
    with torch.inference_mode():
        outputs: Tensor = network(engine.arrange(task.prepare(raw))).float()[0].cpu()
    return outputs


def _pictures(task: Task, raw: Tensor) -> list[Picture]:
    """A sample as the network got it, before normalisation."""
    values = task.to_float(raw[None])[0].double().numpy()
    if values.ndim == 3:
        sound = isinstance(task.preparation, SoundPreparation)
        return [Picture("spectrogram" if sound else "image", image=_png(_pixels(values, upside_down=sound)))]
    if values.ndim == 2:
        step = -(-values.shape[1] // MOST_STEPS)
        curves = tuple(tuple(channel[::step].tolist()) for channel in values[:MOST_CURVES])
        return [Picture("series", curves=curves)]
    return []


def _pixels(values: Array, *, upside_down: bool = False) -> Array:
    """Values `(C, H, W)` as grey or coloured pixels; what is not in [0, 1] is stretched to it."""
    if values.shape[0] not in (1, 3):
        values = values.mean(0, keepdims=True)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0 or high > 1 or upside_down:
        values = (values - low) / ((high - low) or 1.0)
    pixels = np.nan_to_num(values * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    if upside_down:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _maps(task: Task, form: str, target: Tensor, output: Tensor) -> list[Picture]:
    """What is true at each position, and what the network says there."""
    if output.dim() != 3:
        return _map_curves(task, form, target, output)
    if form == "masks":
        found = (output[0] >= 0).long() if output.shape[0] == 1 else output.argmax(0)
        truth = target.reshape(found.shape)
        return [Picture(name, image=_png(_coloured(each))) for name, each in (("true", truth), ("predicted", found))]
    decoded = problem_of(task).decode(output[None])[0]
    fields = {"true": target[0].double().numpy(), "predicted": decoded[0].double().numpy()}
    low, high = float(fields["true"].min()), float(fields["true"].max())
    shown = []
    for name, values in fields.items():
        share = (values - low) / ((high - low) or 1.0)
        shown.append(Picture(name, image=_png((share * 255).round().clip(0, 255).astype(np.uint8))))
    return shown


def _map_curves(task: Task, form: str, target: Tensor, output: Tensor) -> list[Picture]:
    """The same of series."""
    if form == "masks":
        found = (output[0] >= 0).long() if output.shape[0] == 1 else output.argmax(0)
        pairs = [("true", target.reshape(found.shape)), ("predicted", found)]
    else:
        pairs = [("true", target[0]), ("predicted", problem_of(task).decode(output[None])[0, 0])]
    step = -(-int(pairs[0][1].shape[-1]) // MOST_STEPS)
    return [Picture(name, curves=(tuple(values.double().flatten()[::step].tolist()),)) for name, values in pairs]


def _coloured(classes: Tensor) -> Array:
    """A class at each position as colours; those beyond the list repeat it."""
    palette = np.array(COLOURS, np.uint8)
    values = classes.numpy()
    pixels = palette[np.where(values <= 0, 0, 1 + (values - 1) % (len(COLOURS) - 1))]
    pixels[values == IGNORED] = UNKNOWN
    return np.asarray(pixels)


def _png(pixels: Array) -> str:
    """Pixels `(H, W)` or `(H, W, 3)` as a small PNG file in base 64."""
    image = Image.fromarray(pixels)
    largest = max(image.size)
    if largest > MOST_PIXELS:
        image.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.LANCZOS)
    elif largest < SMALL:
        scale = SMALL // largest
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
