"""The layers of torch for sequences `(N, C, L)` and for images `(N, C, H, W)`, by the number of dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from archscout.nn.fast.depthwise import DepthwiseConv1d, DepthwiseConv2d
from archscout.nn.fast.sequences import SequenceConv, SequenceNorm

__all__ = ["LAYERS", "Layers"]


@dataclass(frozen=True)
class Layers:
    """The classes of one number of dimensions; their arguments are the same in all."""

    conv: type[nn.Conv1d | nn.Conv2d]
    depthwise: type[DepthwiseConv1d | DepthwiseConv2d]
    norm: type[nn.BatchNorm1d | nn.BatchNorm2d]
    average_pool: type[nn.AvgPool1d | nn.AvgPool2d]
    max_pool: type[nn.MaxPool1d | nn.MaxPool2d]
    global_pool: type[nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d]


LAYERS = {
    1: Layers(SequenceConv, DepthwiseConv1d, SequenceNorm, nn.AvgPool1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d),
    2: Layers(nn.Conv2d, DepthwiseConv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
}
