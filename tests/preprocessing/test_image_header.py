"""Headers: what they say is told without a pixel being decoded, and what no file can be is refused."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.errors import ImageError
from pipeline.preprocessing.image_header import ImageHeader
from pipeline.preprocessing.served_file import served_bytes
from tests.preprocessing.conftest import Encode
from tests.preprocessing.forged import flat_jpeg


def header(data: bytes) -> ImageHeader:
    return ImageHeader.of(served_bytes(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_it_says_what_the_image_is(encode: Encode, noise: Image.Image, kind: str):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    found, size = header(encode(kind, noise, exif=exif)), (64, 48) if kind == "TIFF" else (48, 64)
    assert (found.format, found.mode, found.size, found.orientation) == (kind, "RGB", size, 6)
    assert (found.is_tiled, found.has_alpha, found.profile) == (False, False, None)
    assert header(encode("PNG", noise.convert("RGBA"), icc_profile=b"abc")).has_alpha


def test_a_cut_off_image_has_a_header_too(encode: Encode, noise: Image.Image):
    data = encode("PNG", noise)
    assert header(data[: len(data) // 2]).size == (48, 64)


def test_what_no_file_can_be_is_refused(encode: Encode):
    found = header(flat_jpeg((0, 0, 0), size=(60_000, 60_000)))
    assert found.size == (60_000, 60_000), "of any size"
    with pytest.raises(ImageError, match="no file of 1000 bytes has the 60000 x 60000 pixels it claims") as caught:
        found.require_readable(1000)
    assert caught.value.error_type == "ImageTooLarge"
    with pytest.raises(ImageError, match="mode LAB is not cut into tiles"):
        header(encode("TIFF", Image.new("LAB", (8, 8)))).require_readable(10**6)
    with pytest.raises(ImageError):
        header(b"no image")


def test_pixels_become_what_pillow_would_have_decoded(encode: Encode):
    grey = np.arange(0, 65_536, 1024, dtype=np.uint16).reshape(8, 8, 1)
    window = header(encode("PNG", Image.fromarray(grey[:, :, 0]))).as_pillow(grey)
    assert window.mode == "L"
    np.testing.assert_array_equal(np.asarray(window), grey[:, :, 0] >> 8)
    five_bands = np.zeros((2, 3, 5), np.uint8)
    assert header(encode("PNG")).as_pillow(five_bands).mode == "RGB", "what nobody named is no alpha"
