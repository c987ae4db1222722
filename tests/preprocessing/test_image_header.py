"""Headers: what an image is, told without decoding it, however large it claims to be."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.image_header import ImageHeader
from tests.preprocessing.conftest import Encode


def test_a_header_says_what_the_image_is(encode: Encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    header = ImageHeader.of(io.BytesIO(encode("JPEG", exif=exif)))
    assert (header.format, header.mode, header.size, header.orientation) == ("JPEG", "RGB", (48, 64), 6)
    assert (header.is_tiled, header.has_alpha, header.profile) == (False, False, None)
    assert ImageHeader.of(io.BytesIO(encode("PNG", Image.new("RGBA", (5, 3))))).has_alpha


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_of_tiles_is_told_from_one_of_strips(tile: tuple[int, int] | None):
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((40, 30, 3), np.uint8), tile=tile, photometric="rgb")
    header = ImageHeader.of(stream)
    assert (header.format, header.size, header.is_tiled) == ("TIFF", (40, 30), tile is not None)


def test_what_is_no_image_is_refused():
    with pytest.raises(ImageError) as caught:
        ImageHeader.of(io.BytesIO(b"no image"))
    assert caught.value.stage == "decode"
