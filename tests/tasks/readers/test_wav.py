from __future__ import annotations

import io
import os
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from archscout.errors import DataError
from archscout.tasks.readers.wav import BLOCK, inspect_wav, read_wav, resample

PCM, FLOAT = 1, 3
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # behind the two bytes of the code


def chunk(name: bytes, content: bytes, order: str = "<", size: int | None = None) -> bytes:
    told = len(content) if size is None else size
    return name + struct.pack(f"{order}I", told) + content + b"\0" * (len(content) % 2)


def form(code: int, channels: int, rate: int, bits: int, order: str = "<", *, extended: bool = False) -> bytes:
    block = channels * ((bits + 7) // 8)
    told = 0xFFFE if extended else code
    content = struct.pack(f"{order}HHIIHH", told, channels, rate, rate * block, block, bits)
    return content + (struct.pack(f"{order}HHIH", 22, bits, 0, code) + SUBFORMAT if extended else b"")


def riff(*chunks: bytes, start: bytes = b"RIFF", size: int | None = None) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return start + struct.pack(">I" if start == b"RIFX" else "<I", len(content) if size is None else size) + content


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


TONE = (np.sin(np.arange(3000) / 30) * 0.7).astype(np.float64)
THREE = b"".join(int(value * 2**23).to_bytes(3, "little", signed=True) for value in TONE)
STORED: dict[str, tuple[int, int, bytes, float]] = {
    "8 bits": (PCM, 8, (128 + np.round(TONE * 127)).astype(np.uint8).tobytes(), 1e-2),
    "16 bits": (PCM, 16, (TONE * 2**15).astype("<i2").tobytes(), 1e-4),
    "24 bits": (PCM, 24, THREE, 1e-6),
    "32 bits": (PCM, 32, (TONE * 2**31).astype("<i4").tobytes(), 1e-6),
    "float": (FLOAT, 32, TONE.astype("<f4").tobytes(), 1e-6),
    "double": (FLOAT, 64, TONE.astype("<f8").tobytes(), 1e-6),
}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("kind", STORED)
def test_every_type_is_the_same_sound_and_agrees_with_scipy(tmp_path: Path, kind: str, extended: bool) -> None:
    code, bits, content, tolerance = STORED[kind]
    path = write(
        tmp_path / "a.wav", riff(chunk(b"fmt ", form(code, 1, 8000, bits, extended=extended)), chunk(b"data", content))
    )
    samples, rate = read_wav(path)
    assert rate == 8000
    assert samples.dtype == np.float32
    assert np.allclose(samples, TONE, atol=tolerance)
    _, theirs = wavfile.read(path)
    scale = {"u1": 128, "i2": 2**15, "i4": 2**31}.get(theirs.dtype.str[1:], 1)
    theirs = theirs.astype(np.float64) - (128 if scale == 128 else 0)
    assert np.allclose(samples, theirs / scale, atol=1e-7)


@pytest.mark.parametrize("kind", ["16 bits", "24 bits", "float"])
def test_bytes_in_the_other_order_are_read(tmp_path: Path, kind: str) -> None:
    code, bits, content, tolerance = STORED[kind]
    width = bits // 8
    turned = np.frombuffer(content, np.uint8).reshape(-1, width)[:, ::-1].tobytes()
    path = write(
        tmp_path / "a.wav",
        riff(chunk(b"fmt ", form(code, 1, 8000, bits, ">"), ">"), chunk(b"data", turned, ">"), start=b"RIFX"),
    )
    assert np.allclose(read_wav(path)[0], TONE, atol=tolerance)


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([np.full(10, 0.5), np.full(10, -0.25)], 1)
    wavfile.write(tmp_path / "a.wav", 16_000, (both * 2**15).astype(np.int16))
    assert read_wav(tmp_path / "a.wav")[0].tolist() == [0.125] * 10
    assert inspect_wav(tmp_path / "a.wav").channels == 2


def test_a_part_of_a_long_recording_is_read_alone(tmp_path: Path) -> None:
    values = np.arange(BLOCK + 5000) % 30_000
    wavfile.write(tmp_path / "a.wav", 16_000, values.astype(np.int16))
    wav = inspect_wav(tmp_path / "a.wav")
    assert wav.seconds == len(values) / 16_000
    assert np.array_equal(read_wav(wav)[0], (values / 2**15).astype(np.float32))
    assert np.array_equal(read_wav(wav, 1000, BLOCK + 1)[0], (values[1000 : BLOCK + 1001] / 2**15).astype(np.float32))
    assert len(read_wav(wav, len(values) - 3, 10)[0]) == 3
    assert len(read_wav(wav, len(values) + 3)[0]) == 0


def test_other_chunks_are_passed_over(tmp_path: Path) -> None:
    content = STORED["16 bits"][2]
    path = write(
        tmp_path / "a.wav",
        riff(
            chunk(b"JUNK", b"x" * 37),
            chunk(b"fmt ", form(PCM, 1, 8000, 16)),
            chunk(b"LIST", b"INFOISFT\x04\0\0\0abc\0"),
            chunk(b"data", content),
            chunk(b"id3 ", b"y" * 11),
        ),
    )
    assert len(read_wav(path)[0]) == 3000


@pytest.mark.parametrize("told", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_size_that_was_never_filled_in_is_taken_from_the_file(tmp_path: Path, told: int) -> None:
    content = STORED["16 bits"][2]
    data = riff(chunk(b"fmt ", form(PCM, 1, 8000, 16)), chunk(b"data", content, size=told), size=told)
    assert len(read_wav(write(tmp_path / "a.wav", data))[0]) == 3000
    unfinished = riff(chunk(b"fmt ", form(PCM, 1, 8000, 16)), chunk(b"data", content, size=0), size=36)
    assert len(read_wav(write(tmp_path / "b.wav", unfinished))[0]) == 3000


def test_rf64_tells_its_size_in_64_bits(tmp_path: Path) -> None:
    content = STORED["16 bits"][2]
    sizes = struct.pack("<QQQI", 0, len(content), 3000, 0)
    parts = (
        chunk(b"fmt ", form(PCM, 1, 8000, 16)),
        chunk(b"data", content, size=0xFFFFFFFF),
        chunk(b"LIST", b"z" * 40),
    )
    path = write(tmp_path / "a.wav", riff(chunk(b"ds64", sizes), *parts, start=b"RF64", size=0xFFFFFFFF))
    assert len(read_wav(path)[0]) == 3000
    sizes = struct.pack("<QQQI", 0, 2**60, 2**59, 0)
    write(path, riff(chunk(b"ds64", sizes), *parts, start=b"RF64", size=0xFFFFFFFF))
    with pytest.raises(DataError, match=r"a\.wav is truncated: its header tells 1,152,921,504,606,846,976 bytes"):
        read_wav(path)


def test_the_standard_librarys_files_are_read(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(48_000)
        file.writeframes(THREE)
    wav = inspect_wav(tmp_path / "a.wav")
    assert (wav.rate, wav.channels, wav.frames, wav.width) == (48_000, 2, 1500, 3)


GOOD = riff(chunk(b"fmt ", form(PCM, 1, 8000, 16)), chunk(b"data", STORED["16 bits"][2]))
WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"is empty \(0 bytes\)"),
    "four bytes": (b"RIFF", "is truncated"),
    "text": (b"hello, this", r"is no \.wav file: it begins with 'hello, this'"),
    "mp3": (b"ID3\x04" + b"\0" * 100, r"is no \.wav file: it begins as MP3"),
    "mp4": (b"\0\0\0 ftypisom" + b"\0" * 100, "begins as MPEG-4"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid ...", "begins as a pointer of Git LFS"),
    "nothing but zeros": (b"\0" * 1000, r"begins with '\\x00"),
    "flac": (b"fLaC" + b"\0" * 100, "begins as FLAC"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", r"is no \.wav file: it begins as AVI"),
    "only a header": (GOOD[:36], "no chunk 'data'"),
    "cut": (GOOD[:-1000], "header tells 6,000 bytes of samples, 5,000 are there"),
    "a huge size": (GOOD[:40] + struct.pack("<I", 0xFFFFFFF0) + GOOD[44:], "truncated: its header tells 4,294,967,280"),
    "zeros": (GOOD[:12] + b"\0" * 1_000_000, "no chunk 'data'"),
    "no sound": (riff(chunk(b"fmt ", form(PCM, 1, 8000, 16)), chunk(b"data", b"")), "has no samples"),
    "no format": (riff(chunk(b"data", b"\0" * 100)), "no complete chunk 'fmt '"),
    "a short format": (riff(chunk(b"fmt ", b"\1\0\1\0"), chunk(b"data", b"\0" * 100)), "no complete chunk 'fmt '"),
    "mu-law": (riff(chunk(b"fmt ", form(7, 1, 8000, 8)), chunk(b"data", b"\0" * 9)), r"compressed \(mu-law\).*ffmpeg"),
    "unknown": (riff(chunk(b"fmt ", form(999, 1, 8000, 8)), chunk(b"data", b"\0" * 9)), r"compressed \(format 999\)"),
    "no channel": (riff(chunk(b"fmt ", form(PCM, 0, 8000, 16)), chunk(b"data", b"\0" * 9)), "0 channels"),
    "48 bits": (riff(chunk(b"fmt ", form(PCM, 1, 8000, 48)), chunk(b"data", b"\0" * 12)), "tells 48 bits a value"),
    "rate 0": (riff(chunk(b"fmt ", form(PCM, 1, 0, 16)), chunk(b"data", b"\0" * 8)), "tells 0 samples a second"),
    "a huge rate": (riff(chunk(b"fmt ", form(PCM, 1, 2**30, 16)), chunk(b"data", b"\0" * 8)), "samples a second"),
    "not finite": (
        riff(chunk(b"fmt ", form(FLOAT, 1, 8000, 32)), chunk(b"data", np.array([0, 1, np.nan], "<f4").tobytes())),
        "a value that is not finite, at sample 2",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_are_named_with_what_is_wrong(tmp_path: Path, kind: str) -> None:
    content, message = WRONG[kind]
    path = write(tmp_path / "some.wav", content)
    with pytest.raises(DataError, match=message) as raised:
        read_wav(path)
    assert str(path) in str(raised.value)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("folder.wav", "pipe.wav"):
        with pytest.raises(DataError, match=rf"{name} is no file"):
            read_wav(tmp_path / name)
    with pytest.raises(DataError, match=r"cannot read .*gone\.wav: No such file"):
        read_wav(tmp_path / "gone.wav")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 59), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_damaged_header_ends_in_a_sentence_or_in_samples(tmp_path: Path, place: int, value: int, cut: int) -> None:
    content = bytearray(riff(chunk(b"fmt ", form(PCM, 2, 8000, 16, extended=True)), chunk(b"data", b"\1\2" * 50)))
    content[place] = value
    path = write(tmp_path / "a.wav", bytes(content[: len(content) - cut]))
    try:
        samples, rate = read_wav(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert 0 < len(samples) <= len(content)
        assert np.isfinite(samples).all()
        assert 100 <= rate <= 768_000


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 48_000, 22_049])
def test_a_tone_stays_the_same_tone_at_another_rate(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    changed = resample(tone, rate, 22_050)
    wanted = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    assert changed.dtype == np.float32
    assert len(changed) == 22_050
    assert np.abs(changed - wanted)[2000:-2000].max() < 3e-3


def test_what_a_lower_rate_cannot_hold_is_filtered_out() -> None:
    tone: Any = np.sin(2 * np.pi * 9000 * np.arange(44_100) / 44_100).astype(np.float32)
    assert np.abs(resample(tone, 44_100, 8000))[100:-100].max() < 0.01
    assert resample(tone, 8000, 8000) is tone


def test_a_file_from_memory_of_scipy_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    wavfile.write(buffer, 22_050, TONE.astype(np.float32) * 2)
    samples, _ = read_wav(write(tmp_path / "loud.wav", buffer.getvalue()))
    assert np.allclose(samples, TONE * 2, atol=1e-6)  # beyond 1, as stored
