from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from archscout.errors import DataError, MissingExtraError, UnknownNameError
from archscout.tasks.published import fetch as fetch_module
from archscout.tasks.published.fetch import ARCHIVES, fetch

pytest.importorskip("pooch", reason="the extra `fetch` is not installed")


@dataclass
class Mirror:
    """A server on loopback whose behaviour a test sets.

    Attributes:
        content: of the one file.
        break_after: bytes after which a connection ends, for so many requests.
        ranges: whether it honours Range.
        status: answers with that instead.
        requests: the Range headers seen.
    """

    content: bytes = b""
    break_after: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 200
    requests: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        mirror = self.mirror
        wanted = self.headers.get("Range")
        mirror.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mirror.ranges else 0
        if mirror.status != 200:
            self.send_error(mirror.status)
            return
        if start and start >= len(mirror.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(mirror.content)}")
            self.end_headers()
            return
        body = mirror.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: mirror.break_after.pop(0)] if mirror.break_after else body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    mirror = Mirror()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"mirror": mirror}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}/data"
    monkeypatch.setattr(fetch_module, "WAIT", 0.0)
    yield mirror
    server.shutdown()
    thread.join()
    server.server_close()


def archive(members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change is not None:
                change(info)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


MEMBERS = {
    f"cifar-10-batches-py/{name}": hashlib.sha256(name.encode()).digest() * 500 for name in ARCHIVES["cifar10"].members
}


def serve(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let the mirror offer the content as the official archive."""
    mirror.content = content
    official = replace(ARCHIVES["cifar10"], md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    monkeypatch.setitem(ARCHIVES, "cifar10", official)


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_the_archive_is_fetched_checked_unpacked_and_removed(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(mirror, monkeypatch, archive(MEMBERS))
    seen: list[tuple[int, int | None]] = []
    root = tmp_path / "new" / "root"
    target = fetch("cifar10", root, base_url=mirror.url, progress=lambda *step: seen.append(step))
    assert target == root / "cifar-10-batches-py"
    assert (target / "batches.meta").read_bytes() == MEMBERS["cifar-10-batches-py/batches.meta"]
    assert left(root) == ["cifar-10-batches-py"]
    assert seen[-1] == (len(mirror.content), len(mirror.content))
    fetch("cifar10", root, base_url=mirror.url)
    assert len(mirror.requests) == 1  # what is there is not fetched again


def test_a_broken_connection_goes_on_where_it_broke(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(mirror, monkeypatch, archive(MEMBERS))
    mirror.break_after = [100, 50]
    fetch("cifar10", tmp_path, base_url=mirror.url)
    assert mirror.requests == [None, "bytes=100-", "bytes=150-"]
    assert left(tmp_path) == ["cifar-10-batches-py"]


def test_a_later_call_goes_on_too(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(mirror, monkeypatch, archive(MEMBERS))
    mirror.break_after = [10] * 5
    with pytest.raises(DataError, match=r"connection broke after 50 of \d+ bytes.*\(50 bytes\) is kept"):
        fetch("cifar10", tmp_path, base_url=mirror.url)
    assert left(tmp_path) == ["cifar-10-python.tar.gz.part"]
    fetch("cifar10", tmp_path, base_url=mirror.url)
    assert mirror.requests[-1] == "bytes=50-"
    assert left(tmp_path) == ["cifar-10-batches-py"]


def test_a_server_without_ranges_sends_the_whole_again(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(mirror, monkeypatch, archive(MEMBERS))
    mirror.ranges, mirror.break_after = False, [100]
    assert fetch("cifar10", tmp_path, base_url=mirror.url).is_dir()


@pytest.mark.parametrize("extra", [0, 7])
def test_a_partial_file_as_long_as_the_archive_or_longer(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extra: int
) -> None:
    serve(mirror, monkeypatch, archive(MEMBERS))
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(mirror.content + bytes(extra))
    assert fetch("cifar10", tmp_path, base_url=mirror.url).is_dir()
    assert len(mirror.requests) == (1 if extra == 0 else 2)


def test_wrong_bytes_are_refused_and_removed(mirror: Mirror, tmp_path: Path) -> None:
    mirror.content = archive(MEMBERS)  # not the official digest
    with pytest.raises(DataError, match="MD5 digest is not c58f30108f718f92721af3b95e74349a"):
        fetch("cifar10", tmp_path, base_url=mirror.url)
    assert left(tmp_path) == []


def evil_parent(info: tarfile.TarInfo) -> None:
    if info.name.endswith("batches.meta"):
        info.name = "../evil"


def evil_absolute(info: tarfile.TarInfo) -> None:
    if info.name.endswith("batches.meta"):
        info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


def evil_device(info: tarfile.TarInfo) -> None:
    if info.name.endswith("batches.meta"):
        info.type, info.size = tarfile.CHRTYPE, 0


@pytest.mark.parametrize("change", [evil_parent, evil_absolute, evil_device])
def test_an_archive_that_reaches_outside_is_refused_whole(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[tarfile.TarInfo], None]
) -> None:
    serve(mirror, monkeypatch, archive(MEMBERS, change))
    root = tmp_path / "root"
    with pytest.raises(DataError, match="is refused, nothing was unpacked"):
        fetch("cifar10", root, base_url=mirror.url)
    assert left(root) == ["cifar-10-python.tar.gz"]
    assert left(tmp_path) == ["root"]


def test_an_archive_without_the_files_or_no_archive_is_told(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(mirror, monkeypatch, archive({"cifar-10-batches-py/data_batch_1": b"x"}))
    with pytest.raises(DataError, match="has no cifar-10-batches-py/data_batch_2"):
        fetch("cifar10", tmp_path / "a", base_url=mirror.url)
    assert left(tmp_path / "a") == ["cifar-10-python.tar.gz"]
    serve(mirror, monkeypatch, archive(MEMBERS)[:-300])
    with pytest.raises(DataError, match="no archive that can be read"):
        fetch("cifar10", tmp_path / "b", base_url=mirror.url)
    assert left(tmp_path / "b") == ["cifar-10-python.tar.gz"]


def test_server_errors_and_unreachable_servers_are_told(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mirror.status = 404
    with pytest.raises(DataError, match="the server answers 404"):
        fetch("cifar10", tmp_path, base_url=mirror.url)
    assert len(mirror.requests) == 1
    mirror.status = 503
    with pytest.raises(DataError, match="the server answers 503"):
        fetch("cifar10", tmp_path, base_url=mirror.url)
    assert len(mirror.requests) == 1 + fetch_module.ATTEMPTS
    with pytest.raises(DataError, match=r"cannot fetch http://127.0.0.1:1/cifar-10-python.tar.gz"):
        fetch("cifar10", tmp_path, base_url="http://127.0.0.1:1")
    with pytest.raises(DataError, match="must start with https://"):
        fetch("cifar10", tmp_path, base_url="file:///etc")
    assert left(tmp_path) == []


def test_an_incomplete_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match=r"exists, but lacks data_batch_1, .*Remove that folder"):
        fetch("cifar10", tmp_path)


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"cannot write cifar-10-python.tar.gz under"):
        fetch("cifar10", tmp_path / "file" / "root")


def test_a_full_disk_is_told(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    serve(mirror, monkeypatch, archive(MEMBERS))
    monkeypatch.setattr(fetch_module, "_unpack", full)
    with pytest.raises(DataError, match=r"no space left for cifar-10-python.tar.gz"):
        fetch("cifar10", tmp_path, base_url=mirror.url)


def test_unknown_names_and_the_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean cifar10"):
        fetch("cifar-10", tmp_path)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archscout\[fetch\]'"):
        fetch("cifar10", tmp_path)


def test_official_digests() -> None:
    assert {name: archive.md5 for name, archive in ARCHIVES.items()} == {
        "cifar10": "c58f30108f718f92721af3b95e74349a",
        "cifar100": "eb9058c3a382ffc7106e4002c42a8d85",
    }
