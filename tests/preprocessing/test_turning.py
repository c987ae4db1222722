"""Orientations: what Pillow makes of a whole image is what is made of its boxes."""

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from pipeline.preprocessing.turning import stored_box, turned_size, upright

STORED = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_the_upright_image_are_found_in_the_stored_one(orientation: int):
    image = Image.fromarray(STORED)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    size = turned_size(STORED.shape[:2], orientation)
    assert size == expected.shape[:2]
    assert turned_size(size, orientation) == STORED.shape[:2], "and back"
    np.testing.assert_array_equal(upright(STORED, orientation), expected)
    for box in ((0, 0, 1, 1), (1, 2, 3, 2), (size[1] - 2, size[0] - 3, 2, 3), (0, 0, *size[::-1])):
        left, top, width, height = stored_box(box, size, orientation)
        part = upright(STORED[top : top + height, left : left + width], orientation)
        np.testing.assert_array_equal(part, expected[box[1] :][: box[3], box[0] : box[0] + box[2]])


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_there_is_not_turns_nothing(orientation: int):
    assert turned_size((5, 7), orientation) == (5, 7)
    assert stored_box((1, 2, 3, 2), (5, 7), orientation) == (1, 2, 3, 2)
    np.testing.assert_array_equal(upright(STORED, orientation), STORED)
