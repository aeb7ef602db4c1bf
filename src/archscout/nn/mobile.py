"""The layers of MobileNets with the names of the released weights (docs/methods/once-for-all.md#networks).

The names are part of the layout: `conv` and `bn` in every convolution, `se.fc.reduce` and `se.fc.expand` in a squeeze,
`inverted_bottleneck`, `depth_conv` and `point_linear` in a block.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.fast.depthwise import DepthwiseConv2d

__all__ = [
    "Classifier",
    "ConvNormAct",
    "InvertedBlock",
    "MobileBlock",
    "PlainConv",
    "Squeeze",
    "activation",
    "initialise",
    "resize",
]


def activation(hard_swish: bool) -> nn.Module:
    """Hard swish `x relu6(x + 3) / 6`, or ReLU."""
    return nn.Hardswish(inplace=True) if hard_swish else nn.ReLU(inplace=True)


def resize(inputs: Tensor, resolution: int | None) -> Tensor:
    """Images `(N, C, H, W)` brought to `resolution` pixels a side, bilinear; None leaves them as they are."""
    if resolution is None or tuple(inputs.shape[-2:]) == (resolution, resolution):
        return inputs
    return F.interpolate(inputs, size=(resolution, resolution), mode="bilinear", align_corners=False)


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, activation.

    Args:
        conv: keeps or strides the size.
        outputs: its output channels.
        act: None for none.
    """

    def __init__(self, conv: nn.Conv2d, outputs: int, act: nn.Module | None) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(outputs)
        self.act = act

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, H', W')`."""
        normed: Tensor = self.bn(self.conv(inputs))
        return normed if self.act is None else self.act(normed)


class Squeeze(nn.Module):
    """Squeeze-and-excitation: scales channels by a hard sigmoid of two layers on their means."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            OrderedDict(
                reduce=nn.Conv2d(channels, hidden, 1),
                relu=nn.ReLU(inplace=True),
                expand=nn.Conv2d(hidden, channels, 1),
                h_sigmoid=nn.Hardsigmoid(inplace=True),
            )
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        scale: Tensor = self.fc(inputs.mean((2, 3), keepdim=True))
        return inputs * scale


class _DepthwiseNormAct(ConvNormAct):
    """Depthwise convolution, batch norm, activation, and where wanted a squeeze."""

    def __init__(self, channels: int, kernel: int, stride: int, act: nn.Module, hidden: int) -> None:
        super().__init__(DepthwiseConv2d(channels, kernel, stride=stride), channels, act)
        self.se = Squeeze(channels, hidden) if hidden else None

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs)
        return outputs if self.se is None else self.se(outputs)


class InvertedBlock(nn.Module):
    """1 x 1 convolution to `middle` channels, depthwise convolution, 1 x 1 convolution to `outputs` channels.

    Args:
        inputs, middle, outputs: channels.
        kernel, stride: of the depthwise convolution.
        hard_swish: the activation, else ReLU.
        squeeze: hidden channels of squeeze-and-excitation; 0 for none.
        expands: whether there is a first convolution; without it `middle` is `inputs`.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        kernel: int,
        stride: int,
        hard_swish: bool,
        squeeze: int,
        expands: bool,
    ) -> None:
        super().__init__()
        first = nn.Conv2d(inputs, middle, 1, bias=False)
        self.inverted_bottleneck = ConvNormAct(first, middle, activation(hard_swish)) if expands else None
        self.depth_conv = _DepthwiseNormAct(middle, kernel, stride, activation(hard_swish), squeeze)
        self.point_linear = ConvNormAct(nn.Conv2d(middle, outputs, 1, bias=False), outputs, None)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, ceil(H / stride), ceil(W / stride))`."""
        state = inputs if self.inverted_bottleneck is None else self.inverted_bottleneck(inputs)
        outputs: Tensor = self.point_linear(self.depth_conv(state))
        return outputs


class MobileBlock(nn.Module):
    """An inverted block, with the identity added where `residual`."""

    def __init__(self, block: nn.Module, residual: bool) -> None:
        super().__init__()
        self.mobile_inverted_conv = block
        self.residual = residual

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, H', W')`."""
        outputs: Tensor = self.mobile_inverted_conv(inputs)
        return outputs + inputs if self.residual else outputs


class PlainConv(nn.Module):
    """1 x 1 convolution and hard swish, without norm or bias: from pooled channels to the classifier's features."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.act = nn.Hardswish(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, 1, 1)` to `(N, C_out, 1, 1)`."""
        outputs: Tensor = self.act(self.conv(inputs))
        return outputs


class Classifier(nn.Module):
    """Dropout and a linear layer."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C)` to logits `(N, outputs)`."""
        logits: Tensor = self.linear(self.dropout(inputs))
        return logits


def initialise(network: nn.Module) -> None:
    """He's initialisation by fan-out for convolutions; the linear layer's weights have a deviation of 0.01."""
    for module in network.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue  # shapes alone: nothing to initialise, and torch would be slow at it
        if isinstance(module, nn.Conv2d):
            # Fan-out of a grouped convolution counts one group's outputs.
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, (2.0 / fan) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            with torch.no_grad():
                module.bias.zero_()
