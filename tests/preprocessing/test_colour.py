"""Kinds of pixels: each file is put together byte by byte, and each expected colour is worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.colour import rgb
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.pixel_rules import PixelRules
from tests.preprocessing.forged import (
    SRGB_PRIMARIES,
    cmyk_profile,
    flat_jpeg,
    gamma_curve,
    grey_profile,
    linear_to_srgb,
    png,
    png_chunk,
    rgb_profile,
    srgb_curve,
    tiff,
)

WHITE, BLACK, GREEN = (255, 255, 255), (0, 0, 0), (10, 200, 30)
DEEP = [0, 255, 256, 32767, 32768, 65279, 65280, 65535]
UPPER = [0, 0, 1, 127, 128, 254, 255, 255]


def colours(data: bytes, background: tuple[int, int, int] = WHITE) -> list[list[int]]:
    """The colours of an image one pixel high."""
    return decode(data, rules=PixelRules(background=background))[0].tolist()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def over(colour: int, alpha: int, background: int) -> int:
    """Half up, as nobody could tell it from the exact share."""
    return (2 * (colour * alpha + background * (255 - alpha)) + 255) // 510


def profile_chunk(profile: bytes) -> bytes:
    return png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))


# 16 bits


def test_grey_of_sixteen_bits_is_scaled_by_its_upper_byte_and_not_clipped():
    data = png((8, 1), [struct.pack(">8H", *DEEP)], bits=16, colour=0)
    assert colours(data) == [[value] * 3 for value in UPPER]


def test_colour_of_sixteen_bits_is_scaled_as_grey_is():
    row = struct.pack(">24H", *(value for value in DEEP for _ in range(3)))
    assert colours(png((8, 1), [row], bits=16, colour=2)) == [[value] * 3 for value in UPPER]
    for order in "<>":
        row = struct.pack(order + "24H", *(value for value in DEEP for _ in range(3)))
        entries = {256: 8, 257: 1, 258: (16, 16, 16), 262: 2, 277: 3}
        assert colours(tiff(entries, row, order=order)) == [[value] * 3 for value in UPPER], order


@pytest.mark.parametrize("order", ["<", ">"])
def test_so_are_tiffs_of_either_byte_order(order: str):
    row = struct.pack(order + "8H", *DEEP)
    assert colours(tiff({256: 8, 257: 1, 258: 16}, row, order=order)) == [[value] * 3 for value in UPPER]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_and_those_of_pillow(mode: str, compression: str):
    assert colours(saved(Image.new(mode, (2, 1), 0x1234), "TIFF", compression=compression)) == [[0x12] * 3] * 2


def test_twelve_bits_in_a_tiff_are_scaled_from_twelve():
    packed = bytes([0x00, 0x0F, 0xFF])  # 0x000 and 0xfff
    assert colours(tiff({256: 2, 257: 1, 258: 12}, packed)) == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(("bits", "row"), [(8, b"\x00\xff\x12"), (16, struct.pack("<3H", 0, 0xFFFF, 0x1234))])
def test_white_may_be_zero_at_any_depth(bits: int, row: bytes):
    found = colours(tiff({256: 3, 257: 1, 258: bits, 262: 0}, row))
    assert found == [[255] * 3, [0] * 3, [0xED] * 3]


def test_grey_and_alpha_of_sixteen_bits():
    row = struct.pack(">4H", 0x1234, 0x8000, 0x5678, 0xFFFF)
    data = png((2, 1), [row], bits=16, colour=4)
    assert colours(data) == [[over(0x12, 0x80, 255)] * 3, [0x56] * 3]


def test_a_grey_profile_holds_for_sixteen_bits_too():
    row = struct.pack(">2H", 0x4000, 0xFFFF)
    data = png((2, 1), [row], bits=16, colour=0, chunks=[profile_chunk(grey_profile(gamma_curve(1.0)))])
    assert colours(data)[0][0] == pytest.approx(255 * linear_to_srgb(64 / 255), abs=1)
    assert colours(data)[1] == [255] * 3


@pytest.mark.parametrize(
    ("bits", "sample_format", "row"),
    [(32, 1, bytes(8)), (32, 2, bytes(8)), (32, 3, bytes(8)), (16, 2, bytes(4))],
    ids=["uint32", "int32", "float32", "int16"],
)
def test_numbers_without_an_agreed_black_and_white_are_refused(bits: int, sample_format: int, row: bytes):
    with pytest.raises(ImageError, match=r"no agreed black and white.*convert it to 8 bits") as caught:
        decode(tiff({256: 2, 257: 1, 258: bits, 339: sample_format}, row))
    assert caught.value.error_type == "UnsupportedMode"


# 1 to 8 bits


@pytest.mark.parametrize(
    ("bits", "row", "expected"),
    [(1, b"\xa0", [255, 0, 255, 0]), (2, b"\x1b", [0, 85, 170, 255]), (4, b"\x01\xef", [0, 17, 238, 255])],
)
def test_grey_of_few_bits_reaches_from_black_to_white(bits: int, row: bytes, expected: list[int]):
    assert colours(png((4, 1), [row], bits=bits, colour=0)) == [[value] * 3 for value in expected]


def test_grey_becomes_three_equal_channels():
    assert colours(png((3, 1), [b"\x00\x7f\xff"], colour=0)) == [[0] * 3, [127] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("bits", "row", "key", "clear"),
    [
        (1, b"\x40", 1, 1),
        (2, b"\x1b", 2, 2),
        (4, b"\x01\xef", 14, 2),
        (8, b"\x00\x7f\xff\x7e", 127, 1),
        (16, struct.pack(">4H", 0x1200, 0x1234, 0x1256, 0), 0x1234, 1),
    ],
)
def test_a_grey_that_is_said_to_be_transparent_shows_the_background(bits: int, row: bytes, key: int, clear: int):
    plain = png((4, 1), [row], bits=bits, colour=0)
    keyed = png((4, 1), [row], bits=bits, colour=0, chunks=[png_chunk(b"tRNS", struct.pack(">H", key))])
    expected = colours(plain)
    expected[clear] = list(GREEN)
    assert colours(keyed, GREEN) == expected


@pytest.mark.parametrize(("bits", "code"), [(8, "6B"), (16, "6H")])
def test_so_does_a_colour_that_is(bits: int, code: str):
    key = (0x12, 0x34, 0x56) if bits == 8 else (0x1234, 0x3456, 0x5678)
    row = struct.pack(">" + code, *key, *((0x13, 0x34, 0x56) if bits == 8 else (0x1334, 0x3456, 0x5678)))
    data = png((2, 1), [row], bits=bits, chunks=[png_chunk(b"tRNS", struct.pack(">3H", *key))])
    assert colours(data, GREEN) == [list(GREEN), [0x13, 0x34, 0x56]]


PALETTE = png_chunk(b"PLTE", bytes([200, 100, 50, 0, 0, 255, 9, 9, 9]))


def test_a_palette_gives_its_colours():
    assert colours(png((3, 1), [b"\0\1\2"], colour=3, chunks=[PALETTE])) == [[200, 100, 50], [0, 0, 255], [9, 9, 9]]


def test_a_palette_with_alphas_is_composited():
    data = png((3, 1), [b"\0\1\2"], colour=3, chunks=[PALETTE, png_chunk(b"tRNS", bytes([128, 0]))])
    half = [over(colour, 128, 255) for colour in (200, 100, 50)]
    assert colours(data) == [half, list(WHITE), [9, 9, 9]]
    one_clear = png((2, 1), [b"\0\1"], colour=3, chunks=[PALETTE, png_chunk(b"tRNS", bytes([255, 0]))])
    assert colours(one_clear, GREEN) == [[200, 100, 50], list(GREEN)]


# Alpha


@pytest.mark.parametrize("background", [WHITE, BLACK, GREEN])
@pytest.mark.parametrize("alpha", [0, 1, 127, 128, 254, 255])
def test_alpha_is_composited_on_the_background(background: tuple[int, int, int], alpha: int):
    data = png((1, 1), [bytes([200, 100, 50, alpha])], colour=6)
    assert colours(data, background) == [[over(c, alpha, b) for c, b in zip((200, 100, 50), background, strict=True)]]


def test_the_background_is_white_unless_said_otherwise():
    assert decode(png((1, 1), [bytes([200, 100, 50, 0])], colour=6)).tolist() == [[[255, 255, 255]]]


def test_grey_and_alpha():
    assert colours(png((2, 1), [bytes([40, 128, 40, 255])], colour=4)) == [[over(40, 128, 255)] * 3, [40] * 3]


def test_a_palette_and_alpha():
    entries = {
        256: 1,
        257: 1,
        258: (8, 8),
        262: 3,
        277: 2,
        338: 2,
        320: [200 * 257] * 256 + [100 * 257] * 256 + [0] * 256,
    }
    assert colours(tiff(entries, bytes([3, 128]))) == [[over(200, 128, 255), over(100, 128, 255), over(0, 128, 255)]]


@pytest.mark.parametrize("samples", [2, 4])
def test_colours_that_are_multiplied_by_their_alpha_already(samples: int):
    """128 of 200, at alpha 128, is all of the light that 199 to 200 would let through."""
    entries = {256: 1, 257: 1, 258: [8] * samples, 262: 1 if samples == 2 else 2, 277: samples, 338: 1}
    (found,) = colours(tiff(entries, bytes([100] * (samples - 1) + [128])))
    assert found == [pytest.approx(100 + 127, abs=1)] * 3


def test_a_profile_is_applied_before_the_background_which_is_srgb():
    linear = profile_chunk(rgb_profile(SRGB_PRIMARIES, gamma_curve(1.0)))
    data = png((2, 1), [bytes([64, 64, 64, 255, 64, 64, 64, 0])], colour=6, chunks=[linear])
    opaque, clear = colours(data, GREEN)
    assert opaque == [pytest.approx(255 * linear_to_srgb(64 / 255), abs=1)] * 3
    assert clear == list(GREEN)


# Inks


def inks(cyan: int, magenta: int, yellow: int, black: int) -> list[int]:
    """The plain formula, of inks in 255ths."""
    return [round((255 - ink) * (255 - black) / 255) for ink in (cyan, magenta, yellow)]


def test_inks_without_a_profile_follow_the_plain_formula():
    row = bytes([0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255, 55, 105, 155, 5])
    data = tiff({256: 4, 257: 1, 258: [8] * 4, 262: 5, 277: 4}, row)
    assert colours(data) == [[255] * 3, [0, 255, 255], [0] * 3, inks(55, 105, 155, 5)]


@pytest.mark.parametrize("transform", [0, None], ids=["Adobe", "no marker"])
def test_a_jpeg_has_its_inks_upside_down_as_adobe_and_browsers_have_it(transform: int | None):
    data = flat_jpeg([200, 150, 100, 250], adobe_transform=transform)
    assert (decode(data) == inks(55, 105, 155, 5)).all()


def test_a_jpeg_may_have_them_as_brightness_and_colours():
    """YCCK: the first three are Y, Cb and Cr of what red, green and blue leave over of the stored inks."""
    luma, blue, red, black = 120, 100, 160, 250
    values = [luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128)]
    values.append(luma + 1.772 * (blue - 128))
    found = decode(flat_jpeg([luma, blue, red, black], adobe_transform=2))
    expected = [(255 - value) * black / 255 for value in values]
    assert np.abs(found - np.array(expected)).max() <= 1, found[0, 0]
    assert (found == found[0, 0]).all()


def test_a_jpeg_says_whether_its_colours_are_colours():
    assert (decode(flat_jpeg([200, 100, 50], adobe_transform=0)) == [200, 100, 50]).all()
    expected = [120 + 1.402 * 32, 120 - 0.714136 * 32, 120]
    assert np.abs(decode(flat_jpeg([120, 128, 160], adobe_transform=1)) - np.array(expected)).max() <= 1
    assert np.abs(decode(flat_jpeg([120, 128, 160])) - np.array(expected)).max() <= 1


def test_inks_with_a_profile_look_as_it_says():
    """Cyan of this printer is a middle grey, L* 50, which is 119 in sRGB; without the profile it has no red."""
    profile = cmyk_profile(lambda *inks: 0 if inks[3] else 50 if inks[0] else 100)
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind, options in (("TIFF", {}), ("JPEG", {"quality": 100})):
        found = decode(saved(image, kind, icc_profile=profile, **options))
        assert np.abs(found.astype(int) - 119).max() <= 2, kind
        assert (decode(saved(image, kind, **options))[..., 0] <= 1).all(), kind


# Others


def test_lab_is_what_it_says():
    entries = {256: 2, 257: 1, 258: [8] * 3, 262: 8, 277: 3}
    grey, white = colours(tiff(entries, bytes([128, 0, 0, 255, 0, 0])))
    assert grey == [pytest.approx(119, abs=2)] * 3
    assert white == [pytest.approx(255, abs=1)] * 3


def test_ordinary_photographs_are_handed_on_as_they_are():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert rgb(noise, WHITE) is noise
    srgb = rgb_profile(SRGB_PRIMARIES, srgb_curve())
    for profile in (None, srgb, b"damaged"):
        with Image.open(io.BytesIO(saved(noise, "JPEG", icc_profile=profile))) as opened:
            np.testing.assert_array_equal(decode(saved(noise, "JPEG", icc_profile=profile)), np.asarray(opened))


def test_the_callers_image_is_left_alone():
    image = Image.new("L", (2, 1), 85)
    image.info["transparency"] = 85
    before = image.tobytes(), dict(image.info)
    assert np.asarray(rgb(image, GREEN)).tolist() == [[list(GREEN)] * 2]
    assert (image.tobytes(), image.info) == before
