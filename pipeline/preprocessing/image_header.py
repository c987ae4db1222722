"""What the header of a file says of an image that is then decoded in boxes; Pillow reads it, as for whole images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from pipeline.preprocessing.colour import require_mode
from pipeline.preprocessing.formats import File, open_image
from pipeline.preprocessing.refusal import refused, refusing

# Of an image that is cut into tiles. A header of 70 bytes can claim any size, and each tile is a row: even of nothing
# but white a file takes more than a byte for so many pixels.
MAX_PIXELS = 100_000_000_000
MAX_SIDE_PX = 10_000_000
MAX_PIXELS_PER_BYTE = 50_000

_WINDOW_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class ImageHeader:
    """The header.

    Attributes:
        format: in Pillow's words; photographs with further pictures count as JPEG.
        mode: of the pixels, in Pillow's words.
        size: (height, width) in pixels; Pillow has that of the upright image if it is a TIFF, else the stored one.
        orientation: by EXIF.
        is_tiled: whether it is a TIFF of tiles.
        has_alpha: whether it may be transparent.
        profile: the colour profile, if there is one.
    """

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    is_tiled: bool
    has_alpha: bool
    profile: bytes | None

    @classmethod
    def of(cls, file: File) -> Self:
        """The header of an image file; nothing is decoded.

        Raises:
            ImageError: stage `decode`; of another format, or no image at all.
        """
        with refusing(), _any_size(), open_image(file) as image:
            # Pillow's own `getexif` of a PNG decodes all of it, to see whether there is more behind the pixels.
            exif = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else Image.Image.getexif(image)
            return cls(
                format="JPEG" if image.format == "MPO" else str(image.format),
                mode=image.mode,
                size=(image.height, image.width),
                orientation=exif.get(ExifTags.Base.Orientation, 1),
                is_tiled=isinstance(image, TiffImagePlugin.TiffImageFile)
                and TiffImagePlugin.TILEOFFSETS in image.tag_v2,
                has_alpha=image.has_transparency_data,
                profile=image.info.get("icc_profile"),
            )

    def require_readable(self, size_bytes: int) -> None:
        """Refuses an image that cannot be what its header says, or is of no kind that is read in boxes.

        Args:
            size_bytes: of its file.

        Raises:
            ImageError: stage `decode`.
        """
        height, width = self.size
        if height < 1 or width < 1:
            raise refused("NoPixels", f"it is {width} x {height} pixels, so there is nothing to see")
        if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
            raise refused("ImageTooLarge", f"{width} x {height} pixels are too many to be cut into tiles")
        if height * width > MAX_PIXELS_PER_BYTE * size_bytes:
            raise refused("ImageTooLarge", f"no file of {size_bytes} bytes has the {width} x {height} pixels it claims")
        if self.mode in ("LAB", "HSV"):
            raise refused("UnsupportedMode", f"mode {self.mode} is not cut into tiles; convert it to RGB first")
        require_mode(self.mode)

    def as_pillow(self, pixels: np.ndarray) -> Image.Image:
        """Pixels (height, width, bands) of this image, uint8 or uint16, as Pillow would have decoded them."""
        eight_bits = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
        num_bands = eight_bits.shape[2]
        if self.mode == "CMYK":
            mode, num_bands = "CMYK", 4
        else:
            # Bands that nothing says the meaning of are no alpha: near infrared, for example.
            num_bands = min(num_bands, 4) if self.has_alpha else 3 if num_bands > 2 else 1
            mode = _WINDOW_MODES[num_bands]
        height, width = eight_bits.shape[:2]
        window = Image.frombytes(mode, (width, height), eight_bits[:, :, :num_bands].tobytes())
        if self.profile:
            window.info["icc_profile"] = self.profile
        return window


@contextmanager
def _any_size() -> Iterator[None]:
    """Inside the block Pillow opens images of any size; it refuses those that it would have to decode whole."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
