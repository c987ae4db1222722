"""Colour profiles: how pixels of a profile become sRGB, or that there is nothing to do.

Relative colorimetric with black point compensation, as browsers and Photoshop have it: colours that sRGB has stay
what they are. The perceptual intent would move them all, and differently from profile to profile.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_MAX_BYTES = 4 * 2**20  # of a profile; those for printing have up to 3 MB
_MAX_CHANGE = 2  # levels of 256: profiles that call themselves sRGB differ by that much
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SRGB = ImageCms.createProfile("sRGB")


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """The image in sRGB, mode RGB; of one whose profile is damaged or does not fit, the plain conversion.

    Args:
        image: of mode RGB, L or CMYK.
        profile: as it is embedded in the file; what is not bytes, or more than 4 MiB of them, is damaged.
    """
    is_sane = isinstance(profile, bytes) and 0 < len(profile) <= _MAX_BYTES
    mode, transform = _transform(profile) if is_sane else ("", None)
    if transform is None or not _fits(image.mode, mode):
        return _as(image, "RGB")
    converted = ImageCms.applyTransform(_as(image, mode), transform)
    assert converted is not None
    return converted


def _as(image: Image.Image, mode: str) -> Image.Image:
    """Without the copy that `convert` makes of an image that has the mode."""
    return image if image.mode == mode else image.convert(mode)


def _fits(mode: str, profile_mode: str) -> bool:
    """Grey pixels are also colours of an RGB profile; nothing else is of two kinds."""
    return mode == profile_mode or (mode, profile_mode) == ("L", "RGB")


@lru_cache(maxsize=4)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode of the profile's pixels, and how they become sRGB; None if they are sRGB, or nobody can tell."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[opened.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(
            opened,
            _SRGB,
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Without a memory for the last colour: photographs are twice as fast so.
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
    except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
        return "", None
    return mode, None if _changes_nothing(mode, transform) else transform


def _changes_nothing(mode: str, transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether the profile is sRGB, judged by what it does to colours rather than by its name."""
    if mode == "CMYK":
        return False
    greys = np.arange(256, dtype=np.uint8)
    if mode == "L":
        probes = greys[None]
    else:
        steps = np.arange(0, 256, 17, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        probes = np.concatenate([cube, np.stack([greys] * 3, axis=-1)[None]], axis=1)
    image = Image.fromarray(probes)
    moved = np.asarray(ImageCms.applyTransform(image, transform), np.int16)
    return bool(np.abs(moved - np.asarray(image.convert("RGB"), np.int16)).max() <= _MAX_CHANGE)
