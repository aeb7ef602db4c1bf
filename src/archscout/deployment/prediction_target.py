"""Where predictions go, from what a user says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from archscout.deployment.card import ModelCard
from archscout.deployment.prediction_files import CsvRows, JsonRows, Rows, whole_file, whole_folder
from archscout.errors import SettingsError

__all__ = ["Format", "Target"]

Format = Literal["csv", "json", "png"]
TABLES = (".csv", ".json", ".tsv", ".txt")


@dataclass(frozen=True)
class Target:
    """Where predictions go.

    Attributes:
        table: file of the table; None: a stream.
        form: of the table.
        maps: folder of predicted maps; None: they are not written. A table in it comes with it.
        full: maps have the size of their images.
    """

    table: Path | None
    form: Literal["csv", "json"] = "csv"
    maps: Path | None = None
    full: bool = True

    @classmethod
    def of(cls, card: ModelCard, out: Path | None, form: Format | None, *, full: bool = True) -> Target:
        """From what a user says.

        Args:
            out: file or folder; None: the table is streamed, and maps are not written.
            form: None: as the file's suffix tells.

        Raises:
            SettingsError: contradictions, or a file that is there and is no table.
        """
        if form == "png" and not card.is_map_of_classes:
            raise SettingsError(
                f"masks as PNG are of networks that tell a class at every position; {card.spec.name} is a "
                f"{card.spec.kind}. Allowed: --format csv, json."
            )
        if form == "png" and out is None:
            raise SettingsError("masks are written into a folder: name it with --out.")
        suffix = "" if out is None else out.suffix.lower()
        table: Literal["csv", "json"] = "json" if form == "json" or (form is None and suffix == ".json") else "csv"
        if out is None:
            return cls(None, table)
        has_maps = card.spec.kind == "dense"
        if suffix in TABLES and not out.is_dir():
            return cls(out, table, out.with_suffix("") if has_maps else None, full)
        if has_maps or out.is_dir():
            return cls(out / f"predictions.{table}", table, out if has_maps else None, full)
        if out.exists():
            raise SettingsError(f"{out} is there and is no table; name a new file, as --out predictions.csv.")
        return cls(out, table)

    def check(self, read: Sequence[Path]) -> None:
        """Raise SettingsError where the table would take the place of a file that is read."""
        if self.table is not None and self.table.exists():
            place = self.table.resolve()
            if any(place == path.resolve() for path in read):
                raise SettingsError(f"--out {self.table} is one of the files that are read; name another file.")

    @contextlib.contextmanager
    def opened(self, columns: Sequence[str], stream: Rows | None) -> Iterator[tuple[Rows, Path | None]]:
        """The table, and the folder that maps are written into; both appear when all went well.

        Args:
            stream: where rows go if there is no table.
        """
        with contextlib.ExitStack() as stack:
            folder = None if self.maps is None else stack.enter_context(whole_folder(self.maps))
            if self.table is None:
                assert stream is not None, "without a file there is a stream"
                rows = stream
            else:
                inside = folder is not None and self.table.parent == self.maps
                place = folder / self.table.name if folder is not None and inside else self.table
                file = stack.enter_context(whole_file(place))
                rows = JsonRows(file) if self.form == "json" else CsvRows(file, columns)
            yield rows, folder
            rows.close()
