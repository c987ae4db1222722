"""Image bytes to RGB pixels; Pillow decodes, and whatever it cannot decode whole is refused.

EXIF orientation is applied, so that pixels and sizes are those a viewer shows.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pipeline.errors import ImageError

# 16-bit and float images have no agreed way to 8 bits; `convert` would clip them to white without a word.
_EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of an encoded image; of an animated one, the first frame.

    Raises:
        ImageError: stage `decode`; empty, not an image, truncated, too large, or of an unsupported kind.
    """
    if not data:
        raise _refused("EmptyFile", "the file has 0 bytes")
    with _refusing(), warnings.catch_warnings():
        # Pillow warns from 89 Mpx on, which real cameras reach, and refuses from twice that on.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            opened = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            message = f"none of the known image formats, or its head is damaged; it begins with {data[:16]!r}"
            raise _refused("NotAnImage", message) from None
        with opened as image:
            return rgb_pixels(image)


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of a Pillow image, turned as its EXIF orientation says.

    Raises:
        ImageError: stage `decode`; a mode with more than 8 bits, or a file that Pillow opened but cannot read on.
    """
    if image.mode not in _EIGHT_BIT_MODES:
        raise _refused("UnsupportedMode", f"mode {image.mode} has more than 8 bits a channel; convert it first")
    if image.format == "EPS":  # Pillow would hand it to Ghostscript, which runs what it finds
        raise _refused("NotAnImage", "a PostScript program, not an image")
    with _refusing():
        upright = _upright(image)
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Like ImageOps.exif_transpose, which also rewrites all EXIF and so fails on fields that nobody needs here."""
    image.load()
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever Pillow raises inside the block leaves it as the image's fault."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _refused("ImageTooLarge", str(error)) from None
    except Exception as error:  # noqa: BLE001  Pillow's parsers raise what they like on damaged bytes
        kind = "TruncatedImage" if "truncated" in str(error).lower() else "DamagedImage"
        raise _refused(kind, f"cannot be decoded: {error}") from None


def _refused(error_type: str, message: str) -> ImageError:
    return ImageError(message, stage="decode", error_type=error_type)
