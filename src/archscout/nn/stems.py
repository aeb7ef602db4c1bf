"""The first layers of cell networks: from pictures to the two inputs of the first cell."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["IMAGENET_STEM_FROM", "STEMS", "STEM_CHANNELS", "ImageNetStem", "SmallPictureStem", "make_stem"]

STEM_CHANNELS = 3  # the small stem has 3 C channels (spec ednas 2.3)
IMAGENET_STEM_FROM = 96  # pictures from this many pixels a side on get an ImageNet stem
STEMS = ("small", "imagenet", "imagenet_quarter")


class SmallPictureStem(nn.Module):
    """One 3 x 3 convolution at full resolution, fed to both inputs of the first cell.

    Attributes:
        channels: of the two outputs.
        reduced: whether the first output is twice as large as the second.
        halvings: how often the second output's height and width are halved.
    """

    halvings = 0

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        wide = STEM_CHANNELS * channels
        self.conv = nn.Conv2d(inputs, wide, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.channels = (wide, wide)
        self.reduced = False

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, C_in, H, W)` to twice the same `(N, 3 C, H, W)`."""
        state = self.norm(self.conv(inputs))
        return state, state


class ImageNetStem(nn.Module):
    """Three 3 x 3 convolutions, of which all (DARTS) or the first and the last (D-DARTS, spec 5.3) have stride 2.

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


def make_stem(kind: str, inputs: int, channels: int, *, affine: bool) -> SmallPictureStem | ImageNetStem:
    """The stem of one of the names in `STEMS`."""
    if kind == "small":
        return SmallPictureStem(inputs, channels)
    return ImageNetStem(inputs, channels, affine, quarter=kind == "imagenet_quarter")
