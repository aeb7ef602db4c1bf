"""The first layers of cell networks: from images or sequences to the two inputs of the first cell."""

from __future__ import annotations

from torch import Tensor, nn

from archscout.nn.dimensions import LAYERS

__all__ = ["IMAGENET_STEM_FROM", "STEMS", "STEM_CHANNELS", "FullSizeStem", "ImageNetStem", "make_stem"]

STEM_CHANNELS = 3  # the small stem has 3 C channels; docs/methods/darts.md#networks
IMAGENET_STEM_FROM = 96  # images from this many pixels a side on get an ImageNet stem
STEMS = ("small", "single", "imagenet", "imagenet_quarter")


class FullSizeStem(nn.Module):
    """One convolution at full resolution and a batch norm, fed to both inputs of the first cell.

    Args:
        inputs: channels of the data.
        channels: of the output.
        dims: 2 for images, 1 for sequences.

    Attributes:
        channels: of the two outputs.
        reduced: whether the first output is twice as large as the second.
        halvings: how often the second output's height and width are halved.
    """

    halvings = 0

    def __init__(self, inputs: int, channels: int, *, dims: int = 2) -> None:
        super().__init__()
        self.conv = LAYERS[dims].conv(inputs, channels, 3, padding=1, bias=False)
        self.norm = LAYERS[dims].norm(channels)
        self.channels = (channels, channels)
        self.reduced = False

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, C_in, H, W)` to twice the same `(N, C, H, W)`; likewise `(N, C_in, L)`."""
        state = self.norm(self.conv(inputs))
        return state, state


class ImageNetStem(nn.Module):
    """Three 3 x 3 convolutions, of which all (DARTS) or the first and the last (D-DARTS) have stride 2.

    Sources: docs/methods/darts.md#networks, docs/methods/ddarts.md#networks.

    Args:
        quarter: the second convolution has stride 1: the outputs are at a half and at a quarter of the size, for
            networks with three reductions.
    """

    def __init__(self, inputs: int, channels: int, affine: bool, *, quarter: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, channels // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2, affine=affine),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, channels, 3, stride=1 if quarter else 2, padding=1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )
        self.second = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )
        self.channels = (channels, channels)
        self.reduced = True
        self.halvings = 2 if quarter else 3

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, C_in, H, W)` to `(N, C, H / 4, W / 4)` and `(N, C, H / 8, W / 8)`; with `quarter` twice as large."""
        early: Tensor = self.first(inputs)
        return early, self.second(early)


def make_stem(kind: str, inputs: int, channels: int, *, affine: bool, dims: int = 2) -> FullSizeStem | ImageNetStem:
    """The stem of one of the names in `STEMS`: `small` is 3 times as wide as `single` (the DARTS family and D2NAS).

    Args:
        kind: its name.
        inputs: channels of the data.
        channels: of the nodes of the first cell.
        affine: of the batch norms of an ImageNet stem; a full-size one is always affine.
        dims: of a full-size stem; see `FullSizeStem`.
    """
    if kind in ("small", "single"):
        wide = STEM_CHANNELS * channels if kind == "small" else channels
        return FullSizeStem(inputs, wide, dims=dims)
    return ImageNetStem(inputs, channels, affine, quarter=kind == "imagenet_quarter")
