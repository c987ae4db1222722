"""Large images: a box is the crop of the whole, and little more of the file is read, or memory taken, than it needs."""

import io
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.large_image import LargeImage
from pipeline.preprocessing.pixel_rules import USUAL
from pipeline.preprocessing.served_file import ServedFile, served_bytes
from pipeline.preprocessing.tiles import NO_BOX, tile_boxes

SIZE = (700, 900)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth and coarse noise, so that no codec gets it wrong by much and no two tiles are alike."""
    coarse = Image.fromarray(np.random.default_rng(5).integers(0, 256, (70, 90, 3), dtype=np.uint8))
    return np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if kind == "tiled":
        tifffile.imwrite(stream, pixels, tile=(128, 128), compression="zlib", photometric="rgb")
    else:
        Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "tiled", "WEBP", "BMP"])
def test_boxes_are_crops_of_the_whole_in_any_order(pixels: np.ndarray, kind: str):
    data = encoded(pixels, kind)
    whole, image = decode(data), LargeImage(served_bytes(data), USUAL)
    assert image.size == SIZE
    boxes = list(tile_boxes(SIZE, tile_px=256, overlap_px=32))
    for left, top, width, height in [*boxes, boxes[0], boxes[-1], boxes[3]]:
        found = image.window((left, top, width, height))
        np.testing.assert_array_equal(found, whole[top : top + height, left : left + width], str((left, top)))


@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_are_of_the_upright_image(pixels: np.ndarray, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pixels, "JPEG", exif=exif)
    whole, image = decode(data), LargeImage(served_bytes(data), USUAL)
    assert image.size == whole.shape[:2]
    np.testing.assert_array_equal(image.window((10, 300, 200, 100)), whole[300:400, 10:210])


def test_of_a_tiled_file_only_what_a_box_takes_is_read(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", noise, tile=(256, 256), photometric="rgb")
    data, asked = (tmp_path / "x.tif").read_bytes(), []

    def ask(start: int, end: int) -> bytes:
        asked.append(end - start)
        return data[start:end]

    image = LargeImage(ServedFile("key", len(data), ask), USUAL)
    np.testing.assert_array_equal(image.window((1500, 1500, 100, 100)), noise[1500:1600, 1500:1600])
    assert sum(asked) < len(data) / 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "tiled"])
def test_what_is_cut_off_is_refused_and_what_comes_before_it_is_not(pixels: np.ndarray, kind: str):
    data = encoded(pixels, kind)
    try:
        image = LargeImage(served_bytes(data[: len(data) * 3 // 4]), USUAL)
    except ImageError:
        return  # where the directory of a TIFF stands at its end
    with pytest.raises(ImageError):
        image.window((0, SIZE[0] - 64, 64, 64))


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (890, 0, 20, 5), (0, 690, 5, 20)])
def test_a_box_that_is_none_of_the_image_is_refused(pixels: np.ndarray, box: tuple[int, int, int, int]):
    with pytest.raises(ImageError, match="no box of"):
        LargeImage(served_bytes(encoded(pixels, "PNG")), USUAL).window(box)


def test_an_image_whose_size_could_not_be_told_is_told_now(pixels: np.ndarray):
    with pytest.raises(ImageError, match="can be now") as caught:
        LargeImage(served_bytes(encoded(pixels, "PNG")), USUAL).window(NO_BOX)
    assert caught.value.error_class == "transient"


_PEAK = """
import sys
from pathlib import Path
from pipeline.preprocessing.large_image import LargeImage
from pipeline.preprocessing.pixel_rules import USUAL
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.tiles import tile_boxes
file = open(sys.argv[1], "rb")
def peak(name):
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) * 1024
def ask(start, end):
    file.seek(start)
    return file.read(end - start)
before = peak("VmRSS")
image = LargeImage(ServedFile("key", Path(sys.argv[1]).stat().st_size, ask), USUAL)
boxes = list(tile_boxes(image.size, tile_px=1024, overlap_px=128))
for box in boxes[: len(boxes) // 3]:
    image.window(box)
print(peak("VmHWM") - before)
"""


@pytest.mark.parametrize("kind", ["tiled", "strips"])
def test_memory_is_a_row_of_tiles_and_not_the_image(tmp_path, kind: str):
    """12,000 x 12,000 pixels are 432 MB."""
    size, options = 12_000, {"tile": (512, 512)} if kind == "tiled" else {"rowsperstrip": 16}
    row = np.tile(np.arange(size, dtype=np.uint8)[None, :, None], (size, 1, 3))
    tifffile.imwrite(tmp_path / "x.tif", row, photometric="rgb", compression="zlib", **options)
    del row
    run = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "x.tif")], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 220e6, f"{int(run.stdout) / 1e6:.0f} MB"
