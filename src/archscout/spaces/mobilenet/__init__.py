"""The MobileNet space: once-for-all networks with elastic kernel, width and depth (docs/methods/once-for-all.md)."""

from archscout.spaces.mobilenet.config import Block, MobileNetConfig
from archscout.spaces.mobilenet.space import MobileNetOptions, MobileNetSize, MobileNetSpace

__all__ = ["Block", "MobileNetConfig", "MobileNetOptions", "MobileNetSize", "MobileNetSpace"]
