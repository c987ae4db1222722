"""libvips: three loaders and no other, pixels of Pillow, and whatever is wrong is the image's fault or the reader's."""

import io

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.preprocessing.libvips import FORMATS, OpenedImage
from pipeline.preprocessing.served_file import BLOCK_BYTES, ServedFile, served_bytes
from tests.preprocessing.conftest import Encode

SIZE = (300, 400)


@pytest.fixture(scope="module")
def large() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_rows_are_those_of_pillow(encode: Encode, large: Image.Image, kind: str):
    data = encode(kind, large)
    opened = OpenedImage(served_bytes(data), kind, is_random=False)
    assert opened.size == SIZE
    assert opened.empty(2, 3).shape == (2, 3, 3)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    for top in range(0, SIZE[0], 100):
        np.testing.assert_array_equal(opened.region((0, top, SIZE[1], 100)), expected[top : top + 100])


def test_a_format_that_is_not_listed_cannot_even_be_asked_for(encode: Encode):
    for kind in ("GIF", "WEBP"):
        with pytest.raises(pyvips.Error, match=r"blocked|not a known|unable"):
            pyvips.Image.new_from_buffer(encode(kind), "")
    with pytest.raises(pyvips.Error):
        pyvips.Image.svgload_buffer(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")


def test_another_format_under_a_wrong_name_is_refused(encode: Encode):
    for kind, other in (("PNG", "JPEG"), ("JPEG", "TIFF"), ("TIFF", "GIF")):
        with pytest.raises(ImageError) as caught:
            OpenedImage(served_bytes(encode(other)), kind, is_random=False)
        assert caught.value.stage == "decode"


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_truncated_image_is_refused_where_it_ends(encode: Encode, large: Image.Image, kind: str):
    data = encode(kind, large, **({"strip_size": 8 * 1200} if kind == "TIFF" else {}))
    with pytest.raises(ImageError) as caught:
        OpenedImage(served_bytes(data[: len(data) * 2 // 3]), kind, is_random=False).region((0, 0, SIZE[1], SIZE[0]))
    assert caught.value.error_type in ("TruncatedImage", "DamagedImage")


def test_floats_are_refused(encode: Encode):
    with pytest.raises(ImageError, match="of the type float"):
        OpenedImage(served_bytes(encode("TIFF", Image.new("F", (8, 8)))), "TIFF", is_random=False)


def test_bytes_that_cannot_be_had_are_no_fault_of_the_image(encode: Encode, large: Image.Image):
    data = encode("TIFF", large.resize((1200, 1200)))
    assert len(data) > 4 * BLOCK_BYTES

    def ask(start: int, end: int) -> bytes:
        if start >= 2 * BLOCK_BYTES:
            raise StoreUnavailableError("the store is away")
        return data[start:end]

    with pytest.raises(StoreUnavailableError, match="the store is away"):
        OpenedImage(ServedFile("k", len(data), ask), "TIFF", is_random=False).region((0, 0, 1200, 1200))
