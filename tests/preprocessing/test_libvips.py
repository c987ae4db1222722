"""libvips: three loaders and no other, rows once from the top, regions of tiles anywhere."""

import io

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.libvips import FORMATS, OpenedImage
from pipeline.preprocessing.served_file import served_bytes

PIXELS = np.random.default_rng(2).integers(0, 256, (96, 80, 3), dtype=np.uint8)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def test_only_the_listed_loaders_open_anything(tmp_path):
    assert {"JPEG", "PNG", "TIFF"} == FORMATS
    for kind in ("GIF", "WEBP", "PPM"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(encoded(kind), "")
    (tmp_path / "x.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'/>")
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_file(str(tmp_path / "x.svg"))


def test_rows_come_from_the_top_down():
    image = OpenedImage(served_bytes(encoded("PNG")), "PNG", is_random=False)
    assert image.size == (96, 80)
    for top in (0, 16, 48):
        np.testing.assert_array_equal(image.region((0, top, 80, 16)), PIXELS[top : top + 16])
    assert image.empty(3, 5).shape == (3, 5, 3)


def test_tiles_come_in_any_order():
    stream = io.BytesIO()
    tifffile.imwrite(stream, PIXELS, tile=(16, 16), photometric="rgb")
    image = OpenedImage(served_bytes(stream.getvalue()), "TIFF", is_random=True)
    for left, top in ((60, 70), (0, 0), (33, 21)):
        np.testing.assert_array_equal(image.region((left, top, 20, 20)), PIXELS[top : top + 20, left : left + 20])


def test_numbers_that_are_no_colours_are_refused():
    stream = io.BytesIO()
    tifffile.imwrite(stream, PIXELS.astype(np.float32), photometric="rgb")
    with pytest.raises(ImageError, match="convert it to 8 bits first"):
        OpenedImage(served_bytes(stream.getvalue()), "TIFF", is_random=False)
