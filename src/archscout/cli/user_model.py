"""A network of the user's own at the command line: `--model MODULE:NAME`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from archscout.errors import SettingsError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_model"]


def load_model(text: str | None) -> nn.Module | None:
    """The network that `MODULE:NAME` names; a module may lie in the working directory. None stays None.

    This imports code, which only ever happens for what the user types: a run directory never names any.

    Raises:
        SettingsError: there is no such module or name, or it is no network.
    """
    if text is None:
        return None
    from torch import nn

    place, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(place.removesuffix(".py")), name)
        network = found if isinstance(found, nn.Module) else found()
    except Exception as error:  # whatever the user's code raises
        raise SettingsError(
            f"--model {text}: {type(error).__name__}: {error}. Write it as MODULE:NAME, where NAME is a network, or a "
            "function without arguments that returns one, in MODULE.py of this folder or in an installed package."
        ) from None
    if not isinstance(network, nn.Module):
        raise SettingsError(f"--model {text}: is a {type(network).__name__}; a torch.nn.Module is wanted.")
    return network
