"""How operations are named and coloured in drawings."""

from __future__ import annotations

import re

__all__ = ["FAMILY_NAMES", "operation_family", "operation_label", "operation_tooltip"]

FAMILY_NAMES = {
    "separable": "separable convolution",
    "dilated": "dilated separable convolution",
    "pooling": "pooling",
    "skip": "skip connection",
    "full": "full convolution",
    "bottleneck": "bottleneck",
    "other": "other",
    "none": "none (zero)",
}
_PREFIXES = (
    ("sep_conv", "separable"),
    ("dil_conv", "dilated"),
    ("max_pool", "pooling"),
    ("avg_pool", "pooling"),
    ("skip", "skip"),
    ("identity", "skip"),
    ("simple_conv", "full"),
    ("conv_", "full"),
    ("bottleneck", "bottleneck"),
    ("none", "none"),
)
_LONGEST = 16
_SHORT = {"skip_connect": "skip", "bottleneck_1x3x1": "bottleneck"}


def operation_family(operation: str) -> str:
    """A key of `FAMILY_NAMES`."""
    return next((family for prefix, family in _PREFIXES if operation.startswith(prefix)), "other")


def operation_label(operation: str) -> str:
    """A short label: `max 3x3` for `max_pool_3x3`, with a true multiplication sign."""
    if operation in _SHORT:
        return _SHORT[operation]
    text = operation.replace("_conv_", " ").replace("_pool_", " ").replace("_", " ")
    text = re.sub(r"(\d)x(\d)", "\\1\u00d7\\2", text).removeprefix("conv ").replace("simple ", "conv ")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def operation_tooltip(operation: str, source: str, target: str) -> str:
    """What a reader sees who points at an operation."""
    return f"{operation} of {source}, added into {target}"
