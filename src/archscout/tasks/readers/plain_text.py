"""Files of text as editors and spreadsheets write them: encodings and line ends."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.findings import Finding

__all__ = ["PlainText", "read_plain_text"]

# Longer marks first: that of UTF-16 begins that of UTF-32.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text has
SAMPLE = 4096  # bytes from which UTF-16 without its mark is recognised


@dataclass(frozen=True)
class PlainText:
    """The characters of a file, its bytes, and what is to be said of its encoding."""

    text: str
    content: bytes
    findings: tuple[Finding, ...] = ()

    def lines(self) -> list[str]:
        """The lines, whether they end as on Unix, on Windows or on old Macs."""
        return self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_plain_text(path: Path) -> PlainText:
    """The text of a file: UTF-8, with or without a mark, UTF-16 and UTF-32 with one, else Windows-1252 (with Latin-1).

    Only UTF-8 can be told from the bytes alone; that another encoding was taken for Windows-1252 is a finding.

    Raises:
        DataError: the file cannot be read, or holds bytes that are text in none of these.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from None
    for mark, encoding in MARKS:
        if content.startswith(mark):
            try:
                return PlainText(content[len(mark) :].decode(encoding), content)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path} is no text: it begins with the mark of {encoding}, but byte {error.start + len(mark):,} "
                    "does not fit. It is truncated or of another kind; get it again."
                ) from None
    unmarked = _unmarked_utf16(content)
    if unmarked is not None:
        raise DataError(
            f"{path} looks like {unmarked} without its mark. Convert it: iconv -f {unmarked} -t utf-8 {path.name}"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _western(path, content, error.start)
    zero = content.find(0)
    if zero >= 0:
        raise DataError(f"{path}, line {_line(content, zero)}: byte 0x00 is no text. The file is damaged, or no text.")
    return PlainText(text, content)


def _western(path: Path, content: bytes, place: int) -> PlainText:
    """A file whose byte at a place is not UTF-8, read as Windows-1252. Raises DataError."""
    control = CONTROL.search(content)
    if control is not None:
        raise DataError(
            f"{path} is no text: byte 0x{content[control.start()]:02x} in line {_line(content, control.start())}."
        )
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {_line(content, error.start)}: byte 0x{content[error.start]:02x} is neither UTF-8 nor "
            f"Windows-1252. Convert the file: iconv -f ENCODING -t utf-8 {path.name}"
        ) from None
    around = text[max(0, place - 10) : place + 10].replace("\r", " ").replace("\n", " ").strip()
    message = (
        f"{path.name}, line {_line(content, place)}: byte 0x{content[place]:02x} is not UTF-8; the file was read as "
        f"Windows-1252: '{around}'. If it should read otherwise: iconv -f ENCODING -t utf-8 {path.name}"
    )
    return PlainText(text, content, (Finding("doubtful", "encoding", message, (path.name,)),))


def _unmarked_utf16(content: bytes) -> str | None:
    """Which UTF-16 a file is in that has no mark: every second byte of Western text is zero."""
    sample = content[:SAMPLE]
    if len(sample) < 4:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.6 * half and even == 0:
        return "utf-16le"
    return "utf-16be" if even > 0.6 * half and odd == 0 else None


def _line(content: bytes, place: int) -> int:
    """The number of the line that a byte is in."""
    before = content[:place]
    return max(before.count(b"\n"), before.count(b"\r")) + 1
