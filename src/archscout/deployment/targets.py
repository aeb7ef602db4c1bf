"""Limits of small devices by name: how much flash and RAM there is, and whether a network fits.

Sources: docs/sources.md. All of a chip's memory counts here; a program needs some of it for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archscout.deployment.footprint import kilobytes
from archscout.errors import UnknownNameError

__all__ = ["TARGETS", "Target", "describe_fit", "find_target", "fit", "target_limits"]

KB, MB = 1024, 1024**2


@dataclass(frozen=True)
class Target:
    """A device: RAM and flash in bytes."""

    name: str
    ram: int
    flash: int
    description: str


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("microcontroller", 256 * KB, 1 * MB, "a common microcontroller"),
        Target("nano-33-ble", 256 * KB, 1 * MB, "Arduino Nano 33 BLE Sense: nRF52840, Cortex-M4F, 64 MHz"),
        Target("pico", 264 * KB, 2 * MB, "Raspberry Pi Pico: RP2040, two Cortex-M0+, 133 MHz"),
        Target("pico-2", 520 * KB, 4 * MB, "Raspberry Pi Pico 2: RP2350, two Cortex-M33, 150 MHz"),
        Target("stm32f746", 320 * KB, 1 * MB, "STM32F746: Cortex-M7, 216 MHz"),
        Target("stm32h743", 512 * KB, 2 * MB, "STM32H743: Cortex-M7, 480 MHz, the largest single block of RAM"),
    )
}
"""Devices by name."""


def find_target(name: str) -> Target:
    """The device of that name. Raises UnknownNameError."""
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return TARGETS[name]


def target_limits(name: str) -> dict[str, int]:
    """The limits of a device in bytes: `ram` and `flash`. Raises UnknownNameError."""
    target = find_target(name)
    return {"ram": target.ram, "flash": target.flash}


def fit(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Whether a network fits a device.

    Args:
        facts: of `footprint_facts`.
        name: of the device.

    Returns:
        `target`, its `limits`, and for `float32` and `int8` each: `ram`, `flash`, `fits`; `unknown` instead where the
        network cannot be read.

    Raises:
        UnknownNameError: no such device.
    """
    limits = target_limits(name)
    if "unknown" in facts:
        return {"target": name, "limits": limits, "unknown": facts["unknown"]}
    found: dict[str, Any] = {"target": name, "limits": limits}
    for kind in ("float32", "int8"):
        takes = {what: int(facts[what][kind]) for what in limits}
        found[kind] = {**takes, "fits": all(takes[what] <= limits[what] for what in limits)}
    return found


def describe_fit(found: Mapping[str, Any]) -> str:
    """The answer of `fit` in a line for people."""
    if "unknown" in found:
        return f"whether it fits {found['target']} is not known: {found['unknown']}"
    said = []
    for kind in ("float32", "int8"):
        takes = found[kind]
        numbers = ", ".join(
            f"{kilobytes(takes[what])} of {kilobytes(found['limits'][what])} {title}"
            for what, title in (("flash", "flash"), ("ram", "RAM"))
        )
        said.append(f"in {kind} it {'fits' if takes['fits'] else 'does not fit'} ({numbers})")
    return f"{found['target']}: {'; '.join(said)}"
