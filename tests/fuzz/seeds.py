"""Tiny good images to begin with, several of each format, so that many ways through its codec are gone."""

import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms

from tests.preprocessing.forged import SRGB_PRIMARIES, cmyk_profile, gamma_curve, rgb_profile, tiff

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")


@cache
def seeds(kind: str) -> tuple[bytes, ...]:
    """The same ones every time."""
    pillow_heif.register_heif_opener()
    return tuple(_OF[kind]())


def _picture(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Smooth on one side, noise on the other."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    smooth = np.stack([rows * 9, columns * 7, (rows + columns) * 5], axis=-1).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, smooth.shape, dtype=np.uint8)
    image = Image.fromarray(np.where(columns[..., None] < size[0] // 2, smooth, noise).astype(np.uint8))
    if mode.endswith("A"):
        image.putalpha(Image.fromarray((columns * 10 % 256).astype(np.uint8)))
    return image.convert(mode)


def _saved(kind: str, image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _animated(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    frames = [_picture(mode, (16, 12)).rotate(90 * turn) for turn in range(3)]
    return _saved(kind, frames[0], save_all=True, append_images=frames[1:], duration=40, **options)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "forged"
    return exif


def _profile() -> bytes:
    return rgb_profile(SRGB_PRIMARIES, gamma_curve(1.8))


def _jpegs() -> Iterator[bytes]:
    yield _saved("JPEG", _picture(), quality=80)
    yield _saved("JPEG", _picture(), progressive=True, subsampling=0, exif=_exif())
    yield _saved("JPEG", _picture("L"), restart_marker_blocks=1)
    yield _saved("JPEG", _picture("CMYK"))
    yield _saved("JPEG", _picture(), icc_profile=_profile(), comment=b"forged")
    yield _saved("MPO", _picture(), save_all=True, append_images=[_picture("L")])


def _pngs() -> Iterator[bytes]:
    yield _saved("PNG", _picture(), icc_profile=_profile(), exif=_exif())
    yield _saved("PNG", _picture("RGBA"))
    yield _saved("PNG", _picture("LA"))
    yield _saved("PNG", _picture("P"), transparency=bytes(range(0, 256, 2)))
    yield _saved("PNG", _picture("1"), transparency=0)
    yield _saved("PNG", Image.fromarray(np.arange(384, dtype=np.uint16).reshape(16, 24) * 170))
    yield _animated("PNG", "RGBA", blend=1, disposal=2)


def _webps() -> Iterator[bytes]:
    yield _saved("WEBP", _picture(), quality=80)
    yield _saved("WEBP", _picture(), lossless=True, exif=_exif(), icc_profile=_profile())
    yield _saved("WEBP", _picture("RGBA"), quality=50, alpha_quality=50)
    yield _saved("WEBP", _picture("P"), lossless=True)
    yield _animated("WEBP", "RGBA", quality=60)


def _tiffs() -> Iterator[bytes]:
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield _saved("TIFF", _picture(), compression=compression)
    yield _saved("TIFF", _picture("CMYK"), icc_profile=cmyk_profile(lambda *inks: 100 - 25 * sum(inks)))
    yield _saved("TIFF", _picture("1"), compression="group4")
    yield _saved("TIFF", _picture("PA"))
    yield _saved("TIFF", ImageCms.applyTransform(_picture(), _to_lab()))
    yield tiff({256: 8, 257: 4, 258: 16}, bytes(range(64)), order=">")
    yield tiff({256: 8, 257: 4, 258: 12}, bytes(range(48)))
    yield _animated("TIFF")


def _to_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def _bmps() -> Iterator[bytes]:
    for mode in ("RGB", "RGBA", "P", "L", "1"):
        yield _saved("BMP", _picture(mode))
    # Eight bits a pixel in runs: 4 of one colour, an absolute part of 4, the end of the line, the end of the picture.
    plain = bytearray(_saved("BMP", _picture("P", (8, 1))))
    start = int.from_bytes(plain[10:14], "little")
    plain[30:34] = (1).to_bytes(4, "little")
    yield bytes(plain[:start]) + bytes([4, 7, 0, 4, 1, 2, 3, 4, 0, 0, 0, 1])


def _gifs() -> Iterator[bytes]:
    yield _saved("GIF", _picture("P"))
    yield _saved("GIF", _picture("L"), interlace=True, comment=b"forged")
    yield _saved("GIF", _picture("P"), transparency=3)
    yield _animated("GIF", disposal=2)


def _avifs() -> Iterator[bytes]:
    yield _saved("AVIF", _picture(), speed=10)
    yield _saved("AVIF", _picture("RGBA"), speed=10, exif=_exif(), icc_profile=_profile())
    yield _saved("AVIF", _picture("L"), speed=10, subsampling="4:0:0")
    yield _animated("AVIF", speed=10)


def _heifs() -> Iterator[bytes]:
    yield _saved("HEIF", _picture(), quality=60)
    yield _saved("HEIF", _picture("RGBA"), quality=60, exif=_exif(), icc_profile=_profile())
    yield _saved("HEIF", _picture("L"), quality=60)
    yield _saved("HEIF", _picture(), save_all=True, append_images=[_picture("L")])


_OF: dict[str, Callable[[], Iterator[bytes]]] = {
    "JPEG": _jpegs,
    "PNG": _pngs,
    "WEBP": _webps,
    "TIFF": _tiffs,
    "BMP": _bmps,
    "GIF": _gifs,
    "AVIF": _avifs,
    "HEIF": _heifs,
}
