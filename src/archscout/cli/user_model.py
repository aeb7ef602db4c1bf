"""A network of the user's own at the command line: `--model MODULE:NAME`."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from archscout.errors import SettingsError, closest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_model"]

HOW = (
    "Write it as MODULE:NAME or FILE.py:NAME, where NAME is a network, or a class or function that gives one without "
    "arguments, in this folder or in an installed package."
)


def load_model(text: str | None) -> nn.Module | None:
    """The network that `MODULE:NAME` or `FILE.py:NAME` names. None stays None.

    A module may lie in the working directory. This imports code, which only ever happens for what the user types: a
    run directory never names any.

    Raises:
        SettingsError: there is no such module or name, or it is no network.
    """
    if text is None:
        return None
    from torch import nn

    place, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    if not place:
        raise SettingsError(f"--model {text}: names no module. {HOW}")
    module = _module(text, place)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part) or not part:
            raise SettingsError(f"--model {text}: {_missing(module, name)} {HOW}")
        found = getattr(found, part)
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise SettingsError(
                f"--model {text}: {name}() fails with {type(error).__name__}: {error}{_place(error)}. {HOW}"
            ) from None
    if not isinstance(found, nn.Module):
        raise SettingsError(f"--model {text}: is a {type(found).__name__}; a torch.nn.Module is wanted. {HOW}")
    return found


def _module(text: str, place: str) -> ModuleType:
    file = Path(place)
    is_file = file.suffix == ".py" and file.is_file()
    folder = str(file.resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        if is_file and (file.parent != Path() or not file.stem.isidentifier()):
            return _from_file(file)
        return import_module(place.removesuffix(".py"))
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise SettingsError(
            f"--model {text}: cannot import {place}: {type(error).__name__}: {error}{_place(error)}. {HOW}"
        ) from None


def _from_file(file: Path) -> ModuleType:
    """The module in a file whose name or folder `import` could not find, or would take for another module."""
    spec = spec_from_file_location(file.stem.replace("-", "_"), file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


def _missing(module: ModuleType, name: str) -> str:
    """What the module has instead of a name that it lacks."""
    from torch import nn

    known = [
        key
        for key, value in vars(module).items()
        if isinstance(value, nn.Module)
        or (isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__)
    ]
    shown = (closest(name, known) if name else []) or known[:6]
    has = f" It has the networks {', '.join(shown)}." if shown else " It has no network and no class of networks."
    what = f"{module.__name__} has nothing of the name '{name}'." if name else "the name of the network is missing."
    return what + has


def _place(error: BaseException) -> str:
    """Where in the user's code an error was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    last = frames[-1] if frames else None
    return "" if last is None or last.filename == __file__ else f" ({Path(last.filename).name}, line {last.lineno})"
