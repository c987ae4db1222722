"""Decoding: whole images become RGB pixels, and every fault becomes an ImageError that names it."""

import collections
import io
import random
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.errors import ImageError
from pipeline.preprocessing.decode import decode, rgb_pixels
from pipeline.preprocessing.pixel_rules import PixelRules
from tests.preprocessing.conftest import Encode
from tests.preprocessing.forged import flat_jpeg, gif, gif_frame, png, tiff

LOSSLESS = ["PNG", "TIFF", "BMP", "GIF"]
FORMATS = [*LOSSLESS, "JPEG", "WEBP"]
SEED = 20240607
# What a viewer shows of a picture stored with each EXIF orientation.
SHOWN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.stage == "decode"
    assert caught.value.error_class == "permanent"
    return caught.value


def with_exif(jpeg: bytes, *entries: bytes) -> bytes:
    """The JPEG with an EXIF block of these raw directory entries."""
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_give_back_every_pixel(encode: Encode, pixels_HWC: np.ndarray, kind: str):
    found = decode(encode(kind))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels_HWC)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("GIF", {})])
def test_lossy_formats_give_back_the_picture(
    encode: Encode, pixels_HWC: np.ndarray, kind: str, options: dict[str, int]
):
    found = decode(encode(kind, **options)).astype(int)
    assert np.abs(found - pixels_HWC).mean() < 8, kind


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_eight_bit_mode_becomes_rgb(encode: Encode, pixels_HWC: np.ndarray, mode: str):
    image = Image.fromarray(pixels_HWC).convert(mode)
    kind = {"CMYK": "TIFF", "YCbCr": "JPEG"}.get(mode, "PNG")
    found = decode(encode(kind, image))
    assert found.shape == (48, 64, 3)
    if kind != "JPEG":
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_a_cmyk_jpeg_is_accepted(encode: Encode, pixels_HWC: np.ndarray):
    found = decode(encode("JPEG", Image.fromarray(pixels_HWC).convert("CMYK"), quality=95))
    assert np.abs(found.astype(int) - pixels_HWC).mean() < 8


def test_an_animation_gives_its_first_frame(encode: Encode):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    found = decode(encode("GIF", frames[0], save_all=True, append_images=frames[1:]))
    assert found[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(encode: Encode, pixels_HWC: np.ndarray, orientation: int, kind: str):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lossless = {"WEBP": {"lossless": True}}.get(kind, {})
    found = decode(encode(kind, exif=exif, **lossless))
    np.testing.assert_array_equal(found, SHOWN[orientation](pixels_HWC))


def test_exif_orientation_is_applied_whatever_else_the_exif_holds(encode: Encode):
    turned = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    nonsense = struct.pack("<HHII", ExifTags.Base.ImageWidth, 12, 1, 0)  # a width that is a fraction elsewhere
    assert decode(with_exif(encode("JPEG"), turned)).shape == (64, 48, 3)
    assert decode(with_exif(encode("JPEG"), turned, nonsense)).shape == (64, 48, 3)


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_means_nothing_changes_nothing(encode: Encode, orientation: int):
    entry = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, orientation, 0)
    np.testing.assert_array_equal(decode(with_exif(encode("JPEG"), entry)), decode(encode("JPEG")))


@pytest.mark.parametrize(
    ("data", "error_type", "says"),
    [
        (b"", "EmptyFile", "0 bytes"),
        (b"just some text, no image\n", "NotAnImage", "just some text"),
        (bytes(1000), "NotAnImage", r"\x00"),
        (png((60_000, 60_000)), "ImageTooLarge", "3600000000 pixels are more than are decoded whole"),
        (png((10_000, 10_000)), "ImageTooLarge", "10000 x 10000 pixels are 100.0 megapixels, and at most 64"),
        (png((0, 10)), "NotAnImage", "PNG"),
        (png((64, 48), [bytes(100)]), "TruncatedImage", "truncated"),
        (png((64, 48), bits=7), "NotAnImage", "PNG"),
    ],
    ids=["empty", "text", "zeros", "bomb", "huge", "no width", "no body", "7 bits"],
)
def test_what_is_not_an_image_is_refused_and_the_fault_is_named(data: bytes, error_type: str, says: str):
    error = refusal(data)
    assert error.error_type == error_type, error
    assert says in str(error)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("percent", [30, 50, 80, 95])
def test_a_truncated_image_is_refused_and_the_fault_is_named(
    encode: Encode, noise: Image.Image, kind: str, percent: int
):
    data = encode(kind, noise)
    error = refusal(data[: len(data) * percent // 100])
    assert error.error_type == "TruncatedImage", error
    assert "truncated" in str(error).lower()


@pytest.mark.parametrize("kind", FORMATS)
def test_no_image_of_which_half_is_missing_is_taken_for_whole(encode: Encode, noise: Image.Image, kind: str):
    data = encode(kind, noise)
    for length in range(1, len(data) // 2, max(1, len(data) // 40)):
        refusal(data[:length])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of damaged tags as it goes along
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_give_pixels_or_an_image_error_and_nothing_else(encode: Encode, kind: str):
    whole, chance = encode(kind), random.Random(f"{SEED} {kind}")
    outcomes: collections.Counter[str] = collections.Counter()
    for attempt in range(80):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            near = len(data) if chance.random() < 0.5 else min(len(data), 200)
            data[chance.randrange(near)] = chance.randrange(256)
        try:
            outcomes[f"{decode(bytes(data)).shape[2]} channels"] += 1
        except ImageError as error:
            outcomes[error.error_type] += 1
        except Exception as error:  # noqa: BLE001  what must not happen, told so that it can be found again
            pytest.fail(f"seed {SEED}, {kind}, attempt {attempt}: {type(error).__name__}: {error}")
    assert outcomes["3 channels"] < 80, f"seed {SEED}: no mutation of {kind} did any damage"
    assert set(outcomes) <= {
        "3 channels",
        "NotAnImage",
        "TruncatedImage",
        "DamagedImage",
        "ImageTooLarge",
        "UnsupportedMode",
    }


def test_a_pillow_image_that_cannot_be_read_on_is_an_image_error(encode: Encode, noise: Image.Image):
    data = encode("JPEG", noise)
    with Image.open(io.BytesIO(data[: len(data) // 2])) as opened, pytest.raises(ImageError, match="truncated"):
        rgb_pixels(opened)


@pytest.mark.parametrize("tail", [b"\0" * 1000, b"PK\x03\x04" + bytes(60), b"<script>", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("kind", FORMATS)
def test_what_follows_an_image_in_its_file_is_passed_over(encode: Encode, kind: str, tail: bytes):
    np.testing.assert_array_equal(decode(encode(kind) + tail), decode(encode(kind)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_cut_off_anywhere_an_image_is_refused_or_every_pixel_is_there(kind: str, encode: Encode):
    """What may be missing is what says that the file ends."""
    data = encode(kind, Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)))
    whole, num_refused = decode(data), 0
    for length in range(len(data)):
        try:
            np.testing.assert_array_equal(decode(data[:length]), whole, err_msg=f"{length} of {len(data)} bytes")
        except ImageError:
            num_refused += 1
    assert num_refused > len(data) * 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 65_535), (65_535, 1)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_an_image_may_be_one_pixel_or_one_row_or_one_column(size: tuple[int, int], kind: str, encode: Encode):
    found = decode(encode(kind, Image.new("RGB", size, (200, 100, 50))))
    assert found.shape == (size[1], size[0], 3)
    assert (found == (200, 100, 50)).all()


@pytest.mark.parametrize(
    "data",
    [
        png((0, 0)),
        gif((0, 0), [gif_frame((0, 0, 0, 0), 1)]),
        tiff({256: 0, 257: 0, 258: 8}),
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 0, 0, 1, 24, 0, 0, 0, 0, 0, 0),
        flat_jpeg([1, 2, 3], size=(0, 0)),
    ],
    ids=["PNG", "GIF", "TIFF", "BMP", "JPEG"],
)
def test_an_image_without_pixels_is_refused(data: bytes):
    assert refusal(data).error_type in {"NoPixels", "NotAnImage", "DamagedImage"}


def test_how_large_an_image_may_be_can_be_set(encode: Encode):
    data = encode("PNG")
    assert decode(data, rules=PixelRules(max_pixels=48 * 64)).shape == (48, 64, 3)
    with pytest.raises(
        ImageError, match=r"64 x 48 pixels are 0\.0 megapixels.*decode_max_megapixels.*preprocess=tiles"
    ):
        decode(data, rules=PixelRules(max_pixels=48 * 64 - 1))


@pytest.mark.parametrize("entry", [(0x8769, 8), (0x8769, 26), (0x014A, 8), (0x8825, 4_000_000_000)])
def test_exif_that_leads_nowhere_or_in_circles_is_passed_over(encode: Encode, entry: tuple[int, int]):
    tag, offset = entry
    looped = with_exif(encode("JPEG"), struct.pack("<HHII", tag, 4, 1, offset))
    np.testing.assert_array_equal(decode(looped), decode(encode("JPEG")))


def test_a_jpeg_may_have_as_many_comments_and_profiles_as_it_likes(encode: Encode):
    data = encode("JPEG")
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    profile = b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0" + bytes(0xFFFD - 12)
    np.testing.assert_array_equal(decode(data[:2] + (comment + profile) * 50 + data[2:]), decode(data))


def test_decoding_leaves_the_callers_image_alone(pixels_HWC: np.ndarray):
    image = Image.fromarray(pixels_HWC).convert("L")
    before = image.tobytes()
    rgb_pixels(image)
    assert (image.mode, image.tobytes()) == ("L", before)


def test_decoding_needs_no_torch():
    script = "import sys; import pipeline.preprocessing.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
