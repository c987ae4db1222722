"""Turning: boxes of the upright image are found in the stored one, and their pixels come out upright."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.preprocessing.turning import stored_box, turned_size, upright


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_a_box_of_the_upright_image_is_the_same_pixels_as_pillows(orientation: int):
    stored = np.random.default_rng(orientation).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert turned_size((7, 11), orientation) == expected.shape[:2]
    for left, top, width, height in ((0, 0, 7, 7), (1, 2, 3, 4), (4, 5, 2, 1)):
        x, y, w, h = stored_box((left, top, width, height), expected.shape[:2], orientation)
        found = upright(stored[y : y + h, x : x + w], orientation)
        np.testing.assert_array_equal(found, expected[top : top + height, left : left + width])
