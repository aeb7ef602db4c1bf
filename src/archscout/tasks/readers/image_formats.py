"""Which files are images, and opening them: formats by content, true reasons where one cannot be read."""

from __future__ import annotations

import functools
import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile

__all__ = [
    "FRAMED",
    "IMAGE_SUFFIXES",
    "UnreadableError",
    "can_read_heic",
    "check_regular",
    "is_image_name",
    "load",
    "open_checked",
    "open_file",
    "patient",
    "unreadable",
]

# The suffix says only that a file is meant to be an image; which format it has is told by its content.
# fmt: off
IMAGE_SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif",
        ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k",
        ".j2c", ".jpc", ".jpf", ".jpx", ".tga", ".icb", ".vda", ".vst", ".ico", ".cur", ".icns", ".pcx", ".dcx",
        ".sgi", ".rgb", ".rgba", ".bw", ".qoi", ".dds", ".psd", ".xbm", ".xpm", ".ras", ".msp", ".fits", ".fit",
    )
)
# Formats that Pillow decodes by itself. Left out: those that start other programs (EPS), or that only name a file.
FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "MPO", "AVIF", "JPEG2000", "ICO", "CUR", "ICNS",
    "PCX", "DCX", "SGI", "QOI", "DDS", "PSD", "XBM", "XPM", "SUN", "MSP", "FITS", "HEIF",
)
# fmt: on
TGA_SUFFIXES = frozenset((".tga", ".icb", ".vda", ".vst"))  # known by its name only: it begins with no mark
FRAMED = frozenset(("GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF", "DCX", "HEIF"))  # whose frames are images of their own
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
MARKS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}
LARGE_FILE = 2**26  # bytes
NO_IMAGE = "no image that can be read"


class UnreadableError(Exception):
    """A file that is no image that can be read; its text is the reason, without the file's name.

    Attributes:
        lasting: the reason lies in the file's content, so it stays as long as that.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting


def is_image_name(name: str) -> bool:
    """Whether a file of this name is meant to be an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def can_read_heic() -> bool:
    """Whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has."""
    if can_read_heic():
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def patient() -> Iterator[None]:
    """Within the block Pillow does not warn: of large images, odd tags, palettes. What matters is told by findings.

    Filters of warnings belong to the whole process: enter it around threads, not in them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield


def check_regular(path: Path) -> os.stat_result:
    """The facts of a regular file. Raises UnreadableError for anything else: to open a pipe would wait for ever."""
    try:
        facts = path.stat()
    except OSError as error:
        if path.is_symlink():
            raise UnreadableError(f"a link that leads nowhere ({error.strerror})", lasting=False) from None
        raise UnreadableError(error.strerror or str(error), lasting=False) from None
    except ValueError as error:  # a name with a null character
        raise UnreadableError(str(error), lasting=False) from None
    if stat.S_ISREG(facts.st_mode):
        if facts.st_size == 0:
            raise UnreadableError("an empty file")
        return facts
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe, no file",
        stat.S_ISSOCK: "a socket, no file",
        stat.S_ISCHR: "a device, no file",
        stat.S_ISBLK: "a device, no file",
    }
    told = next((told for is_kind, told in kinds.items() if is_kind(facts.st_mode)), "no file")
    raise UnreadableError(told, lasting=False)


def open_file(path: Path, size: int) -> io.BytesIO | io.BufferedReader:
    """The content of a file of that many bytes, in memory unless it is very large."""
    return path.open("rb") if size > LARGE_FILE else io.BytesIO(path.read_bytes())


def open_checked(file: IO[bytes], suffix: str) -> ImageFile.ImageFile:
    """The image of an open file, not decoded yet. Raises UnreadableError."""
    formats = [*_formats(), *(["TGA"] if suffix.lower() in TGA_SUFFIXES else [])]
    try:
        return Image.open(file, formats=formats)
    except Exception as error:  # a damaged file can raise nearly anything
        raise unreadable(error, file) from None


def load(image: Image.Image) -> None:
    """Decode the image. Raises UnreadableError."""
    try:
        image.load()
    except Exception as error:
        raise unreadable(error) from None


def unreadable(error: Exception, file: IO[bytes] | None = None) -> UnreadableError:
    """What a decoder's error means, in words.

    Args:
        file: of an image that could not be opened.
    """
    if isinstance(error, UnreadableError):
        return error
    if isinstance(error, MemoryError):
        return UnreadableError("there is not enough memory to decode it", lasting=False)
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return UnreadableError(f"its header tells of more than {most:,} pixels, which is too many", lasting=False)
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableError(error.strerror or str(error), lasting=False)
    text = " ".join(str(error).split())
    if "truncated" in text.lower():
        return UnreadableError("the file ends too early")
    if "cannot identify" not in text or file is None:
        return UnreadableError(text or type(error).__name__)
    file.seek(0)
    start = file.read(16)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS and not can_read_heic():
        return UnreadableError('HEIC, which needs another package: pip install "archscout[heic]"', lasting=False)
    named = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    if named is None:
        said = start.lstrip().lower()
        if said.startswith((b"<html", b"<!doctype", b"<?xml", b"<svg", b"{")):
            return UnreadableError("a text, for example a web page, no image")
        return UnreadableError(NO_IMAGE)
    return UnreadableError(f"{NO_IMAGE}: a {named} file that is damaged, or of a kind that Pillow does not know")
