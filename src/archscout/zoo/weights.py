"""Published architectures with weights from files of others; `archscout.state_dicts` reads them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from archscout.spaces import get_space
from archscout.spaces.resolve import resolve_architecture
from archscout.state_dicts import Entry, Fitted, fit, read_entries
from archscout.tasks.spec import TaskSpec
from archscout.zoo.entries import ZOO

__all__ = ["apply_weights", "load_weighted_network", "network_of", "read_weights"]


def read_weights(path: Path | str, entry: str | None = None) -> dict[str, Tensor]:
    """The tensors of the likeliest state dict of a file, as they are named in it; see `read_entries`.

    Raises:
        DataError: as for `read_entries`.
    """
    return read_entries(path, entry)[0].tensors


def apply_weights(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
    """Load a state dict into a network; what prefixes its names have is taken off.

    Returns:
        What was done to the names, in sentences.

    Raises:
        DataError: names or shapes differ; the message tells the first ones.
    """
    return _apply(network, [Entry("", dict(tensors))], where).notes


def _apply(network: nn.Module, entries: list[Entry], where: str) -> Fitted:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = fit(entries, wanted, where)
    network.load_state_dict(found.tensors)
    return found


def network_of(source: str, spec: TaskSpec) -> nn.Module:
    """The network of an architecture, new, at the published size of a zoo entry or at its space's default size."""
    architecture = resolve_architecture(source)
    space = get_space(architecture.space)
    count = ZOO.get(source).recounted.get(spec.name) if source in ZOO else None
    size = space.size_model.read(count.size if count is not None else {})
    return space.build(architecture, spec, size)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def load_weighted_network(
    source: str,
    weights: Path | str,
    spec: TaskSpec,
    *,
    entry: str | None = None,
    say: Callable[[str], None] = _warn,
) -> nn.Module:
    """The network of an architecture with weights from a file, in evaluation mode.

    Args:
        source: a zoo name, file or text, as for `resolve_architecture`.
        spec: of the task that the weights are for.
        entry: which weights, where the file has several; None takes the likeliest that fit.
        say: is told what wrapper and prefix were taken off, and what was left out; by default as a warning.

    Raises:
        ArchscoutError: no such architecture, or as for `read_entries` and `fit`.
    """
    network = network_of(source, spec)
    found = _apply(network, read_entries(weights, entry), str(weights))
    if found.notes:
        say(f"{weights}: {'; '.join(found.notes)}.")
    return network.eval()
