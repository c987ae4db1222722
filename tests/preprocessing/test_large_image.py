"""Large images: boxes are those of the whole image bit for bit, damage costs what it touches, memory stays small."""

import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import ImageError
from pipeline.featureset.part import Box, Part
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.isolation import IsolatedDecoder
from pipeline.preprocessing.large_image import LargeImage
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.served_file import BLOCK_BYTES, ServedFile, served_bytes
from pipeline.preprocessing.tiles import NO_BOX, tile_boxes
from tests.preprocessing import forged
from tests.preprocessing.conftest import Encode
from tests.preprocessing.large import STRIP_ROWS, TILE_PX, pattern, strip_tiff, tiled_tiff

SMALL = {"tile_px": 100, "overlap_px": 20}


@pytest.fixture(scope="module")
def photo(photographs: dict[str, Path]) -> Image.Image:
    with Image.open(photographs["chelsea.png"]) as image:
        return image.convert("RGB").crop((90, 40, 391, 242))


def opened(data: bytes, rules: PixelRules = USUAL) -> LargeImage:
    return LargeImage(served_bytes(data), rules)


def boxes_of(image: LargeImage) -> list[Box]:
    return list(tile_boxes(image.size, **SMALL, orientation=image.orientation))


def expect_pixels_of_the_whole(data: bytes, rules: PixelRules = USUAL) -> None:
    whole, image = decode(data, rules=rules), opened(data, rules)
    assert image.size == whole.shape[:2]
    for left, top, width, height in boxes_of(image):
        found = image.window((left, top, width, height))
        np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


def tiff_of(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def sixteen_bits(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint16) * 256 + np.arange(pixels.size, dtype=np.uint16).reshape(pixels.shape) % 256


# Pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "AVIF"])
def test_boxes_of_a_photograph_are_those_of_the_whole(encode: Encode, photo: Image.Image, kind: str):
    expect_pixels_of_the_whole(encode(kind, photo))


JPEGS = {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2, "quality": 60},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_so_they_are_of_every_kind_of_jpeg(encode: Encode, photo: Image.Image, options: dict[str, object]):
    expect_pixels_of_the_whole(encode("JPEG", photo, **options))


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGBA", "I;16"],
    "TIFF": ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"],
    "JPEG": ["L", "CMYK"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_so_they_are_in_every_mode(encode: Encode, photo: Image.Image, mode: str, kind: str):
    image = Image.fromarray(sixteen_bits(np.asarray(photo.convert("L")))) if mode == "I;16" else photo.convert(mode)
    if "A" in mode:
        image.putalpha(photo.getchannel("G"))
    expect_pixels_of_the_whole(encode(kind, image), PixelRules(background=(9, 99, 199)))


def test_so_they_are_where_one_colour_is_transparent(encode: Encode, photo: Image.Image):
    for image in (photo, photo.convert("L"), photo.convert("P")):
        expect_pixels_of_the_whole(encode("PNG", image, transparency=image.getpixel((9, 9))))


def test_so_they_are_with_a_colour_profile(encode: Encode, photographs: dict[str, Path]):
    data = photographs["rocket.jpg"].read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert "icc_profile" in image.info, "it is in Adobe RGB"
        profile = image.info["icc_profile"]
        expect_pixels_of_the_whole(encode("TIFF", image, icc_profile=profile))
        expect_pixels_of_the_whole(encode("PNG", image, icc_profile=profile))
    expect_pixels_of_the_whole(data)


def test_so_they_are_of_every_kind_of_tiff(photo: Image.Image):
    pixels = np.asarray(photo)
    grey, alpha = pixels[..., 0], pixels[..., 1:2]
    planes = np.moveaxis(pixels, 2, 0).copy()
    tile = {"tile": (64, 48)}
    for data in (
        tiff_of(pixels, photometric="rgb", **tile),
        tiff_of(pixels, photometric="rgb", compression="zlib", predictor=True, **tile),
        tiff_of(pixels, photometric="rgb", byteorder=">", **tile),
        tiff_of(pixels, photometric="rgb", bigtiff=True, **tile),
        tiff_of(pixels, photometric="rgb", compression="zlib", rowsperstrip=202),
        tiff_of(planes, photometric="rgb", planarconfig="separate"),
        tiff_of(sixteen_bits(pixels), photometric="rgb", **tile),
        tiff_of(sixteen_bits(grey), photometric="miniswhite"),
        tiff_of(grey, photometric="miniswhite", **tile),
        tiff_of(np.concatenate([pixels, alpha], 2), photometric="rgb", extrasamples=["unassalpha"], **tile),
        tiff_of(np.concatenate([pixels, alpha], 2), photometric="rgb", extrasamples=["unspecified"], **tile),
    ):
        expect_pixels_of_the_whole(data)
    image = pyvips.Image.new_from_array(pixels)
    for options in ({"compression": "jpeg"}, {"compression": "lzw", "pyramid": True}):
        expect_pixels_of_the_whole(image.tiffsave_buffer(tile=True, tile_width=64, tile_height=64, **options))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_so_they_are_of_a_turned_image(encode: Encode, photo: Image.Image, kind: str, orientation: int):
    exif = Image.Exif()
    exif[274] = orientation
    expect_pixels_of_the_whole(encode(kind, photo, exif=exif))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_they_are_the_same_in_any_order(encode: Encode, photo: Image.Image, kind: str):
    data = encode(kind, photo)
    whole, image = decode(data), opened(data)
    for left, top, width, height in (
        (200, 150, 50, 50),
        (0, 0, 10, 10),
        (5, 190, 99, 12),
        (9, 100, 9, 40),
        (0, 99, 1, 1),
    ):
        found = image.window((left, top, width, height))
        np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("box", [(0, 0, 302, 1), (0, 0, 1, 203), (-1, 0, 5, 5), (0, 0, 5, 0), (301, 0, 1, 1)])
def test_a_box_that_is_not_in_the_image_is_refused(encode: Encode, photo: Image.Image, box: Box):
    with pytest.raises(ImageError, match="301 x 202 pixels") as caught:
        opened(encode("PNG", photo)).window(box)
    assert caught.value.error_type == "NoSuchBox"


# What cannot be read


def outcomes(data: bytes) -> dict[Box, str]:
    """What came of each box: nothing, or the kind of error."""
    image, found = opened(data), {}
    for box in boxes_of(image):
        try:
            image.window(box)
            found[box] = ""
        except ImageError as error:
            found[box] = error.error_type if error.stage == "decode" else error.stage
    return found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_of_a_truncated_file_boxes_above_the_cut_are_read(encode: Encode, photo: Image.Image, kind: str):
    data = encode(kind, photo)
    found = outcomes(data[: len(data) * 2 // 3])
    rows: dict[int, set[str]] = {}
    for (_, top, _, _), error in found.items():
        rows.setdefault(top, set()).add(error)
    assert [rows[top] for top in sorted(rows)] == [{""}, {"TruncatedImage"}, {"TruncatedImage"}]


def test_below_damage_nothing_is_looked_for_again(encode: Encode, photo: Image.Image):
    data = encode("PNG", photo)
    cut, num_asked = data[: len(data) // 2], 0

    def ask(start: int, end: int) -> bytes:
        nonlocal num_asked
        num_asked += 1
        return cut[start:end]

    image = LargeImage(ServedFile("", len(cut), ask), USUAL)
    for _ in range(3):
        with pytest.raises(ImageError, match="cannot be decoded"):
            image.window((0, 100, 100, 100))
    assert num_asked == 1
    np.testing.assert_array_equal(image.window((0, 0, 50, 50)), decode(data)[:50, :50])


def test_a_damaged_tile_fails_every_box_that_it_is_in_and_no_other(photo: Image.Image):
    data = bytearray(tiff_of(np.asarray(photo), photometric="rgb", compression="zlib", tile=(64, 64)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, size = file.pages[0].dataoffsets[6], file.pages[0].databytecounts[6]
    data[start + 50 : start + size - 50] = bytes(size - 100)
    left, top = 64, 64  # the seventh of five in a row
    for box, error in outcomes(bytes(data)).items():
        is_touched = box[0] < left + 64 and left < box[0] + box[2] and box[1] < top + 64 and top < box[1] + box[3]
        assert (error != "") == is_touched, (box, error)


_GREY = {256: 8, 257: 8, 258: 8, 277: 1, 278: 8}


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        action()
    return caught.value.error_type


def test_what_is_no_kind_of_image_that_is_cut_up_is_refused_before_anything_is_planned(
    photo: Image.Image, encode: Encode
):
    planes = np.moveaxis(np.asarray(photo), 2, 0).copy()
    tiled_planes = tiff_of(planes, photometric="rgb", planarconfig="separate", tile=(64, 64))
    assert refused(opened(tiled_planes).try_out) == "UnsupportedMode"
    assert refused(lambda: opened(encode("TIFF", photo.convert("LAB")))) == "UnsupportedMode"
    assert refused(lambda: opened(tiff_of(np.asarray(photo)[..., 0].astype(np.float32)))) == "UnsupportedMode"
    assert refused(lambda: opened(b"")) == "EmptyFile"
    assert refused(lambda: opened(b"%PDF-1.7 and so on")) == "FormatNotAllowed"
    with pytest.raises(ImageError, match=r"a WEBP is decoded whole .* 301 x 202 pixels are more than 0\.06 meg"):
        opened(encode("WEBP", photo), PixelRules(max_pixels=60_000))
    opened(encode("JPEG", photo), PixelRules(max_pixels=60_000)).try_out()


HOSTILE = {
    "a PNG that claims 60,000 x 60,000": (forged.png((60_000, 60_000)), "ImageTooLarge"),
    "a GIF that claims 65,535 x 65,535": (
        forged.gif((65_535, 65_535), [forged.gif_frame((0, 0, 1, 1), 0)]),
        "ImageTooLarge",
    ),
    "a TIFF whose pixels are before its beginning": (forged.tiff(_GREY | {273: 2**32 - 9, 279: 64}), "TruncatedImage"),
    "a TIFF whose pixels are behind its end": (forged.tiff(_GREY | {273: 10_000, 279: 64}), "TruncatedImage"),
    "a TIFF whose directory follows itself": (forged.tiff(_GREY, bytes(64), follows=8), ""),
    "a TIFF of a tile of 4 gigabytes": (
        forged.tiff(_GREY | {322: 65_536, 323: 65_536, 324: 8, 325: 64}),
        "DamagedImage",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_headers_that_lie_are_refused_in_no_time(name: str):
    data, expected = HOSTILE[name]

    def use() -> None:
        image = opened(data)
        image.try_out()
        image.window((0, 0, *image.size))

    if expected:
        assert refused(use) == expected
    else:
        use()


def test_of_an_image_whose_size_could_not_be_told_the_reason_is(encode: Encode, photo: Image.Image):
    tiled = tiff_of(np.asarray(photo), photometric="rgb", compression="zlib", tile=(64, 64))
    damaged = tiled.replace(tiled[1000:1500], bytes(500), 1)
    assert refused(lambda: opened(damaged).window(NO_BOX)) == "DamagedImage"
    with pytest.raises(ImageError, match="the next run") as caught:
        opened(encode("JPEG", photo)).window(NO_BOX)
    assert (caught.value.error_type, caught.value.error_class) == ("SizeUnknown", "transient")


# Memory


class _Ranges:
    """A file in memory, and how much of it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.key, self.size_bytes, self._data = str(id(data)), len(data), data
        self.num_read = 0

    def read(self, start: int, end: int) -> bytes:
        self.num_read += end - start
        assert end - start <= BLOCK_BYTES
        return self._data[start:end]


def peak_bytes(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]


def test_memory_is_that_of_a_row_of_tiles_and_not_of_the_image():
    side_px, decoder = 20_000, IsolatedDecoder(side_px=64, timeout_s=120)
    slots = decoder.slots(1)
    try:
        decoder.probe(b"\xff\xd8\xff", "frames")
        idle_bytes = peak_bytes(decoder.pid)
        for data in (tiled_tiff(side_px), strip_tiff(side_px)):
            file = _Ranges(data)
            assert decoder.probe(file, "size") == {"height": side_px, "width": side_px, "orientation": 1}
            assert file.num_read < 10 << 20
            for left, top in ((0, 0), (10_752, 8960), (11_648, 8960), (18_976, 18_976)):
                part = Part(box=(left, top, 1024, 1024)).text
                assert decoder.decode_into(file, slots, 0, part=part).height == 1024
        grown_bytes = peak_bytes(decoder.pid) - idle_bytes
        assert grown_bytes < side_px * side_px * 3 // 3, f"{grown_bytes / 1e6:.0f} MB"
    finally:
        decoder.close()


def test_of_a_tiled_file_no_more_is_read_than_a_box_takes():
    noise, asked = pattern(3000, 3000), list[int]()
    data = tiff_of(noise, photometric="rgb", tile=(TILE_PX, TILE_PX))

    def ask(start: int, end: int) -> bytes:
        asked.append(end - start)
        return data[start:end]

    image = LargeImage(ServedFile("", len(data), ask), USUAL)
    np.testing.assert_array_equal(image.window((1500, 1500, 100, 100)), noise[1500:1600, 1500:1600])
    assert sum(asked) < len(data) / 4


def test_pixels_of_an_image_that_is_too_large_to_be_decoded_are_where_they_belong():
    for data, rows, columns in (
        (tiled_tiff(20_000), TILE_PX, TILE_PX),
        (tiled_tiff(20_000, tile=zlib.compress(pattern(TILE_PX, TILE_PX).tobytes()), compression=8), TILE_PX, TILE_PX),
        (strip_tiff(9_000), STRIP_ROWS, 9_000),
    ):
        image, repeated = opened(data), pattern(rows, columns)
        for left, top, width, height in ((0, 0, 300, 40), (7000, 777, 500, 300), (8700, 8700, 300, 300)):
            found = image.window((left, top, width, height))
            across, down = np.arange(left, left + width) % columns, np.arange(top, top + height) % rows
            np.testing.assert_array_equal(found, repeated[np.ix_(down, across)])
