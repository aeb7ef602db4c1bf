"""Read `.wav` files of every rate and of every layout that is not compressed.

`scipy.io.wavfile` reads whole files only, and asks for as much memory as a header claims. Here the header is read first
and checked against the size of the file: durations of many files cost little, a part of a long recording is read alone,
and a size that was never filled in (a recording that was written to a pipe) is taken from the file.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from archscout.errors import DataError

__all__ = ["WavFile", "inspect_wav", "read_wav", "resample"]

Samples = np.ndarray[Any, np.dtype[np.float32]]

RATES = (100, 768_000)  # samples a second; others are no sound
INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE
WIDTHS = {INTEGERS: (1, 2, 3, 4), FLOATS: (4, 8)}  # bytes of a value
COMPRESSED = {2: "Microsoft ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM 6.10", 80: "MPEG", 85: "MP3"}
# Sizes that programs write which cannot go back to fill them in: ffmpeg (RF64 too), sox, arecord.
NEVER_FILLED_IN = (0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000)
# What other files begin with, at which byte.
BEGINNINGS = {
    (0, b"ID3"): "MP3",
    (0, b"\xff\xfb"): "MP3",
    (0, b"OggS"): "Ogg",
    (0, b"fLaC"): "FLAC",
    (8, b"AIFF"): "AIFF",
    (8, b"AIFC"): "AIFF",
    (8, b"AVI "): "AVI",
    (4, b"ftyp"): "MPEG-4",
    (0, b"caff"): "CAF",
    (0, b"version http"): "a pointer of Git LFS (git lfs pull gets the file)",
}
MOST_CHUNKS = 10_000  # before the samples
BLOCK = 1 << 18  # frames that are converted at a time


@dataclass(frozen=True)
class WavFile:
    """What the header of a `.wav` file tells.

    Attributes:
        path: of the file.
        rate: samples a second.
        channels: 1 or more.
        frames: samples of each channel.
        width: bytes of a value.
        floating: whether values are floating-point numbers.
        order: of the bytes of a value, `<` or `>`.
        offset: of the first value in the file, in bytes.
        size, modified: of the file, in bytes and in nanoseconds, when the header was read.
    """

    path: Path
    rate: int
    channels: int
    frames: int
    width: int
    floating: bool
    order: str
    offset: int
    size: int
    modified: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.rate


def inspect_wav(path: Path) -> WavFile:
    """The header of a file, checked against the size of the file.

    Raises:
        DataError: missing, no `.wav` file, truncated, compressed, without sound, or with an impossible header.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no file; remove or rename it.")
        with path.open("rb") as file:
            return _read_header(path, file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from None


def _read_header(path: Path, file: BinaryIO) -> WavFile:
    state = os.fstat(file.fileno())
    size = state.st_size
    start = file.read(12)
    if size == 0:
        raise DataError(f"{path} is empty (0 bytes). Get it again, or remove it.")
    if start[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or (len(start) == 12 and start[8:] != b"WAVE"):
        what = next((name for (place, known), name in BEGINNINGS.items() if start[place:].startswith(known)), "")
        seen = f"it begins as {what}" if what else f"it begins with {repr(start)[1:]}"
        raise DataError(f"{path} is no .wav file: {seen}. Convert it (ffmpeg -i IN OUT.wav), or remove it.")
    order = ">" if start[:4] == b"RIFX" else "<"
    form, large = b"", None  # large: the size of the samples, where 32 bits do not hold it
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack(f"{order}I", head[4:])[0]
        if name == b"data":
            whole = struct.unpack(f"{order}I", start[4:8])[0] + 8
            open_ended = length in NEVER_FILLED_IN or (length == 0 and whole <= file.tell())
            told = large if length == NEVER_FILLED_IN[0] and large is not None else length
            there = size - file.tell()
            if told > there and (not open_ended or told == large):
                raise DataError(
                    f"{path} is truncated: its header tells {told:,} bytes of samples, {there:,} are there. Get it "
                    "again, or remove it."
                )
            told = there if open_ended and told != large else told
            return _layout(path, state, order, form, told, file.tell())
        content = file.read(min(length, 64)) if name in (b"fmt ", b"ds64") else b""
        if name == b"fmt ":
            form = content
        elif name == b"ds64" and len(content) >= 16:
            large = struct.unpack(f"{order}Q", content[8:16])[0]
        file.seek(length - len(content) + length % 2, os.SEEK_CUR)  # chunks begin at even places
    raise DataError(f"{path} is truncated: its {size:,} bytes hold no samples (no chunk 'data'). Get it again.")


def _layout(path: Path, state: os.stat_result, order: str, form: bytes, size: int, offset: int) -> WavFile:
    """The file, from its chunk 'fmt ' and the place and number of the bytes of its samples."""
    if len(form) < 16:
        raise DataError(f"{path} is damaged: its samples have no complete chunk 'fmt ' before them. Get it again.")
    code, channels, rate, _, block, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    if code == EXTENSIBLE and len(form) >= 26:
        code = struct.unpack(f"{order}H", form[24:26])[0]
    if code not in WIDTHS:
        raise DataError(
            f"{path} is compressed ({COMPRESSED.get(code, f'format {code}')}); only plain samples are read. Convert "
            "it: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
        )
    width = block // channels if channels else 0
    # 12 or 20 bits lie in the upper part of 2 or 3 bytes.
    fits = width in WIDTHS[code] and block == width * channels and (bits + 7) // 8 == width
    if not fits:
        raise DataError(
            f"{path} tells {bits} bits a value and {block} bytes for {channels} channels, which is not read: values "
            "have 8, 16, 24 or 32 bits, or 32 or 64 as floating-point numbers. It may be damaged; get it again."
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(
            f"{path} tells {rate:,} samples a second; sounds have {RATES[0]:,} to {RATES[1]:,}. It may be damaged; get "
            "it again."
        )
    if size < block:
        raise DataError(f"{path} has no samples: 0 seconds of sound. Get it again, or remove it.")
    return WavFile(
        path=path,
        rate=rate,
        channels=channels,
        frames=size // block,
        width=width,
        floating=code == FLOATS,
        order=order,
        offset=offset,
        size=state.st_size,
        modified=state.st_mtime_ns,
    )


def read_wav(source: Path | WavFile, start: int = 0, frames: int | None = None) -> tuple[Samples, int]:
    """Samples as float32, channels averaged, and their rate.

    Whole numbers become values in [-1, 1). Floating-point values are as stored, beyond 1 as well.

    Args:
        source: the file, or its header.
        start: the first frame.
        frames: at most so many; None: all that follow.

    Raises:
        DataError: as `inspect_wav`, or values that are not finite.
    """
    wav = inspect_wav(source) if isinstance(source, Path) else source
    count = max(0, wav.frames - start)
    count = count if frames is None else min(count, frames)
    samples: Samples = np.empty(count, np.float32)
    block = wav.width * wav.channels
    try:
        with wav.path.open("rb") as file:
            file.seek(wav.offset + start * block)
            for begin in range(0, count, BLOCK):
                size = min(BLOCK, count - begin)
                content = file.read(size * block)
                if len(content) < size * block:
                    raise DataError(f"{wav.path} became shorter while it was read. Start again.")
                values = _decode(content, wav).reshape(size, wav.channels)
                samples[begin : begin + size] = values.mean(1, dtype=np.float64)
    except OSError as error:
        raise DataError(f"cannot read {wav.path}: {error.strerror or error}.") from None
    if wav.floating and not np.isfinite(samples).all():
        place = start + int(np.flatnonzero(~np.isfinite(samples))[0])
        raise DataError(f"{wav.path} has a value that is not finite, at sample {place:,}. Repair or remove it.")
    return samples, wav.rate


def _decode(content: bytes, wav: WavFile) -> np.ndarray[Any, Any]:
    if wav.floating:
        return np.frombuffer(content, f"{wav.order}f{wav.width}")
    if wav.width == 1:  # the only values without a sign
        return (np.frombuffer(content, np.uint8).astype(np.float32) - 128) / 128
    if wav.width == 3:
        parts = np.frombuffer(content, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(parts), 4), np.uint8)
        wide[:, slice(1, 4) if wav.order == "<" else slice(0, 3)] = parts
        return wide.view(f"{wav.order}i4")[:, 0] / 2.0**31
    return np.frombuffer(content, f"{wav.order}i{wav.width}") / 2.0 ** (8 * wav.width - 1)


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """The sound at another rate, by a polyphase filter that keeps what lies above half of the lower rate out."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, wanted)
    resampled: Samples = resample_poly(samples, wanted // divisor, rate // divisor).astype(np.float32)
    return resampled
