"""The command line: one command for each verb, thin.

The modules of the commands import torch, and what needs it, inside of functions: `--help`, `list`, `status` and the
shell's completion answer at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from archscout.cli import architectures, data, estimate, explain, listing, predict, run, status, table, trained
from archscout.errors import ArchscoutError
from archscout.memory import keep_freed_memory
from archscout.version import __version__

__all__ = ["app", "main"]


app = typer.Typer(
    name="archscout",
    help="Find a small, accurate network for your task, as a plain PyTorch module.\n\n"
    "Start with: [bold]archscout run digits[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of archscout itself."""


for module in (run, trained, predict, explain, status, listing, estimate, architectures, data, table):
    module.register(app)


def main() -> None:
    """Run the command line. Expected errors are one paragraph on stderr and an exit code, never a traceback."""
    keep_freed_memory()
    try:
        app()
    except ArchscoutError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _fail(f"cannot read or write{where}: {error.strerror or error}.", 2)
    except MemoryError:
        _fail("the memory is full. Try a smaller --set search.child.batch_size or train.batch_size.", 2)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        _fail("the GPU's memory is full. Try a smaller --set search.child.batch_size or train.batch_size.", 2)


def _fail(message: str, code: int) -> None:
    typer.secho("error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo(message, err=True)
    sys.exit(code)
