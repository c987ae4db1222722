"""Orientations: pixels and boxes of an image are where Pillow has them once it has turned it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.preprocessing.turning import stored_box, turned_size, upright

STORED = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def as_pillow_turns_it(orientation: int) -> np.ndarray:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.fromarray(STORED).save(stream, "PNG", exif=exif)
    with Image.open(stream) as image:
        return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 77])
def test_pixels_and_boxes_are_turned_as_pillow_turns_images(orientation: int):
    expected = as_pillow_turns_it(orientation)
    np.testing.assert_array_equal(upright(STORED, orientation), expected)
    height, width = turned_size(STORED.shape[:2], orientation)
    assert (height, width) == expected.shape[:2]
    for box in ((0, 0, 1, 1), (1, 2, 3, 2), (width - 2, height - 1, 2, 1), (0, 0, width, height)):
        left, top, across, down = stored_box(box, (height, width), orientation)
        part = upright(STORED[top : top + down, left : left + across], orientation)
        np.testing.assert_array_equal(part, expected[box[1] : box[1] + box[3], box[0] : box[0] + box[2]])
