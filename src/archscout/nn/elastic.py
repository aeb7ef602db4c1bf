"""Layers with elastic kernel and width: one set of weights, of which every network uses a part.

Source: arXiv 1908.09791; docs/methods/once-for-all.md#supernet.

Narrower layers take the first channels of every tensor. Smaller kernels are made of the centre of the next larger one
by a learnt matrix that all channels share and that starts as the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.fast.depthwise import depthwise_conv
from archscout.nn.mobile import Squeeze, activation

__all__ = ["ElasticBatchNorm", "ElasticConv", "ElasticDepthwiseConv", "ElasticInvertedBlock", "ElasticSqueeze"]

LARGEST = 7


class ElasticBatchNorm(nn.BatchNorm2d):
    """Batch norm of the first channels, as many as the input has; so are the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` with any C up to the number of features."""
        channels = input.shape[1]
        if self.running_mean is None or self.running_var is None:
            raise AssertionError("made with running statistics")
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            input,
            self.running_mean[:channels],
            self.running_var[:channels],
            self.weight[:channels],
            self.bias[:channels],
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class ElasticConv(nn.Conv2d):
    """A 1 x 1 convolution without bias between the first channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)

    def part(self, inputs: int, outputs: int) -> Tensor:
        """The weight `(outputs, inputs, 1, 1)` of the first channels."""
        return self.weight[:outputs, :inputs]


class ElasticDepthwiseConv(nn.Conv2d):
    """A depthwise convolution whose 7 x 7 kernel also gives one of 5 x 5 and, from that, one of 3 x 3."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(channels, channels, LARGEST, stride, LARGEST // 2, groups=channels, bias=False)
        self.register_parameter("7to5_matrix", nn.Parameter(torch.eye(25)))
        self.register_parameter("5to3_matrix", nn.Parameter(torch.eye(9)))

    def part(self, kernel: int, channels: int) -> Tensor:
        """The weight `(channels, 1, kernel, kernel)`."""
        weight = self.weight[:channels]
        if kernel < 7:
            weight = _shrunk(weight, self.get_parameter("7to5_matrix"))
        if kernel < 5:
            weight = _shrunk(weight, self.get_parameter("5to3_matrix"))
        return weight


def _shrunk(weight: Tensor, matrix: Tensor) -> Tensor:
    """`(C, 1, k, k)` to `(C, 1, k - 2, k - 2)`: the matrix times the centre of every kernel, read row by row."""
    side = weight.shape[-1] - 2
    centre = weight[:, :, 1:-1, 1:-1].reshape(len(weight), side * side)
    return (centre @ matrix.T).view(len(weight), 1, side, side)


class ElasticSqueeze(Squeeze):
    """Squeeze-and-excitation on the first channels, with the first hidden channels."""

    def elastic(self, inputs: Tensor, hidden: int) -> Tensor:
        """`(N, C, H, W)` to the same shape, with so many hidden channels."""
        channels = inputs.shape[1]
        reduce, expand = self.convolutions()
        pooled = inputs.mean((2, 3), keepdim=True)
        state = F.relu(F.conv2d(pooled, reduce.weight[:hidden, :channels], _first(reduce.bias, hidden)))
        scale = F.hardsigmoid(F.conv2d(state, expand.weight[:channels, :hidden], _first(expand.bias, channels)))
        return inputs * scale

    def convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """The two layers."""
        reduce, expand = self.fc.get_submodule("reduce"), self.fc.get_submodule("expand")
        assert isinstance(reduce, nn.Conv2d) and isinstance(expand, nn.Conv2d)
        return reduce, expand


def _first(bias: Tensor | None, count: int) -> Tensor | None:
    return None if bias is None else bias[:count]


class _ElasticLayer(nn.Module):
    """A convolution with its batch norm, and for the depthwise one the squeeze; named as in the static layers."""

    def __init__(self, conv: nn.Conv2d, squeeze: ElasticSqueeze | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.bn = ElasticBatchNorm(conv.out_channels)
        self.se = squeeze


class ElasticInvertedBlock(nn.Module):
    """An inverted block with elastic kernel and expansion.

    Args:
        inputs, outputs: channels, fixed.
        middle: the largest number of channels between.
        stride: of the depthwise convolution.
        hard_swish: the activation, else ReLU.
        squeeze: largest number of hidden channels of squeeze-and-excitation; 0 for none.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, hard_swish: bool, squeeze: int) -> None:
        super().__init__()
        self.inverted_bottleneck = _ElasticLayer(ElasticConv(inputs, middle))
        self.depth_conv = _ElasticLayer(
            ElasticDepthwiseConv(middle, stride), ElasticSqueeze(middle, squeeze) if squeeze else None
        )
        self.point_linear = _ElasticLayer(ElasticConv(middle, outputs))
        self.act = activation(hard_swish)
        self.stride = stride

    def weights(self, kernel: int, middle: int) -> tuple[Tensor, Tensor, Tensor]:
        """The three convolutions' weights for a kernel and a number of channels between."""
        first, depthwise, last = self.inverted_bottleneck.conv, self.depth_conv.conv, self.point_linear.conv
        assert isinstance(first, ElasticConv) and isinstance(last, ElasticConv)
        assert isinstance(depthwise, ElasticDepthwiseConv)
        return (
            first.part(first.in_channels, middle),
            depthwise.part(kernel, middle),
            last.part(middle, last.out_channels),
        )

    def elastic(self, inputs: Tensor, kernel: int, middle: int, hidden: int) -> Tensor:
        """`(N, C, H, W)` to `(N, C_out, ceil(H / stride), ceil(W / stride))`.

        Args:
            kernel: 3, 5 or 7.
            middle: channels between.
            hidden: of squeeze-and-excitation; not used without one.
        """
        first, depthwise, last = self.weights(kernel, middle)
        state = self.act(self.inverted_bottleneck.bn(F.conv2d(inputs, first)))
        state = self.act(self.depth_conv.bn(_depthwise(state, depthwise, self.stride)))
        if self.depth_conv.se is not None:
            state = self.depth_conv.se.elastic(state, hidden)
        outputs: Tensor = self.point_linear.bn(F.conv2d(state, last))
        return outputs

    @torch.no_grad()
    def sort_channels(self) -> None:
        """Order the channels between by the L1 norm of their weights in the last convolution, largest first.

        The block with all channels computes what it computed; with fewer it keeps those that matter most. The hidden
        channels of the squeeze are ordered by their weights in its second layer.
        """
        last = self.point_linear.conv.weight
        order = last.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
        last.copy_(last[:, order])
        for layer in (self.inverted_bottleneck, self.depth_conv):
            layer.conv.weight.copy_(layer.conv.weight[order])
            for tensor in (layer.bn.weight, layer.bn.bias, layer.bn.running_mean, layer.bn.running_var):
                assert tensor is not None
                tensor.copy_(tensor[order])
        if self.depth_conv.se is not None:
            reduce, expand = self.depth_conv.se.convolutions()
            assert reduce.bias is not None and expand.bias is not None
            reduce.weight.copy_(reduce.weight[:, order])
            expand.weight.copy_(expand.weight[order])
            expand.bias.copy_(expand.bias[order])
            inner = expand.weight.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
            reduce.weight.copy_(reduce.weight[inner])
            reduce.bias.copy_(reduce.bias[inner])
            expand.weight.copy_(expand.weight[:, inner])


def _depthwise(inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
    channels, kernel = weight.shape[0], weight.shape[-1]
    if inputs.device.type != "cpu" or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return F.conv2d(inputs, weight, None, stride, kernel // 2, 1, channels)
    return depthwise_conv(inputs, weight, stride)
