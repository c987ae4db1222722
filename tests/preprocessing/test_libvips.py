"""libvips: three loaders and no other, one thread, and a file that cannot be had is no damage of the image."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.libvips import FORMATS, OpenedImage
from pipeline.preprocessing.served_file import ServedFile, served_bytes
from tests.preprocessing.conftest import Encode


def test_regions_are_those_of_the_image_and_rows_come_down_once(encode: Encode, pixels_HWC: np.ndarray):
    image = OpenedImage(served_bytes(encode("PNG")), "PNG", is_random=False)
    assert image.size == (48, 64)
    assert image.empty(2, 3).shape == (2, 3, 3)
    for top in range(0, 48, 16):
        np.testing.assert_array_equal(image.region((0, top, 64, 16)), pixels_HWC[top : top + 16])


def test_no_other_parser_can_be_reached(encode: Encode):
    assert sorted(FORMATS) == ["JPEG", "PNG", "TIFF"]
    for kind in ("WEBP", "GIF", "AVIF"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(encode(kind), "")
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_buffer(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "")
    assert pyvips.concurrency_get() == 1


@pytest.mark.parametrize("claimed", sorted(FORMATS))
def test_what_is_not_what_it_is_said_to_be_is_the_images_fault(encode: Encode, claimed: str):
    with pytest.raises(ImageError, match="cannot be decoded") as caught:
        OpenedImage(served_bytes(encode("GIF")), claimed, is_random=False)
    assert caught.value.error_type in ("DamagedImage", "TruncatedImage")


def failing(data: bytes, after: int, error: Exception) -> ServedFile:
    """A file that gives so many of its first bytes, and then that."""

    def ask(start: int, end: int) -> bytes:
        if start >= after:
            raise error
        return data[start:end]

    return ServedFile("", len(data), ask)


@pytest.mark.parametrize("error", [MemoryError("none"), OSError("gone")])
def test_bytes_that_cannot_be_had_are_not_damage(error: Exception):
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG", compress_level=0)
    image = OpenedImage(failing(stream.getvalue(), 1 << 20, error), "PNG", is_random=False)
    image.region((0, 0, 900, 16))
    with pytest.raises(type(error), match=str(error)):
        image.region((0, 800, 900, 16))


LETTING_GO = """
import sys
from pathlib import Path
from pipeline.preprocessing.libvips import OpenedImage
from pipeline.preprocessing.served_file import served_bytes
for path in map(Path, sys.argv[1:]):
    for num_rows in (0, 1, 40):
        image = OpenedImage(served_bytes(path.read_bytes()), path.name, is_random=False)
        if num_rows:
            image.region((0, 0, 64, num_rows))
        del image
"""


def test_an_image_may_be_forgotten_at_any_time(encode: Encode, tmp_path: Path):
    """In a process of its own: what libvips asks of a source that is gone ends a process."""
    for kind in FORMATS:
        (tmp_path / kind).write_bytes(encode(kind))
    paths = [str(tmp_path / kind) for kind in sorted(FORMATS)]
    assert subprocess.run([sys.executable, "-c", LETTING_GO, *paths], check=False).returncode == 0


def test_numbers_that_are_no_colours_are_refused():
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((20, 20, 3), np.float32), photometric="rgb")
    with pytest.raises(ImageError, match="convert it to 8 bits first"):
        OpenedImage(served_bytes(stream.getvalue()), "TIFF", is_random=False)
