"""RGB pixels to the encoder's input, equal to SAM 2's image transform (upstream: sam2/utils/transforms.py).

Float resize, antialiased bilinear, to a square without keeping the aspect ratio; then ImageNet mean and deviation.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from pipeline.preprocessing.decode import decode, rgb_pixels
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

# What the transform does to a number, for the fingerprint of a feature set.
DESCRIPTION = {
    "orientation": "EXIF applied",
    "colour": "ICC to sRGB, relative colorimetric, black points compensated; CMYK without ICC as (255-C)(255-K)/255",
    "depth": "the upper 8 of up to 16 bits",
    "background": list(USUAL.background),
    "resize": "float32 antialiased bilinear to side x side",
    "mean": list(MEAN),
    "deviation": list(DEVIATION),
}

ImageLike = bytes | str | os.PathLike[str] | Image.Image | np.ndarray


def preprocess(image: ImageLike, side_px: int = 1024, *, rules: PixelRules = USUAL) -> torch.Tensor:
    """The encoder's input for one image.

    Args:
        image: encoded bytes, a local path, a Pillow image, or (height, width, 3) uint8 RGB pixels.
        side_px: side of the square the encoder takes, in pixels.
        rules: what a run may choose of how pixels are made.

    Returns:
        (3, side_px, side_px) float32, normalised.

    Raises:
        ImageError: the image cannot be decoded.
        TypeError, ValueError: not an image at all, or an array of another shape or dtype.
    """
    return normalise(_pixels(image, rules), side_px)


def normalise(pixels_HWC: np.ndarray, side_px: int) -> torch.Tensor:
    """Resized, normalised (3, side_px, side_px) float32 of (height, width, 3) uint8 RGB pixels.

    As in SAM 2 each channel lies by itself before it is resized, which is faster too.
    """
    owned_HWC = np.array(pixels_HWC, order="C")  # torch takes neither read-only arrays nor flipped ones
    pixels_CHW = torch.from_numpy(owned_HWC).permute(2, 0, 1).contiguous().to(torch.float32).div_(255.0)
    if pixels_CHW.shape[1:] != (side_px, side_px):
        size = (side_px, side_px)
        resized = F.interpolate(pixels_CHW[None], size, mode="bilinear", align_corners=False, antialias=True)
        pixels_CHW = resized[0].contiguous()  # which of a single pixel it is not
    mean, deviation = torch.tensor(MEAN)[:, None, None], torch.tensor(DEVIATION)[:, None, None]
    return pixels_CHW.sub_(mean).div_(deviation)


def _pixels(image: ImageLike, rules: PixelRules) -> np.ndarray:
    if isinstance(image, bytes):
        return decode(image, rules=rules)
    if isinstance(image, str | os.PathLike):
        return decode(Path(image).read_bytes(), rules=rules)
    if isinstance(image, Image.Image):
        return rgb_pixels(image, rules)
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image is bytes, a path, a Pillow image or an array, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"pixels are (height, width, 3) uint8, not {image.shape} {image.dtype}")
    return image
