"""Pictures come out of sheets as they went in, a hundred to a sheet."""

import base64
import io

import numpy as np
from PIL import Image

from pipeline.report.sheets import CELL_PX, PER_SHEET, picture_uri, sheets


def opened(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def plain(level: int, side: int = 256) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_each_square_lies_in_its_place_and_what_is_missing_is_grey():
    squares = [None if number == 7 else plain(number) for number in range(PER_SHEET + 3)]
    first, second = (opened(uri) for uri in sheets(squares))
    assert first.shape == (10 * CELL_PX, 10 * CELL_PX, 3)
    assert second.shape == (CELL_PX, 10 * CELL_PX, 3)
    for number, sheet in [(0, first), (25, first), (99, first), (102, second)]:
        row, column = divmod(number % PER_SHEET, 10)
        middle = sheet[row * CELL_PX + CELL_PX // 2, column * CELL_PX + CELL_PX // 2]
        assert np.abs(middle - number).max() <= 4
    assert np.abs(first[CELL_PX // 2, 7 * CELL_PX + CELL_PX // 2] - 128).max() <= 4


def test_no_images_make_no_sheet():
    assert list(sheets([])) == []


def test_a_small_picture_keeps_every_number_and_a_large_one_most():
    small = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(opened(picture_uri(small)), small)
    assert np.abs(opened(picture_uri(plain(100))) - 100).max() <= 3
