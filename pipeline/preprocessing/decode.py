"""Image bytes to RGB pixels; Pillow decodes, and whatever it cannot decode whole is refused.

EXIF orientation is applied, so that pixels and sizes are those a viewer shows.
"""

import numpy as np
from PIL import ExifTags, Image

from pipeline.preprocessing.colour import rgb
from pipeline.preprocessing.formats import File, open_image
from pipeline.preprocessing.frames import num_frames, show_frame
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.refusal import refused, refusing

__all__ = ["PixelRules", "decode", "num_frames", "rgb_pixels"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes | File, *, frame: int = 0, rules: PixelRules = USUAL) -> np.ndarray:
    """The (height, width, 3) uint8 sRGB pixels of an encoded image, as a viewer shows it.

    Args:
        data: of the file, or the file.
        frame: which frame of an animation, or page of a document, counted from 0.
        rules: what a run may choose.

    Raises:
        ImageError: stage `decode`; empty, not an image, of another format or kind, truncated, damaged, too large, or
            without such a frame.
    """
    with refusing(), open_image(data) as image:
        show_frame(image, frame, rules)
        return rgb_pixels(image, rules)


def rgb_pixels(image: Image.Image, rules: PixelRules = USUAL) -> np.ndarray:
    """The (height, width, 3) uint8 sRGB pixels of a Pillow image, turned as its EXIF orientation says.

    Raises:
        ImageError: stage `decode`; a mode that is no picture, or a file that Pillow opened but cannot read on.
    """
    if image.format == "EPS":  # Pillow would hand it to Ghostscript, which runs what it finds
        raise refused("FormatNotAllowed", "a PostScript program, not an image")
    with refusing():
        pixels_HWC = np.asarray(_upright(image, rgb(image, rules.background)))
        if 0 in pixels_HWC.shape:
            raise refused("NoPixels", f"it is {pixels_HWC.shape[1]} x {pixels_HWC.shape[0]} pixels")
        return pixels_HWC


def _upright(image: Image.Image, shown: Image.Image) -> Image.Image:
    """Like ImageOps.exif_transpose, which also rewrites all EXIF and so fails on fields that nobody needs here."""
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return shown if turn is None else shown.transpose(turn)
