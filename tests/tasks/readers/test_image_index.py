from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from archscout.tasks.readers import image_cache, image_index
from archscout.tasks.readers.image_index import ImageIndex, index_images
from archscout.tasks.registry import user_cache
from tests.tasks.images_on_disk import can_write, write_image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return user_cache() / image_cache.FOLDER


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content is read."""
    names: list[str] = []
    look = image_index._look

    def counted(path: Path, facts: Any) -> None:
        names.append(path.name)
        look(path, facts)

    monkeypatch.setattr(image_index, "_look", counted)
    return names


def same(first: ImageIndex, second: ImageIndex) -> bool:
    return (first.names, first.reasons) == (second.names, second.reasons) and bool(
        np.array_equal(first.facts.view("u1"), second.facts.view("u1"))
    )


def folder(root: Path, count: int = 5) -> list[str]:
    names = [f"a/{number}\u00fc.png" for number in range(count)]
    for number, name in enumerate(names):
        write_image(root / name, size=(12 + number, 10), seed=number)
    return names


def test_facts_of_each_file(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", size=(32, 16))
    grey = write_image(tmp_path / "b.bmp", size=(16, 16), grey=True)
    index = index_images(tmp_path, ["a.png", "b.bmp"])
    first = index.facts[0]
    assert first["size"] == path.stat().st_size
    assert first["mtime_ns"] == path.stat().st_mtime_ns
    assert [first[name] for name in ("height", "width", "mode", "format", "depth", "orientation", "frames")] == [
        *(16, 32, b"RGB", b"PNG", 8, 1, 1)
    ]
    assert index.digests() == [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, grey)]
    assert index.facts["grey"].tolist() == [False, True]
    pixels = np.asarray(Image.open(path).convert("L")).astype(float)
    assert np.abs(index.thumbnails()[0] - pixels.reshape(16, 16, 2).mean(2)).max() <= 1
    assert np.array_equal(index.thumbnails()[1], np.asarray(Image.open(grey)))
    assert (index.facts["low"][1], index.facts["high"][1]) == (np.asarray(Image.open(grey)).min(), 255)


def test_images_of_one_colour_are_known_even_where_jpeg_blocks_have_equal_means(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), (9, 80, 7)).save(tmp_path / "plain.jpg")
    checked = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checked).save(tmp_path / "checked.jpg", quality=95)
    Image.fromarray(np.full((5, 5), 700, np.uint16)).save(tmp_path / "deep.png")
    index = index_images(tmp_path, ["plain.jpg", "checked.jpg", "deep.png"])
    assert index.facts["uniform"].tolist() == [True, False, True]
    assert (index.facts["height"][0], index.facts["width"][0]) == (300, 300)


def test_a_second_start_reads_nothing_and_a_changed_file_alone_is_read_again(tmp_path: Path, opened: list[str]) -> None:
    names = folder(tmp_path)
    first = index_images(tmp_path, names)
    assert len(opened) == 5
    opened.clear()
    assert same(index_images(tmp_path, names), first)
    assert opened == []
    write_image(tmp_path / names[2], size=(20, 20), seed=9)
    write_image(tmp_path / "a" / "new.png")
    again = index_images(tmp_path, [*names, "a/new.png"])
    assert sorted(opened) == ["2\u00fc.png", "new.png"]
    assert again.facts["width"].tolist() == [12, 13, 20, 15, 16, 12]


def test_files_that_change_places_are_read_again_though_sizes_and_times_are_equal(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_image(tmp_path / f"{name}.bmp", seed=number)
        os.utime(tmp_path / f"{name}.bmp", ns=(10**18, 10**18))
    before = index_images(tmp_path, ["a.bmp", "b.bmp"]).digests()
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (tmp_path / f"{old}.bmp").rename(tmp_path / f"{new}.bmp")
    assert index_images(tmp_path, ["a.bmp", "b.bmp"]).digests() == before[::-1]


def test_reasons_are_kept_as_well_but_not_those_that_may_pass(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_text("no image")
    write_image(tmp_path / "b.png")
    assert index_images(tmp_path, ["a.png", "b.png"]).damaged == ("a.png",)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    write_image(tmp_path / "c.png")
    assert index_images(tmp_path, ["a.png", "b.png", "c.png"]).damaged == ("a.png", "c.png")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened.clear()
    assert index_images(tmp_path, ["a.png", "b.png", "c.png"]).damaged == ("a.png",)


def test_a_cache_that_is_damaged_or_cannot_be_written_only_costs_time(tmp_path: Path, cache: Path) -> None:
    names = folder(tmp_path)
    first = index_images(tmp_path, names)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    for damaged in (
        b"",
        b"text",
        content[:300],
        content[: len(content) // 2] + b"?" * 9 + content[len(content) // 2 :],
    ):
        file.write_bytes(damaged)
        assert same(index_images(tmp_path, names), first)
    shutil.rmtree(cache.parent)
    cache.parent.write_text("in the way")
    assert same(index_images(tmp_path, names), first)
    cache.parent.unlink()


def test_what_is_kept_of_another_program_or_folder_does_not_count(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = folder(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    index_images(tmp_path / "one", names)
    index_images(tmp_path / "two", names)
    monkeypatch.setattr(image_cache, "version", lambda package: "another")
    index_images(tmp_path / "one", names)
    assert len(opened) == 15


def test_old_caches_are_removed_where_all_together_are_large(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = folder(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    index_images(tmp_path / "one", names)
    (first,) = cache.iterdir()
    os.utime(first, ns=(0, 0))
    monkeypatch.setattr(image_cache, "MOST_BYTES", first.stat().st_size * 3 // 2)
    index_images(tmp_path / "two", names)
    assert len(list(cache.iterdir())) == 1
    assert not first.exists()


def bomb(side: int) -> bytes:
    """A PNG file whose header tells of so many pixels a side."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_everything_that_is_no_readable_image_has_its_reason(tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png", size=(64, 64)).read_bytes()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "linked.png").symlink_to("good.png")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)
        listening.bind("socket.png")
        os.chdir(here)
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "page.png").write_text("<html>403 Forbidden</html>")
    (tmp_path / "bomb.png").write_bytes(bomb(100_000))
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "TIFF")
    (tmp_path / "odd.tif").write_bytes(file.getvalue()[:20])
    reasons = {
        "good.png": "",
        "linked.png": "",
        "folder.png": "a folder",
        "pipe.png": "a pipe, no file",
        "link.png": "a link that leads nowhere (No such file or directory)",
        "loop.png": "a link that leads nowhere (Too many levels of symbolic links)",
        "device.png": "a device, no file",
        "socket.png": "a socket, no file",
        "empty.png": "an empty file",
        "cut.png": "the file ends too early",
        "page.png": "a text, for example a web page, no image",
        "bomb.png": "its header tells of more than 178,956,970 pixels, which is too many",
        "odd.tif": "no image that can be read: a TIFF file that is damaged, or of a kind that Pillow does not know",
        "missing.png": "No such file or directory",
    }
    index = index_images(tmp_path, list(reasons))
    assert dict(zip(index.names, index.reasons, strict=True)) == reasons
    (finding,) = index.damage(skip=False)
    assert (finding.level, finding.code) == ("wrong", "damaged")
    assert finding.message.startswith("12 of 14 images cannot be read")
    assert "--skip-damaged" in finding.message
    assert finding.names[0] == "folder.png: a folder"
    assert len(finding.names) == 12
    (finding,) = index.damage(skip=True)
    assert (finding.level, finding.message) == ("doubtful", "12 of 14 images cannot be read and are left out.")
    assert index.select(index.readable).names == ("good.png", "linked.png")
    assert index.select(~index.readable).damage(skip=True)[0].level == "wrong"


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif", "ppm", "tga", "qoi", "jp2"])
@pytest.mark.parametrize(("size", "fraction"), [((64, 64), 0.02), ((64, 64), 0.5), ((64, 64), 0.9), ((500, 400), 0.9)])
def test_truncated_images_are_found(tmp_path: Path, suffix: str, fraction: float, size: tuple[int, int]) -> None:
    if not can_write(f".{suffix}"):
        pytest.skip(f"this Pillow writes no {suffix}")
    path = write_image(tmp_path / f"a.{suffix}", size=size)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    assert index_images(tmp_path, [path.name]).damaged == (path.name,)


def test_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = folder(tmp_path, 9)
    monkeypatch.setattr(image_index, "SMALL_FILE", 0)
    monkeypatch.setattr(image_index, "CHUNK", 2)
    found = []
    for workers in (0, 3):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{workers}"))
        found.append(index_images(tmp_path, names, workers=workers))
    assert same(*found)


def test_no_images_make_an_empty_index(tmp_path: Path) -> None:
    index = index_images(tmp_path, [])
    assert (len(index), index.damage(skip=False), index.thumbnails().shape) == (0, [], (0, 16, 16))
