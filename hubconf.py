"""The released networks for `torch.hub.load(<this repository>, "dsm_nas", source="local", weights=FILE)`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

dependencies = ["torch", "numpy", "safetensors", "pydantic", "yaml", "torchmetrics"]

_SOURCES = str(Path(__file__).resolve().parent / "src")


def _network(name: str, weights: str | Path | None) -> nn.Module:
    if _SOURCES not in sys.path:  # torch.hub puts only the root of the repository there
        sys.path.insert(0, _SOURCES)
    from archscout.tasks import task_spec
    from archscout.zoo.weights import load_weighted_network, network_of

    spec = task_spec("imagenet")
    if weights is None:
        return network_of(name, spec).eval()
    return load_weighted_network(name, weights, spec)


def dsm_nas(weights: str | Path | None = None) -> nn.Module:
    """DSM-NAS for ImageNet, 8.9 million parameters, in evaluation mode.

    Args:
        weights: the released `dsm-nas-<digits>.pt`, or any state dict of that layout; None leaves random weights.
    """
    return _network("dsm_nas.imagenet", weights)


def dsm_nas_plus(weights: str | Path | None = None) -> nn.Module:
    """DSM-NAS+ for ImageNet, 9.0 million parameters, in evaluation mode.

    Args:
        weights: the released `dsm-nas-plus-<digits>.pt`, or any state dict of that layout; None leaves random weights.
    """
    return _network("dsm_nas_plus.imagenet", weights)
