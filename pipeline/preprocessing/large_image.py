"""An image of any size, of which boxes are decoded by reading no more of its file than they take.

TIFFs of tiles are read anywhere. Of JPEG, PNG and other TIFFs rows are decoded from the top down, once, and those of
the present row of boxes are kept: ask for boxes in the order of `tile_boxes`. Other formats are decoded whole.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from pipeline.errors import ImageError
from pipeline.featureset.part import Box
from pipeline.preprocessing.colour import rgb
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.image_header import ImageHeader
from pipeline.preprocessing.libvips import FORMATS, OpenedImage
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.preprocessing.refusal import refused
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.tiles import NO_BOX
from pipeline.preprocessing.turning import stored_box, turned_size, upright

# Rows that are decoded at once: what libvips keeps beside them grows with their number.
_ROWS_AT_ONCE = 16


class _Windows(Protocol):
    """Decoded boxes of a stored image."""

    size: tuple[int, int]

    def window(self, box: Box) -> np.ndarray:
        """The pixels of a box."""
        ...


class LargeImage:
    """An image of which boxes are decoded; opening it reads the header and decodes nothing of what is read in boxes.

    Args:
        file: of the image.
        rules: what the run chose of how pixels are made.

    Attributes:
        size: (height, width) of the upright image in pixels.
        orientation: by EXIF, of what is stored.

    Raises:
        ImageError: stage `decode`; no image, or one of a kind, size or compression that is not read.
    """

    def __init__(self, file: ServedFile, rules: PixelRules) -> None:
        self._header = ImageHeader.of(file)
        self._rules = rules
        self._windows: _Windows
        if self._header.format in FORMATS:
            self._header.require_readable(file.size_bytes)
            self._windows = _Anywhere(file) if self._header.is_tiled else _Rows(file, self._header.format)
            self.orientation = self._header.orientation
            if sorted(self._windows.size) != sorted(self._header.size):
                sizes = f"{self._header.size} and {self._windows.size}"
                raise refused("DamagedImage", f"its readers do not agree on its height and width: {sizes}")
        else:
            self._windows = _Whole(decode(file, rules=rules))
            self.orientation = 1
        self.size = turned_size(self._windows.size, self.orientation)

    def try_out(self) -> None:
        """Decodes as little as there can be of a TIFF, whose compression may be none that is read.

        Raises:
            ImageError: stage `decode`; it cannot be decoded.
        """
        if self._header.format == "TIFF":
            self._windows.window((0, 0, 1, 1))

    def window(self, box: Box) -> np.ndarray:
        """The (height, width, 3) uint8 sRGB pixels of a box of the upright image, equal to those of the whole.

        Raises:
            ImageError: stage `decode`; outside the image, or truncated or damaged there.
        """
        if box == NO_BOX:
            self.try_out()
            said = "its size could not be told when the run was planned, and can be now: the next run has its tiles"
            raise ImageError(said, stage="decode", error_type="SizeUnknown", error_class="transient")
        left, top, width, height = box
        if min(left, top) < 0 or min(width, height) < 1 or left + width > self.size[1] or top + height > self.size[0]:
            raise refused("NoSuchBox", f"it is {self.size[1]} x {self.size[0]} pixels, which {box} is no box of")
        pixels = self._windows.window(stored_box(box, self.size, self.orientation))
        if not isinstance(self._windows, _Whole):
            pixels = np.asarray(rgb(self._header.as_pillow(pixels), self._rules.background))
        return upright(pixels, self.orientation)


class _Whole:
    """An image that is decoded already."""

    def __init__(self, pixels_HWC: np.ndarray) -> None:
        self._pixels_HWC = pixels_HWC
        self.size: tuple[int, int] = (pixels_HWC.shape[0], pixels_HWC.shape[1])

    def window(self, box: Box) -> np.ndarray:
        """The pixels of a box."""
        left, top, width, height = box
        return self._pixels_HWC[top : top + height, left : left + width]


class _Anywhere:
    """A TIFF of tiles."""

    def __init__(self, file: ServedFile) -> None:
        self._file = file
        self._open()
        self.size = self._image.size

    def _open(self) -> None:
        self._image = OpenedImage(self._file, "TIFF", is_random=True)

    def window(self, box: Box) -> np.ndarray:
        """The pixels of a box."""
        try:
            return self._image.region(box)
        except ImageError:
            self._open()  # or a tile that could not be decoded would be black for the next box
            raise


class _Rows:
    """A file whose rows come one after the other; a box above those that are kept opens it again."""

    def __init__(self, file: ServedFile, format: str) -> None:  # noqa: A002
        self._file, self._format = file, format
        self._open()
        self.size = self._image.size

    def _open(self) -> None:
        self._image = OpenedImage(self._file, self._format, is_random=False)
        self._forget(0)
        self._error: ImageError | None = None

    def _forget(self, row: int) -> None:
        """Keeps no row, of which the next would be that one."""
        self._kept, self._first, self._next = self._image.empty(0, self._image.size[1]), row, row

    def window(self, box: Box) -> np.ndarray:
        """The pixels of a box."""
        left, top, width, height = box
        if top < self._first:
            self._open()
        if top + height > self._next:
            self._read_down(top, height)
        return self._kept[top - self._first :][:height, left : left + width]

    def _read_down(self, top: int, height: int) -> None:
        """Decodes as far as the last of those rows, which are then kept, and no others."""
        if self._error is not None:  # there is nothing below damage, and to find that out again would take long
            raise self._error
        num_kept = max(0, self._next - top)
        rows = self._kept if len(self._kept) == height else self._image.empty(height, self.size[1])
        rows[:num_kept] = self._kept[len(self._kept) - num_kept :]
        try:
            for row, count in _steps(self._next, top):
                self._image.region((0, row, self.size[1], count))
            for row, count in _steps(top + num_kept, top + height):
                rows[row - top : row - top + count] = self._image.region((0, row, self.size[1], count))
        except ImageError as error:
            self._error = error
            self._forget(top)
            raise
        self._kept, self._first, self._next = rows, top, top + height


def _steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Rows in steps of a few: the first, and how many."""
    return ((row, min(_ROWS_AT_ONCE, end - row)) for row in range(start, end, _ROWS_AT_ONCE))
