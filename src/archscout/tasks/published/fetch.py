"""Fetch the official archives of registered tasks, when the user asks for it."""

from __future__ import annotations

import errno
import gzip
import http.client
import shutil
import ssl
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archscout.errors import DataError, MissingExtraError, UnknownNameError
from archscout.tasks.published.cifar import CIFAR10, CIFAR100

__all__ = ["ARCHIVES", "Archive", "Progress", "fetch"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and, where it is known, their number in all."""

ATTEMPTS = 5
WAIT = 1.0  # seconds before the second attempt, doubled each time
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 2**18  # bytes


@dataclass(frozen=True)
class Archive:
    """An official archive.

    Attributes:
        file: its name at the publisher.
        md5: its digest, hexadecimal, as published.
        folder: what it unpacks to.
        members: files that the folder must have.
    """

    file: str
    md5: str
    folder: str
    members: tuple[str, ...]


BASE_URL = "https://www.cs.toronto.edu/~kriz/"
ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        CIFAR10.folder,
        (*CIFAR10.train, *CIFAR10.test, CIFAR10.names_file),
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        CIFAR100.folder,
        (*CIFAR100.train, *CIFAR100.test, CIFAR100.names_file),
    ),
}


def fetch(name: str, root: Path, *, base_url: str | None = None, progress: Progress | None = None) -> Path:
    """Download, check and unpack the official archive of a task; returns the unpacked folder.

    What is already there is kept. A broken download goes on where it broke, also in a later call. The archive is
    unpacked beside its place and renamed when complete, then removed.

    Args:
        name: "cifar10" or "cifar100".
        root: where the folder is wanted; made if missing. The same folder serves `--data` and `ARCHSCOUT_DATA`.
        base_url: of a mirror, "https://.../"; default: the publisher's.
        progress: told of every piece that arrives.

    Raises:
        UnknownNameError: no archive is known for the name.
        MissingExtraError: pooch is not installed (extra `fetch`).
        DataError: unreachable, wrong digest, an unsafe archive, no space, or no permission.
    """
    if name not in ARCHIVES:
        raise UnknownNameError("archive", name, ARCHIVES, "Other data must be got from its owners.")
    archive = ARCHIVES[name]
    target = root / archive.folder
    if target.exists():
        missing = [member for member in archive.members if not (target / member).is_file()]
        if missing:
            raise DataError(f"{target} exists, but lacks {', '.join(missing)}. Remove that folder, then fetch again.")
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        path = _download(archive, root, (base_url or BASE_URL).rstrip("/") + "/" + archive.file, progress)
        _unpack(archive, path, root)
        path.unlink()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"no space left for {archive.file} under {root}. Free some, then fetch again.") from None
        raise DataError(f"cannot write {archive.file} under {root}: {error.strerror or error}.") from None
    return target


def _download(archive: Archive, root: Path, url: str, progress: Progress | None) -> Path:
    """The archive, its digest checked by pooch."""
    try:
        import pooch
    except ImportError:
        raise MissingExtraError("pooch", "fetch", f"fetching {archive.file}") from None
    part = root / (archive.file + ".part")

    def downloader(source: str, output: str, _: Any) -> None:
        _download_resuming(source, part, progress)
        part.replace(output)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # it would print the addresses; progress is the caller's to show
    try:
        found = pooch.retrieve(url, f"md5:{archive.md5}", fname=archive.file, path=root, downloader=downloader)
    except ValueError as error:  # pooch's word for a wrong digest; it has removed the file
        if "hash" not in str(error):
            raise
        raise DataError(
            f"{url} is not the official {archive.file}: its MD5 digest is not {archive.md5}. The file was removed; "
            "fetch again, or name another mirror."
        ) from None
    finally:
        logger.setLevel(level)
    return Path(found)


class _BrokenOffError(Exception):
    """The server stopped before the end."""


def _download_resuming(url: str, part: Path, progress: Progress | None) -> None:
    """Download to `part`, going on at its end; several attempts."""
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url} is no address to fetch from; it must start with https:// or http://.")
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT * 2 ** (attempt - 1))
        try:
            _request(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                break
        except OSError as error:
            if isinstance(error, urllib.error.URLError):
                reason = str(error.reason)
            elif isinstance(error, TimeoutError | ConnectionError | ssl.SSLError):
                reason = str(error) or type(error).__name__
            else:
                raise  # of the disk, not of the network
        except (_BrokenOffError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
    raise DataError(
        f"cannot fetch {url}: {reason}. What has arrived ({_size(part)} bytes) is kept; fetch again to go on."
    )


def _request(url: str, part: Path, progress: Progress | None) -> None:
    """One request for what is still missing. Raises if the end was not reached."""
    here = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={here}-"} if here else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - the scheme is checked above
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{here}":
            return  # all of it was here already
        part.unlink()  # longer than the file: not a part of it
        raise _BrokenOffError("the partial file did not belong to this address") from None
    with response:
        if response.status != 206:
            here = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        total = here + int(length) if length else None
        with part.open("r+b" if here else "wb") as file:
            file.seek(here)
            while piece := response.read(CHUNK):
                file.write(piece)
                here += len(piece)
                if progress is not None:
                    progress(here, total)
    if total is not None and here < total:
        raise _BrokenOffError(f"the connection broke after {here} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unpack(archive: Archive, path: Path, root: Path) -> None:
    """Unpack aside, check, rename: the folder appears whole or not at all."""
    aside = Path(tempfile.mkdtemp(prefix=f".{archive.folder}-", dir=root))
    try:
        with tarfile.open(path) as tar:
            tar.extractall(aside, filter="data")
        missing = [member for member in archive.members if not (aside / archive.folder / member).is_file()]
        if missing:
            raise DataError(f"{path} has no {archive.folder}/{missing[0]}; it is not the official archive.")
        (aside / archive.folder).rename(root / archive.folder)
    except tarfile.FilterError as error:
        raise DataError(f"{path} is refused, nothing was unpacked: {error}.") from None
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no archive that can be read ({error}). Remove it, then fetch again.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
