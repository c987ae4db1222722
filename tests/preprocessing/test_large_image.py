"""Large images: boxes are crops of the whole, in any order, of few bytes and little memory; damage is told as such."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import ExifTags, Image

import pipeline
from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.isolation import IsolatedDecoder
from pipeline.preprocessing.large_image import LargeImage
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.served_file import BLOCK_BYTES, ServedFile, served_bytes
from pipeline.preprocessing.tiles import NO_BOX, tile_boxes
from tests.preprocessing.forged import SRGB_PRIMARIES, gamma_curve, rgb_profile

HEIGHT, WIDTH = 700, 900
KINDS = ["PNG", "JPEG", "WEBP", "strips", "tiles", "grey", "alpha", "16 bits", "profile"]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(2).integers(0, 60, (HEIGHT, WIDTH))
    return Image.fromarray(np.stack([rows // 4 + noise, columns // 5, (rows + columns) // 9], -1).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(image: Image.Image, **options) -> bytes:
    """A TIFF by libvips, which writes tiles; Pillow does not."""
    return pyvips.Image.new_from_array(np.asarray(image)).tiffsave_buffer(**options)


def encoded(picture: Image.Image, kind: str) -> bytes:
    if kind == "tiles":
        return tiff(picture, tile=True, tile_width=128, tile_height=128, compression="deflate")
    if kind == "strips":
        return saved(picture, "TIFF", compression="tiff_lzw", strip_size=16 * WIDTH * 3)
    grey = picture.convert("L")
    others = {
        "grey": grey,
        "alpha": Image.merge("RGBA", [*picture.split(), grey]),
        "16 bits": Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
    }
    if kind in others:
        return saved(others[kind], "PNG")
    profile = {"icc_profile": rgb_profile(SRGB_PRIMARIES, gamma_curve(1.4))} if kind == "profile" else {}
    return saved(picture, "PNG" if profile else kind, **profile)


def crop(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, width, height = box
    return pixels[top : top + height, left : left + width]


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_crops_of_what_is_decoded_whole(picture: Image.Image, kind: str):
    data = encoded(picture, kind)
    expected, image = decode(data), LargeImage(served_bytes(data), USUAL)
    assert (image.size, image.orientation) == ((HEIGHT, WIDTH), 1)
    for box in tile_boxes(image.size, tile_px=256, overlap_px=32):
        np.testing.assert_array_equal(image.window(box), crop(expected, box))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "strips", "tiles", "WEBP"])
def test_jumps_back_and_forth_give_the_same(picture: Image.Image, kind: str):
    data = encoded(picture, kind)
    expected, image = decode(data), LargeImage(served_bytes(data), USUAL)
    boxes = [(0, 500, 99, 200), (5, 0, 99, 99), (800, 690, 100, 10), (0, 0, WIDTH, HEIGHT), (7, 690, 3, 3)]
    for box in boxes:
        np.testing.assert_array_equal(image.window(box), crop(expected, box))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_they_are_of_the_upright_image(picture: Image.Image, kind: str, orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = saved(picture.resize((90, 70)), kind, exif=exif)
    expected, image = decode(data), LargeImage(served_bytes(data), USUAL)
    assert image.size == expected.shape[:2]
    assert image.orientation == orientation
    for box in tile_boxes(image.size, tile_px=32, overlap_px=5, orientation=orientation):
        np.testing.assert_array_equal(image.window(box), crop(expected, box))


def test_of_tiles_few_bytes_are_asked_for():
    noise = np.random.default_rng(3).integers(0, 256, (4096, 4096, 3), dtype=np.uint8)
    data, asked = tiff(Image.fromarray(noise), tile=True, tile_width=256, tile_height=256), []

    def ask(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    assert len(data) >= 48 * BLOCK_BYTES
    image = LargeImage(ServedFile("k", len(data), ask), USUAL)
    np.testing.assert_array_equal(image.window((2048, 2048, 512, 512)), noise[2048:2560, 2048:2560])
    assert sum(end - start for start, end in asked) <= 8 * BLOCK_BYTES, asked


def test_a_box_that_is_not_there_and_one_that_stands_for_no_size_are_refused(picture: Image.Image):
    image = LargeImage(served_bytes(encoded(picture, "PNG")), USUAL)
    for box in ((-1, 0, 5, 5), (0, 0, 0, 5), (WIDTH - 4, 0, 5, 5), (0, HEIGHT, 1, 1)):
        with pytest.raises(ImageError) as caught:
            image.window(box)
        assert caught.value.error_type == "NoSuchBox"
    with pytest.raises(ImageError) as caught:
        image.window(NO_BOX)
    assert (caught.value.error_type, caught.value.error_class) == ("SizeUnknown", "transient")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "strips"])
def test_above_the_cut_of_a_truncated_image_there_are_tiles(picture: Image.Image, kind: str):
    data = encoded(picture, kind)
    # The directory of a TIFF that libtiff wrote is behind its pixels, so those are overwritten, not cut.
    short = data[: len(data) * 3 // 4] if kind != "strips" else _spoiled(data)
    image = LargeImage(served_bytes(short), USUAL)
    np.testing.assert_array_equal(image.window((0, 0, 99, 99)), crop(decode(data), (0, 0, 99, 99)))
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            image.window((0, HEIGHT - 99, 99, 99))
        assert caught.value.error_type in ("TruncatedImage", "DamagedImage")
    np.testing.assert_array_equal(image.window((0, 0, 9, 9)), crop(decode(data), (0, 0, 9, 9)))


def _spoiled(data: bytes) -> bytes:
    place = len(data) * 3 // 4
    return data[:place] + bytes(2000) + data[place + 2000 :]


def test_a_damaged_tile_costs_itself_and_is_never_black(picture: Image.Image):
    data = bytearray(encoded(picture, "tiles"))
    with Image.open(io.BytesIO(bytes(data))) as opened:
        offsets = opened.tag_v2[324]
    data[offsets[0] : offsets[0] + 64] = bytes(64)
    image, expected = LargeImage(served_bytes(bytes(data)), USUAL), np.asarray(picture)
    for _ in range(2):
        with pytest.raises(ImageError):
            image.window((0, 0, 128, 128))
        np.testing.assert_array_equal(image.window((128, 128, 300, 300)), expected[128:428, 128:428])


def test_formats_that_are_decoded_whole_have_the_cap_of_whole_images(picture: Image.Image):
    rules = PixelRules(max_pixels=HEIGHT * WIDTH - 1)
    assert LargeImage(served_bytes(encoded(picture, "PNG")), rules).size == (HEIGHT, WIDTH), "none where boxes are read"
    with pytest.raises(ImageError) as caught:
        LargeImage(served_bytes(encoded(picture, "WEBP")), rules)
    assert caught.value.error_type == "ImageTooLarge"


class FileReader:
    """A file on disk as the parent reads it."""

    def __init__(self, path: Path) -> None:
        self._path, self.key, self.size_bytes = path, str(path), path.stat().st_size
        self.num_bytes = 0

    def read(self, start: int, end: int) -> bytes:
        self.num_bytes += end - start
        with self._path.open("rb") as stream:
            stream.seek(start)
            return stream.read(end - start)


@pytest.fixture
def decoder() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(side_px=64)
    yield decoder
    decoder.close()


def peak_bytes(pid: int) -> int:
    """The most that a process has ever held in memory."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("is_tiled", [True, False], ids=["tiles", "strips"])
def test_memory_is_that_of_tiles_and_not_of_the_image(tmp_path: Path, decoder: IsolatedDecoder, is_tiled: bool):
    side_px, path, slots = 20_000, tmp_path / "large.tif", decoder.slots(1)
    small = pyvips.Image.new_from_array(np.arange(100 * 100 * 3, dtype=np.uint8).reshape(100, 100, 3))
    small.replicate(200, 200).tiffsave(str(path), tile=is_tiled, compression="lzw", tile_width=256, tile_height=256)
    decoder.decode_into(saved(Image.new("RGB", (64, 64)), "PNG"), slots, 0)
    idle, reader = peak_bytes(decoder.pid), FileReader(path)
    assert decoder.probe(reader, "size") == {"height": side_px, "width": side_px, "orientation": 1}
    boxes = list(tile_boxes((side_px, side_px), tile_px=1024, overlap_px=128))
    for box in [*boxes[:3], *boxes[200:203], *boxes[-23:]]:
        decoder.decode_into(reader, slots, 0, part=Part(box=box).text)
        expected = np.roll(np.asarray(small.numpy()), (-box[1], -box[0]), (0, 1))
        whole = np.tile(expected, (11, 11, 1))[:1024, :1024]
        np.testing.assert_array_equal(slots.pixels_NCHW[0], pipeline.preprocess(whole, 64).numpy())
    taken = peak_bytes(decoder.pid) - idle
    assert taken < side_px * side_px * 3 / 4, f"{taken / 1e6:.0f} MB of an image of 1200"
