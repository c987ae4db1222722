"""One rule per kind of pixel, from whatever a file holds to 8-bit sRGB; docs/images.md has them as a table."""

from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from pipeline.preprocessing.icc import to_srgb
from pipeline.preprocessing.refusal import refused

_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_EIGHT_BITS = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})
_GREYS = frozenset({"1", "L", "LA", "La"})
# Grey PNGs of 2 and 4 bits, and colour PNGs of 16: their transparent colour is said in numbers that Pillow's pixels
# do not have any more.
_KEYS: dict[str, Callable[[int], int]] = {
    "L;2": lambda value: value * 85,
    "L;4": lambda value: value * 17,
    "RGB;16B": lambda value: value >> 8,
}


def rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The image in 8-bit sRGB, mode RGB, on the background where it is transparent; decodes it if need be.

    Raises:
        ImageError: stage `decode`; of a mode whose numbers have no agreed meaning as colours.
        Exception: whatever Pillow raises on damaged bytes.
    """
    stored = image.tile[0].args if isinstance(image, PngImagePlugin.PngImageFile) and image.tile else None
    require_mode(image.mode)
    image.load()
    profile = image.info.get("icc_profile")
    if image.mode == "RGB" and not profile and "transparency" not in image.info:
        return image  # an ordinary photograph: its pixels as they are
    if image.mode in _SIXTEEN_BITS:
        colours, alpha = _high_bytes(image)
    else:
        colours, alpha = _split(image, _KEYS.get(stored) if isinstance(stored, str) else None)
    plain = colours if colours.mode in ("RGB", "L", "CMYK") else colours.convert("RGB")
    opaque = to_srgb(plain, profile)
    if alpha is None:
        return opaque
    shown = Image.new("RGB", opaque.size, background)
    shown.paste(opaque, mask=alpha)
    return shown


def require_mode(mode: str) -> None:
    """Refuses modes whose numbers have no agreed meaning as colours.

    Raises:
        ImageError: stage `decode`.
    """
    if mode not in _SIXTEEN_BITS | _EIGHT_BITS:
        raise refused(
            "UnsupportedMode",
            f"mode {mode}: numbers of 32 bits, of floats or with signs have no agreed black and white; "
            "convert it to 8 bits, or to 16 without sign",
        )


def _high_bytes(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey of more than 8 bits by its upper 8, as Pillow itself reads colours of 16 bits; and where it is opaque."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0]
        # White is 0, which Pillow minds at 8 bits only; it is what a TIFF means that does not say.
        if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0:
            values = (1 << bits) - 1 - values
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8)), alpha


def _split(image: Image.Image, of_key: Callable[[int], int] | None) -> tuple[Image.Image, Image.Image | None]:
    """Colours without their alpha, and the alpha if there is any; `of_key` makes a key what pixels have."""
    if not image.has_transparency_data:
        return image.convert("L") if image.mode == "1" else image, None
    key = image.info.get("transparency")
    if of_key is not None and key is not None:
        image = image.copy()
        image.info["transparency"] = tuple(map(of_key, key)) if isinstance(key, tuple) else of_key(key)
    is_grey = image.mode in _GREYS
    whole = image.convert("LA" if is_grey else "RGBA")
    return whole.convert("L" if is_grey else "RGB"), whole.getchannel("A")
