"""Image bytes to RGB pixels; Pillow decodes, and whatever it cannot decode whole is refused.

EXIF orientation is applied, so that pixels and sizes are those a viewer shows.
"""

import numpy as np
from PIL import ExifTags, Image

from pipeline.preprocessing.colour import rgb
from pipeline.preprocessing.formats import File, open_image
from pipeline.preprocessing.frames import show_frame
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.refusal import refused, refusing
from pipeline.preprocessing.turning import upright


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
        stored_HWC = np.asarray(rgb(image, rules.background))  # first, for EXIF may stand behind the pixels
        pixels_HWC = np.ascontiguousarray(upright(stored_HWC, image.getexif().get(ExifTags.Base.Orientation, 1)))
        if 0 in pixels_HWC.shape:
            raise refused("NoPixels", f"it is {pixels_HWC.shape[1]} x {pixels_HWC.shape[0]} pixels")
        return pixels_HWC
