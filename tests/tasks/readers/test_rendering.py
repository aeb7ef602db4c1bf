"""What a person sees in an image is what networks see, whatever the mode, depth, format and orientation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from archscout.errors import DataError
from archscout.tasks.options import TaskOptions, options_with
from archscout.tasks.readers.decoding import Decoding, decode, decode_image
from archscout.tasks.readers.image_choice import choose_decoding
from archscout.tasks.readers.image_formats import can_read_heic, patient
from archscout.tasks.readers.image_index import index_images
from archscout.tasks.readers.rendering import Rendering
from tests.tasks.images_on_disk import can_write

Array = np.ndarray[Any, Any]

RED, BLUE, GREY = (200, 40, 40), (20, 90, 220), (250, 250, 250)
COLOURS = np.zeros((12, 20, 3), np.uint8)  # unequal corners: any turn or flip is seen
COLOURS[:, :10], COLOURS[6:], COLOURS[:3, 15:] = RED, BLUE, GREY
PICTURE = Image.fromarray(COLOURS)
SHADES = np.asarray(PICTURE.convert("L"))


def read(path: Path, **options: Any) -> tuple[Array, Decoding, list[str]]:
    """A file as networks see it, by the rules of a data set that has no other; and what is said of it."""
    index = index_images(path.parent, [path.name])
    assert not index.damaged, index.reasons
    decoding, findings = choose_decoding(index, options_with(None, options))
    assert not [finding for finding in findings if finding.level == "wrong"]
    with patient():
        pixels = decode(path, decoding)
    return pixels, decoding, [str(finding) for finding in findings]


def colour(path: Path, **options: Any) -> Array:
    pixels = read(path, **options)[0]
    assert len(pixels) == 3
    seen: Array = pixels.transpose(1, 2, 0).astype(int)
    return seen


def shades(path: Path, **options: Any) -> Array:
    pixels = read(path, **options)[0]
    assert len(pixels) == 1, "grey images have one channel"
    seen: Array = pixels[0].astype(int)
    return seen


def lab() -> Image.Image:
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    made = ImageCms.applyTransform(PICTURE, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("mode", "name", "tolerance"),
    [
        ("RGB", "a.png", 0),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.tif", 0),
        ("RGB", "a.ppm", 0),
        ("RGB", "a.tga", 0),
        ("RGB", "a.qoi", 0),
        ("RGB", "a.dds", 0),
        ("RGB", "a.pcx", 0),
        ("RGB", "a.sgi", 0),
        ("RGB", "a.gif", 0),
        ("RGB", "a.jp2", 0),
        ("RGB", "a.jpg", 20),
        ("RGB", "a.webp", 20),
        ("RGBA", "a.png", 0),
        ("RGBA", "a.tif", 0),
        ("RGBX", "a.tif", 0),
        ("CMYK", "a.tif", 1),
        ("CMYK", "a.jpg", 20),
        ("YCbCr", "a.tif", 4),
        ("LAB", "a.tif", 8),
        ("P", "a.png", 0),
        ("P", "a.gif", 0),
        ("PA", "a.tif", 0),
    ],
)
def test_colours_are_those_that_a_person_sees(tmp_path: Path, mode: str, name: str, tolerance: int) -> None:
    if not can_write(Path(name).suffix):
        pytest.skip(f"this Pillow writes no {name}")
    palette = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE)
    special = {"LAB": lab(), "P": palette, "PA": palette.convert("PA")}
    image = special.get(mode) or PICTURE.convert(mode)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if name == "a.jpg" else {}
    image.save(tmp_path / name, **options)
    assert np.abs(np.median(np.abs(colour(tmp_path / name) - COLOURS))) <= tolerance
    middle = colour(tmp_path / name)[[1, 9, 1], [3, 3, 17]]
    assert np.abs(middle - [RED, BLUE, GREY]).max() <= max(tolerance, 2)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("L", "a.bmp"),
        ("L", "a.gif"),
        ("L", "a.pgm"),
        ("L", "a.tif"),
        ("LA", "a.png"),
        ("LA", "a.tif"),
        ("P", "a.png"),
        ("1", "a.pbm"),
        ("1", "a.png"),
        ("1", "a.tif"),
    ],
)
def test_shades_are_those_that_a_person_sees_and_stay_one_channel(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.fromarray(SHADES if mode != "1" else ((SHADES > 99) * 255).astype(np.uint8))
    image.convert(mode, dither=Image.Dither.NONE).save(tmp_path / name)
    assert np.array_equal(shades(tmp_path / name), np.asarray(image))


# Values of white and files of the same shades: 8 bits of each value are what a person sees.
DEEP = {
    "16-bit PNG": ("a.png", "<u2", 65535),
    "16-bit TIFF": ("a.tif", "<u2", 65535),
    "12 bits in a 16-bit PNG": ("a.png", "<u2", 4095),
    "10 bits in a 16-bit TIFF": ("a.tif", "<u2", 1023),
    "14 bits in a 16-bit PNG": ("a.png", "<u2", 16383),
    "8 bits in a 16-bit PNG": ("a.png", "<u2", 255),
    "a mask of 0 and 1 in a 16-bit PNG": ("a.png", "<u2", 1),
    "32-bit TIFF": ("a.tif", "<i4", 65535),
    "32-bit TIFF of 24 bits": ("a.tif", "<i4", 2**24 - 1),
    "PGM of 16 bits": ("a.pgm", "<i4", 65535),
    "floats in 0..1": ("a.tif", "<f4", 1.0),
    "floats in 0..255": ("a.tif", "<f4", 255.0),
    "floats in 0..65535": ("a.tif", "<f4", 65535.0),
    "floats in 0..0.01": ("a.tif", "<f4", 0.01),
    "floats in 0..3e7": ("a.tif", "<f4", 3e7),
    "portable float map": ("a.pfm", "<f4", 1.0),
}


@pytest.mark.parametrize("what", DEEP)
def test_deep_images_keep_their_shades(tmp_path: Path, what: str) -> None:
    name, dtype, white = DEEP[what]
    ramp = np.linspace(0, 1, 240).reshape(12, 20) if white != 1 else np.eye(12, 20)
    values = np.rint(ramp * white) if dtype != "<f4" else ramp * white
    Image.fromarray(values.astype(dtype)).save(tmp_path / name)
    expected = np.rint(values.astype(dtype).astype(float) * 255 / white)
    pixels, _, said = read(tmp_path / name)
    assert np.abs(pixels[0] - expected).max() <= 1
    assert (pixels[0].min(), pixels[0].max()) == (0, 255)
    assert any("is read as black" in each for each in said)


def test_one_rule_serves_the_whole_data_set_and_never_a_single_image(tmp_path: Path) -> None:
    for number, most in enumerate((4000, 400, 40)):
        Image.fromarray(np.linspace(0, most, 64).reshape(8, 8).astype(np.uint16)).save(tmp_path / f"{number}.png")
    index = index_images(tmp_path, ["0.png", "1.png", "2.png"])
    decoding, findings = choose_decoding(index, TaskOptions())
    assert decoding.rendering == Rendering(integers=(0.0, 4095.0))
    assert (
        "the values of 3 images of more than 8 bits go from 0 to 4000: 0 is read as black, 4095 as white"
        in findings[0].message
    )
    brightest = [int(decode(tmp_path / name, decoding).max()) for name in index.names]
    assert brightest == [249, 25, 2]
    assert index.thumbnails(decoding.rendering).max((1, 2)) == pytest.approx([249, 25, 2.5], abs=6)


def test_value_range_says_what_files_cannot(tmp_path: Path) -> None:
    hounsfield = np.linspace(-1000, 3000, 64).reshape(8, 8)
    Image.fromarray(hounsfield.astype(np.int32)).save(tmp_path / "a.tif")
    index = index_images(tmp_path, ["a.tif"])
    _, findings = choose_decoding(index, TaskOptions())
    assert [(finding.level, finding.names) for finding in findings] == [("wrong", ("a.tif",))]
    assert "go from -1000 to 3000; nothing tells which values are black and white" in findings[0].message
    assert "--value-range=-1000,3000" in findings[0].message
    seen = shades(tmp_path / "a.tif", value_range=(-160, 240))
    assert np.array_equal(seen, np.clip(np.rint((hounsfield.astype(int) + 160) * 255 / 400), 0, 255))
    _, findings = choose_decoding(index, options_with(None, {"value_range": (5000, 6000)}))
    assert [
        findings[0].level,
        findings[0].message.split("6000 ")[1][:-1],
    ] == ["wrong", "all of them would have one colour"]


def test_negative_floats_are_refused_and_other_files_not_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), -0.5, np.float32)).save(tmp_path / "low.tif")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "high.tif")
    _, findings = choose_decoding(index_images(tmp_path, ["high.tif", "low.tif"]), TaskOptions())
    assert [(finding.level, finding.names) for finding in findings] == [("wrong", ("low.tif",))]


def test_value_range_holds_for_images_of_8_bits_where_there_are_no_others(tmp_path: Path) -> None:
    labels = (np.arange(64).reshape(8, 8) % 4).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    _, _, said = read(tmp_path / "a.png")
    assert said == [
        "warning: all values of 1 image of 8 bits are below 4 of 255; --value-range=0,3 would use all grey levels."
    ]
    assert np.array_equal(shades(tmp_path / "a.png", value_range=(0, 3)), labels.astype(int) * 85)


def test_a_hot_pixel_that_leaves_the_rest_dark_is_told(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1000, (64, 64)).astype(np.uint16)
    values[0, 0] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    said = read(tmp_path / "a.png")[2]
    assert any("warning: nearly all values" in each and "4 of 256 grey levels" in each for each in said)


def test_values_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    values = np.array([[0, 1], [np.nan, np.inf]], np.float32)
    Image.fromarray(np.kron(values, np.ones((4, 4), np.float32))).save(tmp_path / "a.tif")
    pixels, _, said = read(tmp_path / "a.tif")
    assert pixels[0, ::4, ::4].tolist() == [[0, 255], [0, 255]]
    assert any("no finite numbers" in each for each in said)
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "b.tif")
    assert index_images(tmp_path, ["b.tif"]).reasons == ("none of its values is a number",)


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<f4"])
def test_tiff_whose_lowest_value_is_white_is_inverted(tmp_path: Path, dtype: str) -> None:
    white = {"<u1": 255, "<u2": 65535, "<f4": 1}[dtype]
    values = np.linspace(0, white, 64).reshape(8, 8).astype(dtype)
    Image.fromarray(values).save(tmp_path / "plain.tif")
    content = bytearray((tmp_path / "plain.tif").read_bytes())
    entry = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # PhotometricInterpretation, short, one, 1
    content[entry + 8] = 0
    (tmp_path / "inverted.tif").write_bytes(content)
    assert np.array_equal(shades(tmp_path / "inverted.tif"), 255 - shades(tmp_path / "plain.tif"))
    index = index_images(tmp_path, ["inverted.tif", "plain.tif"])
    thumbnails = index.thumbnails()
    assert np.abs(thumbnails[0] + thumbnails[1] - 255).max() <= 1


STORED = {  # how each orientation is stored: the opposite of the turn that shows it upright
    1: COLOURS,
    2: COLOURS[:, ::-1],
    3: COLOURS[::-1, ::-1],
    4: COLOURS[::-1],
    5: COLOURS.transpose(1, 0, 2),
    6: np.rot90(COLOURS),
    7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(COLOURS, -1),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "avif"])
@pytest.mark.parametrize("tag", STORED)
def test_images_are_upright(tmp_path: Path, tag: int, suffix: str) -> None:
    if not can_write(f".{suffix}"):
        pytest.skip(f"this Pillow writes no {suffix}")
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = tag
    stored = np.ascontiguousarray(np.kron(STORED[tag], np.ones((8, 8, 1), np.uint8)))
    options: dict[str, Any] = {} if suffix == "tif" else {"quality": 95}
    Image.fromarray(stored).save(path, exif=exif, **options)
    seen = colour(path)
    assert seen.shape == (96, 160, 3)
    assert np.abs(seen[[12, 80, 12], [20, 20, 140]] - [RED, BLUE, GREY]).max() < 12
    facts = index_images(tmp_path, [path.name]).facts[0]
    assert (facts["height"], facts["width"]) == (96, 160)
    thumbnail = facts["thumbnail"].astype(int)
    assert np.abs(thumbnail[[2, 13, 1], [2, 2, 14]] - [88, 84, 250]).max() < 12
    if tag != 1:
        assert any("1 of 1 images are turned upright" in each for each in read(path)[2])


@pytest.mark.skipif(not can_read_heic(), reason="pillow-heif is not installed")
def test_heic_is_read_under_any_name(tmp_path: Path) -> None:
    """Its decoder turns images itself, by marks of the format's own; those of EXIF do not count there."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.HEIC", "a.heif", "a.jpg"):
        PICTURE.resize((160, 96), Image.Resampling.NEAREST).save(tmp_path / name, "HEIF", quality=95, exif=exif)
        seen = colour(tmp_path / name)
        assert seen.shape == (96, 160, 3)
        assert np.abs(seen[[12, 80, 12], [20, 20, 140]] - [RED, BLUE, GREY]).max() < 12


def test_heic_without_its_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.tasks.readers.image_formats.can_read_heic", lambda: False)
    monkeypatch.setattr("archscout.tasks.readers.image_formats._formats", lambda: ("JPEG", "PNG"))
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for name in ("a.heic", "a.jpg"):
        (tmp_path / name).write_bytes(content)
        (reason,) = index_images(tmp_path, [name]).reasons
        assert reason == 'HEIC, which needs another package: pip install "archscout[heic]"'


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"no exif"])
def test_damaged_exif_data_leaves_the_image_as_stored(tmp_path: Path, exif: bytes) -> None:
    PICTURE.save(tmp_path / "a.jpg", exif=exif)
    assert colour(tmp_path / "a.jpg").shape == COLOURS.shape


@pytest.mark.parametrize("tag", [0, 9, 255])
def test_orientations_that_do_not_exist_turn_nothing(tmp_path: Path, tag: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    for name in ("a.png", "a.tif"):
        PICTURE.save(tmp_path / name, exif=exif)
        assert np.array_equal(colour(tmp_path / name), COLOURS)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.gif"])
def test_transparent_images_are_seen_before_white(tmp_path: Path, name: str) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0] = 77  # below what is transparent
    pixels[:, 4:] = (10, 200, 30, 255)
    options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(pixels).save(tmp_path / name, **options)
    seen = colour(tmp_path / name)
    assert seen[0, 0].tolist() == [255, 255, 255]
    assert seen[0, 7].tolist() == [10, 200, 30]
    assert any("before white" in each for each in read(tmp_path / name)[2])


def test_white_drawings_on_nothing_are_seen_before_black(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 2), 255, np.uint8)
    pixels[2:6, 2:6, 1] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = shades(tmp_path / "a.png")
    assert (seen[0, 0], seen[3, 3]) == (255, 0)


def test_colour_keys_and_palettes_may_be_transparent(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png", transparency=BLUE)
    assert colour(tmp_path / "a.png")[9, 3].tolist() == [255, 255, 255]
    Image.new("P", (4, 4)).save(tmp_path / "b.png", transparency=b"\x00\x80")
    assert read(tmp_path / "b.png")[0].min() == 255


def test_the_first_of_several_frames_is_used_and_told(tmp_path: Path) -> None:
    other = Image.new("RGB", PICTURE.size)
    for name in ("a.gif", "a.png", "a.tif", "a.webp", "a.mpo"):
        lossless: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
        PICTURE.save(tmp_path / name, save_all=True, append_images=[other, other], **lossless)
        assert np.abs(colour(tmp_path / name)[[1, 9], [3, 3]] - [RED, BLUE]).max() < 20
        assert any("hold several frames or pages; the first is used" in each for each in read(tmp_path / name)[2])


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "photo.JPG.jpeg", "a.png"])
def test_the_content_decides_the_format_not_the_name(tmp_path: Path, name: str) -> None:
    PICTURE.save(tmp_path / name, format="JPEG", quality=95, subsampling=0)
    assert index_images(tmp_path, [name]).facts["format"].tolist() == [b"JPEG"]
    assert np.abs(colour(tmp_path / name)[[1, 9], [3, 3]] - [RED, BLUE]).max() < 12


def test_new_images_of_any_kind_are_decoded_by_the_rule_of_the_data_set(tmp_path: Path) -> None:
    known = Decoding(6, 10, grey=True, fit="pad", rendering=Rendering(integers=(0, 4095)))
    assert decode_image(PICTURE, known).shape == (1, 6, 10)
    assert decode_image(Image.fromarray(np.full((6, 10), 4095, np.uint16)), known).min() == 255
    assert decode_image(Image.fromarray(np.full((6, 10), 1, np.float32)), known).min() == 255
    with pytest.raises(DataError, match=r"its values are 7 to 7, and nothing tells which of them are black and white"):
        decode_image(Image.fromarray(np.full((6, 10), 7, np.float32)), known)
    flat = Decoding(6, 10, rendering=Rendering())
    assert decode_image(Image.fromarray(np.full((6, 10), 65535, np.uint16)), flat).min() == 255
    PICTURE.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert np.array_equal(decode_image(opened, flat), decode(tmp_path / "a.png", flat))


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    bits=st.sampled_from([8, 10, 12, 14, 16]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    tag=st.integers(1, 8),
    suffix=st.sampled_from(["png", "tif"]),
    inverted=st.booleans(),
)
def test_any_depth_size_and_orientation_is_read_as_seen(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    bits: int,
    height: int,
    width: int,
    tag: int,
    suffix: str,
    inverted: bool,
) -> None:
    white = 2**bits - 1
    seed = data.draw(st.integers(0, 2**32 - 1))
    seen = np.random.default_rng(seed).integers(0, white, (height, width), endpoint=True)
    seen.flat[0] = white
    turns = {1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.T, 6: np.rot90(seen)}
    turns |= {7: seen[::-1, ::-1].T, 8: np.rot90(seen, -1)}
    stored = np.ascontiguousarray(turns[tag]).astype(np.uint8 if bits == 8 and not inverted else np.uint16)
    exif = Image.Exif()
    exif[0x0112] = tag
    path = tmp_path_factory.mktemp("any") / f"a.{suffix}"
    Image.fromarray(stored).save(path, exif=exif)
    index = index_images(path.parent, [path.name])
    decoding, _ = choose_decoding(index, TaskOptions())
    assert index.facts[["height", "width"]][0].tolist() == (height, width)
    pixels = decode(path, decoding)[0]
    if min(height, width) >= 4:  # smaller ones are padded
        assert np.abs(pixels - seen * (255 / white)).max() <= 0.5 + 1e-6


@settings(max_examples=200, deadline=None)
@given(data=st.data(), form=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "PCX"]))
def test_damaged_bytes_give_a_reason_or_an_image_and_never_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, form: str
) -> None:
    file = io.BytesIO()
    PICTURE.save(file, form)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.mktemp("damaged") / f"a.{form.lower()}"
    path.write_bytes(content)
    index = index_images(path.parent, [path.name])
    with patient():
        if index.damaged:
            assert index.reasons[0]
            with pytest.raises(DataError, match="unreadable image"):
                decode(path, Decoding(8, 8, rendering=Rendering()))
        else:
            decoding, _ = choose_decoding(index, TaskOptions())
            assert decode(path, decoding).shape == decoding.shape
