"""The run directory: everything that a run writes, in one folder that can be moved, copied and resumed.

Layout: DESIGN of the project, also described in docs/runs.md. Whatever is read back was written atomically; a run
killed at any moment leaves either the old or the new state.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from archscout.atomic import atomic_directory, sweep, write_atomic
from archscout.errors import RunError
from archscout.state import pack, tensor_bytes, unpack

__all__ = ["FOLDS", "TRAINING", "RunDirectory"]

FOLDS = "folds.json"  # in the folder of a cross-validation, whose folds are runs
TRAINING = "training.json"  # what the stages of a run have changed in the settings of its final training
KEPT_FOR_A_NEW_START = ("config.yaml", "data.json", "splits.csv", "start.json", ".lock")
KEPT_CHECKPOINTS = 2  # of the stage that runs: if the newest is damaged, the one before serves


class RunDirectory:
    """One run's folder. Creating the object touches nothing; `hold` locks it for writing.

    Attributes:
        path: the folder.
        writes: False in all but the first of several processes: there, locking and writing do nothing.
        warnings: what went wrong without stopping the run, for the report and the terminal.
    """

    def __init__(self, path: Path | str, *, writes: bool = True) -> None:
        self.path = Path(path)
        self.writes = writes
        self.warnings: list[str] = []

    def exists(self) -> bool:
        """Whether this is a run directory."""
        return (self.path / "config.yaml").is_file()

    def require(self) -> None:
        """Raise RunError unless this is a run directory."""
        if not self.exists() and (self.path / FOLDS).is_file():
            raise RunError(
                f"{self.path} is a cross-validation, whose folds are runs: name one of them, for example "
                f"{self.path / 'fold-1'}. The whole takes run, resume, status, evaluate and report."
            )
        if not self.exists():
            raise RunError(
                f"{self.path} is no run directory: it has no config.yaml. "
                "Give the folder that `archscout run` or `archscout search` printed."
            )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Create the folder, lock it against other processes, and sweep what a killed process left behind.

        The lock is the operating system's: it ends with the process, however that ends.

        Raises:
            RunError: another process holds the run, or the folder cannot be written.
        """
        if not self.writes:
            yield
            return
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a+b", buffering=0)
        except OSError as error:
            raise self.write_error(self.path, error) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                holder = lock.read().decode(errors="replace").strip() or "another process"
                raise RunError(
                    f"{self.path} is in use by {holder}. Wait until it ends, stop it, or choose another --out."
                ) from None
            with contextlib.suppress(OSError):  # on a full disk the holder has no name, but the lock
                lock.truncate(0)
                lock.write(f"process {os.getpid()} on {platform.node()}".encode())
            sweep(self.path)
            sweep(self.path / "checkpoints")
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    lock.truncate(0)

    # -- files ---------------------------------------------------------------------------------------------------

    def write(self, name: str, content: str | bytes) -> Path:
        """Replace a file of the run atomically. Raises RunError."""
        target = self.path / name
        if not self.writes:
            return target
        try:
            write_atomic(target, content)
        except OSError as error:
            raise self.write_error(target, error) from None
        return target

    def read(self, name: str) -> str:
        """A text file of the run. Raises RunError."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no {name} yet. See what is done and what is next: archscout status {self.path}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"cannot read {self.path / name}: {error}.") from None

    def write_json(self, name: str, content: Any) -> Path:
        """Replace a JSON file of the run atomically."""
        return self.write(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """A JSON file of the run. Raises RunError."""
        try:
            return json.loads(self.read(name))
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / name} is damaged ({error}). Restore it, or run the stage again.") from None

    def has(self, name: str) -> bool:
        """Whether the run has a file."""
        return (self.path / name).is_file()

    def config(self) -> dict[str, Any]:
        """The settings that the run was started with."""
        self.require()
        content = yaml.safe_load(self.read("config.yaml"))
        if not isinstance(content, dict):
            raise RunError(f"{self.path / 'config.yaml'} is damaged: it holds no settings.")
        return content

    def write_lines(self, name: str, records: Sequence[dict[str, Any]]) -> Path:
        """Replace a file of JSON lines atomically."""
        return self.write(name, "".join(json.dumps(record) + "\n" for record in records))

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The records of a file of JSON lines; a last line torn by a kill is left out."""
        if not self.has(name):
            return []
        records = []
        for line in self.read(name).splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records

    # -- metrics -------------------------------------------------------------------------------------------------

    def metrics_log(self) -> IO[str]:
        """`metrics.jsonl`, open to append; a line torn by a kill is closed first."""
        path = self.path / "metrics.jsonl" if self.writes else Path(os.devnull)
        try:
            torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
            log = path.open("a", encoding="utf-8")
            if torn:
                log.write("\n")
        except OSError as error:
            raise self.write_error(path, error) from None
        return log

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """All steps of a stage in order. Where a step was repeated after a kill, its last line counts."""
        steps = {
            record["step"]: record
            for record in self.read_lines("metrics.jsonl")
            if isinstance(record, dict) and record.get("stage") == stage and "step" in record
        }
        return [steps[step] for step in sorted(steps)]

    # -- stages --------------------------------------------------------------------------------------------------

    def stages(self) -> dict[str, dict[str, Any]]:
        """What is known of each stage: seconds spent, whether it is complete."""
        return dict(self.read_json("stages.json")) if self.has("stages.json") else {}

    def update_stage(self, stage: str, **facts: Any) -> None:
        """Note facts of a stage."""
        stages = self.stages()
        stages[stage] = {**stages.get(stage, {}), **facts}
        self.write_json("stages.json", stages)

    def complete(self, stage: str) -> bool:
        """Whether a stage is complete."""
        return bool(self.stages().get(stage, {}).get("complete"))

    def forget(self, stages: Sequence[str], files: Sequence[str]) -> None:
        """Let stages start again: they are not complete, and have no metrics, checkpoints and files.

        The first step already makes them incomplete, so that a kill in between leaves nothing that looks finished.
        """
        if not self.writes:
            return
        self.write_json("stages.json", {name: facts for name, facts in self.stages().items() if name not in stages})
        records = [record for record in self.read_lines("metrics.jsonl") if record.get("stage") not in stages]
        self.write_lines("metrics.jsonl", records)
        for name in stages:
            for folder in self._checkpoints(name):
                shutil.rmtree(folder, ignore_errors=True)
        for file in files:
            (self.path / file).unlink(missing_ok=True)

    def remove_results(self) -> None:
        """Remove all that stages have made, so that the run is as it was when it began."""
        if not self.writes:
            return
        for entry in self.path.iterdir():
            if entry.name in KEPT_FOR_A_NEW_START:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        (self.path / "checkpoints").mkdir(exist_ok=True)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save_checkpoint(self, stage: str, step: int, state: Any) -> Path:
        """Write a checkpoint; the older ones beyond the last two are removed afterwards.

        Raises:
            OSError: the disk is full or not writable; older checkpoints are untouched.
        """
        from safetensors.torch import save

        parent = self.path / "checkpoints"
        target = parent / f"{stage}-{step:08d}"
        if not self.writes:
            return target
        tree, tensors = pack(state)
        needed = tensor_bytes(tensors)
        if shutil.disk_usage(parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(parent))
        files = {
            "tensors.safetensors": save(tensors),
            "state.json": json.dumps({"stage": stage, "step": step, "state": tree}).encode(),
        }
        manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        files["MANIFEST.json"] = json.dumps(
            {"format": "archscout.checkpoint", "version": 1, "sha256": manifest}
        ).encode()
        with atomic_directory(target) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
        for old in self._checkpoints(stage)[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def load_checkpoint(self, stage: str) -> tuple[int, Any] | None:
        """Step and state of the newest sound checkpoint of a stage; damaged ones are passed over with a warning."""
        for folder in reversed(self._checkpoints(stage)):
            try:
                return self._read_checkpoint(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.warnings.append(f"the checkpoint {folder.name} is damaged ({error}); the one before it is used.")
        return None

    def _checkpoints(self, stage: str) -> list[Path]:
        return sorted((self.path / "checkpoints").glob(f"{stage}-[0-9]*"))

    @staticmethod
    def _read_checkpoint(folder: Path) -> tuple[int, Any]:
        from safetensors.torch import load

        manifest = json.loads((folder / "MANIFEST.json").read_bytes())
        files = {name: (folder / name).read_bytes() for name in ("tensors.safetensors", "state.json")}
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
                raise ValueError(f"{name} does not match its digest")
        record = json.loads(files["state.json"])
        return record["step"], unpack(record["state"], load(files["tensors.safetensors"]))

    # -- errors --------------------------------------------------------------------------------------------------

    def write_error(self, path: Path, error: OSError) -> RunError:
        """The error for a failed write, in words."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return RunError(
                f"the disk is full: cannot write {path}. Free some space, then go on: archscout resume {self.path}"
            )
        return RunError(
            f"cannot write {path}: {error.strerror or error}. Choose a folder that you may write to with --out."
        )
