"""Colours of frames, against the formulas of the standards, and frames turned as their display matrix says."""

import io

import av
import numpy as np
import pytest

from pipeline.preprocessing.video_pixels import rgb_of_frame
from tests.videos import encoded, pictures

RED_AND_BLUE = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}
NAMES = {"BT.601": 5, "BT.709": 1, "BT.2020": 9, None: 2}  # as H.273 numbers them
COLOURS = [(81, 90, 240), (145, 54, 34), (41, 240, 110), (180, 128, 128), (16, 128, 128), (235, 128, 128), (9, 9, 150)]


def rgb(colour: tuple[int, int, int], matrix: str, *, is_full: bool, bits: int) -> np.ndarray:
    """What the standard says the (Y, Cb, Cr) of 8 bits is, given in so many."""
    red, blue = RED_AND_BLUE[matrix]
    scale, top = 2 ** (bits - 8), 2**bits - 1
    y, cb, cr = (value * scale for value in colour)
    luma = y / top if is_full else (y - 16 * scale) / (219 * scale)
    cb, cr = ((each - 128 * scale) / (top if is_full else 224 * scale) for each in (cb, cr))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.round(255 * np.array([r, g, b])), 0, 255)


def plain(pixel_format: str, colour: tuple[int, ...], size: tuple[int, int] = (64, 48)) -> av.VideoFrame:
    """A frame of one colour."""
    bits = 10 if "10" in pixel_format else 8
    frame = av.VideoFrame(*size, pixel_format)
    for plane, value in zip(frame.planes, colour, strict=False):
        kind = np.dtype("<u2") if bits == 10 else np.dtype("u1")
        plane.update(np.full(plane.buffer_size // kind.itemsize, value * 2 ** (bits - 8), kind).tobytes())
    return frame


@pytest.mark.parametrize("matrix", RED_AND_BLUE)
@pytest.mark.parametrize("is_full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
def test_colours_are_those_of_the_matrix_and_range_that_the_stream_names(pixel_format: str, is_full: bool, matrix: str):
    for colour in COLOURS:
        frame = plain(pixel_format, colour)
        frame.colorspace, frame.color_range = NAMES[matrix], 2 if is_full else 1
        pixels_HWC = rgb_of_frame(frame)
        expected = rgb(colour, matrix, is_full=is_full, bits=10 if "10" in pixel_format else 8)
        assert np.abs(pixels_HWC.astype(int) - expected).max() <= 1, (colour, pixels_HWC[0, 0], expected)


@pytest.mark.parametrize(("height", "matrix"), [(480, "BT.601"), (718, "BT.601"), (720, "BT.709"), (1080, "BT.709")])
def test_without_a_name_the_height_decides(height: int, matrix: str):
    pixels_HWC = rgb_of_frame(plain("yuv420p", COLOURS[0], (64, height)))
    expected = rgb(COLOURS[0], matrix, is_full=False, bits=8)
    assert np.abs(pixels_HWC.astype(int) - expected).max() <= 1


def test_what_the_stream_names_is_what_comes_out_of_its_file():
    for matrix, is_full in (("BT.709", False), ("BT.601", True)):
        frame = plain("yuv420p", COLOURS[1])
        frame.colorspace, frame.color_range = NAMES[matrix], 2 if is_full else 1
        named = {"colorspace": NAMES[matrix], "color_range": 2 if is_full else 1}
        data = encoded("mp4", "libx264", [frame], options={"qp": "0"}, **named)
        with av.open(io.BytesIO(data)) as video:
            pixels_HWC = rgb_of_frame(next(video.decode(video=0)))
        assert np.abs(pixels_HWC.astype(int) - rgb(COLOURS[1], matrix, is_full=is_full, bits=8)).max() <= 1


def test_grey_stays_grey_and_alpha_is_left_out():
    assert (rgb_of_frame(plain("gray", (235,))) >= 235).all()
    opaque, clear = plain("yuva420p", (*COLOURS[0], 255)), plain("yuva420p", (*COLOURS[0], 0))
    for each in (opaque, clear):
        each.colorspace, each.color_range = NAMES["BT.601"], 1
    np.testing.assert_array_equal(rgb_of_frame(opaque), rgb_of_frame(clear))
    assert np.abs(rgb_of_frame(clear).astype(int) - rgb(COLOURS[0], "BT.601", is_full=False, bits=8)).max() <= 1


@pytest.mark.parametrize(
    ("rotation", "hflip", "shown"),
    [
        (0, False, lambda picture: picture),
        (90, False, np.rot90),
        (180, False, lambda picture: np.rot90(picture, 2)),
        (-90, False, lambda picture: np.rot90(picture, -1)),
        (0, True, lambda picture: picture[:, ::-1]),
        (90, True, lambda picture: np.rot90(picture)[:, ::-1]),
    ],
)
def test_a_frame_is_shown_as_its_display_matrix_says(rotation: int, hflip: bool, shown):
    (picture,) = pictures(1)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts = 0
    data = encoded("mov", "mjpeg", [frame], rotation=rotation, hflip=hflip)
    with av.open(io.BytesIO(data)) as video:
        found = rgb_of_frame(next(video.decode(video=0)))
    expected = shown(picture)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 12
