"""Which formats are opened, and what anything else looks like: no other parser ever sees a byte of an image.

Pillow would open 43 formats, some of which run programs or were written for trusted files.
"""

import io
import re
from typing import BinaryIO, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from pipeline.preprocessing.refusal import LARGER, refused

try:
    import pillow_heif
except ImportError:
    _HEIF: tuple[str, ...] = ()
else:
    pillow_heif.register_heif_opener()
    _HEIF = ("HEIF",)

File = BinaryIO | io.RawIOBase

_PLUGINS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    AvifImagePlugin.AvifImageFile,
)
# HEIF after AVIF, whose files may begin with the same general brand.
FORMATS = (*(str(plugin.format) for plugin in _PLUGINS), *_HEIF)
# Photographs that hold other pictures too (previews, gain maps, the other eye), of which viewers show one.
SINGLE = frozenset({"MPO", "HEIF"})

_HEAD_BYTES = 512
# How other formats that are met under an image's name begin.
_LOOKS = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), name)
    for pattern, name in (
        (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
        (rb"8BPS", "PSD"),
        (rb"SIMPLE  =", "FITS"),
        (rb"%PDF", "PDF"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*|<!--.*)?(?:<!DOCTYPE svg|<svg)", "SVG"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*|<!--.*)?<(?:!DOCTYPE html|html|head|body)", "HTML"),
        (rb"....ftyp(?!avi[fs]|hei|hev|mif1|msf1)", "a video"),
        (rb"....\x6a\x50\x20\x20|\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"\xff\x0a|....JXL ", "JPEG XL"),
        (rb"P[1-7]\s", "PNM"),
        (rb"\x00\x00[\x01\x02]\x00", "ICO"),
        (rb"icns", "ICNS"),
        (rb"DDS ", "DDS"),
        (rb"qoif", "QOI"),
        (rb"\xd7\xcd\xc6\x9a", "WMF"),
        (rb"v/1\x01", "OpenEXR"),
        (rb"#\?RADIANCE|#\?RGBE", "Radiance HDR"),
        (rb"II\xbc|FUJIFILMCCD-RAW|IIU\x00|....CrM", "a raw photograph"),
        (rb"PK\x03\x04", "ZIP"),
        (rb"\x1f\x8b", "gzip"),
        (rb"\x89HDF", "HDF5"),
        (rb"PAR1", "Parquet"),
        *([] if _HEIF else [(rb"....ftyp(?:hei|hev|mif1|msf1)", "HEIC, which needs the package pillow-heif")]),
    )
]


def open_image(data: bytes | File) -> Image.Image:
    """The image of which nothing but the header was read; what follows the image in the file is passed over.

    Args:
        data: of the file, or the file.

    Raises:
        ImageError: stage `decode`; empty, of another format, or no image at all.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    file.seek(0)
    data = file.read(_HEAD_BYTES)
    if not data:
        raise refused("EmptyFile", "the file has 0 bytes")
    try:
        return Image.open(cast("BinaryIO", file), formats=FORMATS)
    except UnidentifiedImageError:
        look = next((name for look, name in _LOOKS if look.match(data)), None)
    if look is not None:
        message = f"it looks like {look}, whatever its name is; formats that are decoded: {', '.join(FORMATS)}"
        raise refused("FormatNotAllowed", message)
    message = f"none of the known image formats, or its head is damaged; it begins with {data[:16]!r}"
    raise refused("NotAnImage", message)


def limit_process(max_pixels: int, *, are_damaged_shown: bool = False) -> None:
    """Sets what Pillow keeps for the whole process, which must be one that does nothing but decode.

    A truncated image is refused unless damaged ones are to be shown. Its own limit stands behind `require_size`.
    One thread is all that a codec gets, for each takes address space.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels
    ImageFile.LOAD_TRUNCATED_IMAGES = are_damaged_shown
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if _HEIF:
        pillow_heif.options.DECODE_THREADS = 1


def require_size(image: Image.Image, max_pixels: int) -> None:
    """Refuses an image that has no pixels, or too many, by what its header says.

    Raises:
        ImageError: stage `decode`.
    """
    width, height = image.size
    if width < 1 or height < 1:
        raise refused("NoPixels", f"it is {width} x {height} pixels, so there is nothing to see")
    if width * height > max_pixels:
        counts = f"{width} x {height} pixels are {width * height / 1e6:.1f} megapixels"
        message = f"{counts}, and at most {max_pixels / 1e6:g} are decoded whole: {LARGER}"
        raise refused("ImageTooLarge", message)
