"""Frames and pages: each as a viewer shows it, and counted without decoding, whatever a file pretends."""

import contextlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.frames import MAX_FRAMES, num_frames
from pipeline.preprocessing.pixel_rules import PixelRules
from tests.preprocessing.conftest import Encode
from tests.preprocessing.forged import gif, gif_frame, png, png_chunk, tiff

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 128, 0)
ANIMATED = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}


def flats(*colours: tuple[int, ...], mode: str = "RGB") -> list[Image.Image]:
    return [Image.new(mode, (8, 6), colour) for colour in colours]


def many(encode: Encode, kind: str, frames: list[Image.Image], **options) -> bytes:
    return encode(kind, frames[0], save_all=True, append_images=frames[1:], **options)


def refusal(data: bytes, frame: int, **rules: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, frame=frame, rules=PixelRules(**rules))
    assert caught.value.stage == "decode"
    return caught.value.error_type


@pytest.mark.parametrize("kind", ANIMATED)
def test_an_animation_gives_its_first_frame_or_the_one_that_is_asked_for(encode: Encode, kind: str):
    data = many(encode, kind, flats(RED, BLUE, GREEN), duration=50, **ANIMATED[kind])
    assert num_frames(data) == 3
    for frame, colour in enumerate((RED, BLUE, GREEN)):
        found = decode(data, frame=frame)
        assert found.shape == (6, 8, 3)
        assert np.abs(found.astype(int) - colour).max() <= (4 if kind == "AVIF" else 0)
    np.testing.assert_array_equal(decode(data), decode(data, frame=0))
    assert refusal(data, 3) == "NoSuchFrame"
    assert refusal(data, -1) == "NoSuchFrame"


def test_a_frame_is_what_is_on_the_screen_by_then():
    """White on black: the second frame stays, the third is taken away again before the fourth."""
    boxes = [(0, 0, 4, 4), (1, 1, 2, 2), (0, 0, 1, 4), (3, 3, 1, 1)]
    shown = zip(boxes, (0, 1, 1, 1), (1, 1, 3, 1), strict=True)
    frames = [gif_frame(box, colour, disposal=disposal) for box, colour, disposal in shown]
    data = gif((4, 4), frames)
    screen = np.zeros((4, 4), int)
    seen = [screen.copy()]
    screen[1:3, 1:3] = 255
    seen.append(screen.copy())
    with_third = screen.copy()
    with_third[:, 0] = 255
    seen.append(with_third)
    screen[3, 3] = 255
    seen.append(screen)
    assert num_frames(data) == 4
    for frame, expected in enumerate(seen):
        np.testing.assert_array_equal(decode(data, frame=frame)[..., 0], expected, err_msg=f"frame {frame}")


def test_what_a_frame_leaves_transparent_shows_the_background():
    data = gif((2, 1), [gif_frame((0, 0, 2, 1), 0, transparent=0), gif_frame((0, 0, 1, 1), 1)])
    rules = PixelRules(background=GREEN)
    assert decode(data, rules=rules).tolist() == [[list(GREEN)] * 2]
    assert decode(data, frame=1, rules=rules).tolist() == [[[255] * 3, list(GREEN)]]


def test_a_still_picture_before_an_animation_is_its_first_frame(encode: Encode):
    data = many(encode, "PNG", flats(RED, BLUE, GREEN), default_image=True)
    assert num_frames(data) == 3
    assert [decode(data, frame=frame)[0, 0].tolist() for frame in range(3)] == [list(RED), list(BLUE), list(GREEN)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"])
def test_a_still_picture_has_one_frame(encode: Encode, kind: str):
    assert num_frames(encode(kind)) == 1
    assert refusal(encode(kind), 1) == "NoSuchFrame"


@pytest.mark.parametrize("kind", ["MPO", "HEIF"])
def test_a_photograph_that_holds_another_has_one_frame(encode: Encode, kind: str):
    data = many(encode, kind, flats(RED, BLUE), quality=95)
    assert num_frames(data) == 1
    assert np.abs(decode(data)[0, 0].astype(int) - RED).max() < 8
    assert refusal(data, 1) == "NoSuchFrame"


def test_pages_of_a_tiff_may_be_of_several_sizes_and_kinds(encode: Encode):
    pages = [Image.new("RGB", (8, 6), RED), Image.new("L", (3, 5), 77), Image.new("I;16", (2, 2), 0x4000)]
    data = many(encode, "TIFF", pages)
    assert num_frames(data) == 3
    assert [decode(data, frame=page).shape[:2] for page in range(3)] == [(6, 8), (5, 3), (2, 2)]
    assert [decode(data, frame=page)[0, 0].tolist() for page in range(3)] == [list(RED), [77] * 3, [0x40] * 3]
    assert refusal(data, 3) == "NoSuchFrame"


def test_a_page_that_cannot_be_decoded_costs_no_other():
    entries = {256: 2, 257: 1, 258: 8}
    first = len(tiff(entries, b"\x11\x22"))

    def page(entries: dict[int, int], follows: int) -> bytes:
        return tiff({**entries, 273: first - 2, 279: 2}, follows=follows)[8:]

    odd = {**entries, 258: 7}
    second = page(odd, first + len(page(odd, 0)))
    data = tiff(entries, b"\x11\x22", follows=first) + second + page(entries, 0)
    assert num_frames(data) == 3
    assert decode(data)[0, :, 0].tolist() == [0x11, 0x22]
    assert refusal(data, 1) == "DamagedImage"
    assert decode(data, frame=2)[0, :, 0].tolist() == [0x11, 0x22]


def test_big_and_big_endian_tiffs_are_counted_too(encode: Encode):
    for options in ({"big_tiff": True}, {}):
        assert num_frames(many(encode, "TIFF", flats(RED, BLUE), **options)) == 2
    stream = io.BytesIO(tiff({256: 2, 257: 1, 258: 8}, b"\1\2", order=">"))
    assert num_frames(stream.getvalue()) == 1


# What pretends


@pytest.mark.parametrize("follows", [8, 4_000_000_000, 9, 2**31])
def test_a_chain_of_pages_that_leads_back_or_nowhere_ends(follows: int):
    data = tiff({256: 2, 257: 1, 258: 8}, b"\x11\x22", follows=follows)
    assert num_frames(data) <= 2
    assert decode(data)[0, :, 0].tolist() == [0x11, 0x22]
    assert refusal(data, 5) in {"NoSuchFrame", "DamagedImage", "TruncatedImage"}


def test_an_animated_png_is_not_believed(encode: Encode):
    data = many(encode, "PNG", flats(RED, BLUE))
    (claimed,) = struct.unpack_from(">I", data, data.index(b"acTL") + 4)
    assert claimed == 2
    lie = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    start = data.index(b"acTL") - 4
    assert num_frames(data[:start] + lie + data[start + 20 :]) <= 3


def test_ten_thousand_frames_are_counted_and_one_more_is_too_many():
    frame = gif_frame((0, 0, 1, 1), 1)
    assert num_frames(gif((1, 1), [frame] * MAX_FRAMES)) == MAX_FRAMES
    data = gif((1, 1), [frame] * (MAX_FRAMES + 1))
    with pytest.raises(ImageError, match="more than 10000 frames") as caught:
        num_frames(data)
    assert caught.value.error_type == "TooManyFrames"
    assert decode(data).tolist() == [[[255] * 3]]
    assert refusal(data, MAX_FRAMES) == "NoSuchFrame"


def test_counting_ends_however_long_a_chain_pretends_to_be():
    page = struct.pack("<H", 0)
    chain = b"".join(page + struct.pack("<I", 14 + 6 * number) for number in range(400_000))
    with pytest.raises(ImageError):
        num_frames(b"II*\0" + struct.pack("<I", 8) + chain)


def test_a_canvas_that_grows_on_the_way_is_refused_when_it_has_grown():
    data = gif((2, 2), [gif_frame((0, 0, 2, 2), 1), gif_frame((65_000, 65_000, 2, 2), 1)])
    assert decode(data).shape == (2, 2, 3)
    assert refusal(data, 1) == "ImageTooLarge"
    assert (
        refusal(gif((2, 2), [gif_frame((0, 0, 2, 2), 1), gif_frame((9, 9, 2, 2), 1)]), 1, max_pixels=99)
        == "ImageTooLarge"
    )


@pytest.mark.parametrize("data", [b"", b"no image", png((0, 0))])
def test_what_is_no_image_has_no_number_of_frames(data: bytes):
    with pytest.raises(ImageError):
        num_frames(data)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_damaged_files_are_counted_or_refused_and_nothing_else(encode: Encode, kind: str):
    data = many(encode, kind, flats(RED, BLUE, GREEN))
    chance = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in chance.integers(0, len(data), 3):
            damaged[place] = chance.integers(256)
        with contextlib.suppress(ImageError):
            assert 1 <= num_frames(bytes(damaged[: chance.integers(1, len(data) + 1)])) <= MAX_FRAMES
