"""Headers: what they say of an image, without decoding it; sizes that cannot be are refused."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.image_header import ImageHeader
from pipeline.preprocessing.served_file import ServedFile, served_bytes
from tests.preprocessing import forged
from tests.preprocessing.conftest import Encode
from tests.preprocessing.large import strip_tiff, tiled_tiff


def test_a_header_says_what_an_image_is(encode: Encode, pixels_HWC: np.ndarray):
    exif = Image.Exif()
    exif[274] = 6
    header = ImageHeader.of(served_bytes(encode("JPEG", exif=exif, icc_profile=b"a profile")))
    assert (header.format, header.mode, header.size, header.orientation) == ("JPEG", "RGB", (48, 64), 6)
    assert (header.is_tiled, header.has_alpha, header.profile) == (False, False, b"a profile")
    header.require_readable(1000)
    transparent = ImageHeader.of(served_bytes(encode("PNG", transparency=tuple(pixels_HWC[0, 0].tolist()))))
    assert (transparent.has_alpha, transparent.profile, transparent.orientation) == (True, None, 1)
    assert ImageHeader.of(served_bytes(tiled_tiff(1000))).is_tiled
    assert not ImageHeader.of(served_bytes(strip_tiff(1000))).is_tiled


def test_a_photograph_with_others_in_it_is_a_jpeg(encode: Encode, pixels_HWC: np.ndarray):
    data = encode("MPO", save_all=True, append_images=[Image.fromarray(pixels_HWC)])
    assert ImageHeader.of(served_bytes(data)).format == "JPEG"


def test_of_a_large_file_the_first_block_is_enough_whatever_the_limit_of_pixels():
    stream, asked = io.BytesIO(), list[int]()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)).save(stream, "PNG")
    data = stream.getvalue()

    def ask(start: int, end: int) -> bytes:
        asked.append(start)
        return data[start:end]

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 1000
    try:
        assert ImageHeader.of(ServedFile("", len(data), ask)).size == (1500, 1500)
        assert Image.MAX_IMAGE_PIXELS == 1000, "of images that are decoded whole it stays"
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    assert asked == [0]


INSANE = {
    "74 bytes that claim 10,000 x 10,000": (forged.png((10_000, 10_000)), "no file of"),
    "60,000 x 60,000": (forged.png((60_000, 60_000)), "no file of"),
    "the largest PNG": (forged.png((2**31 - 1, 2**31 - 1)), "too many"),
    "a TIFF of 2^32 - 1": (forged.tiff({256: 2**32 - 1, 257: 2**32 - 1, 258: 8}), "too many"),
    "a long strip": (forged.tiff({256: 1, 257: 10_000_001, 258: 8}), "too many"),
}


@pytest.mark.parametrize("name", INSANE)
def test_insane_dimensions_are_refused_by_the_header(name: str):
    data, said = INSANE[name]
    header = ImageHeader.of(served_bytes(data))
    with pytest.raises(ImageError, match=said) as caught:
        header.require_readable(len(data))
    assert (caught.value.error_type, caught.value.stage) == ("ImageTooLarge", "decode")


def test_as_many_pixels_as_a_file_may_have_are_let_pass():
    header = ImageHeader.of(served_bytes(forged.png((50_000, 1000))))
    header.require_readable(1000)
    with pytest.raises(ImageError):
        header.require_readable(999)


@pytest.mark.parametrize(
    ("mode", "num_bands", "expected"),
    [
        ("L", 1, "L"),
        ("I;16", 1, "L"),
        ("RGB", 3, "RGB"),
        ("RGB", 5, "RGB"),
        ("CMYK", 4, "CMYK"),
    ],
)
def test_pixels_are_as_pillow_has_them(mode: str, num_bands: int, expected: str):
    header = ImageHeader("TIFF", mode, (2, 3), 1, is_tiled=False, has_alpha=False, profile=None)
    pixels = np.arange(2 * 3 * num_bands).reshape(2, 3, num_bands)
    for dtype, shift in ((np.uint8, 0), (np.uint16, 8)):
        image = header.as_pillow((pixels << shift).astype(dtype))
        assert (image.mode, image.size) == (expected, (3, 2))
        shown = np.asarray(image).reshape(2, 3, -1)
        np.testing.assert_array_equal(shown, pixels[:, :, : shown.shape[2]])
