"""EXIF orientations: where the pixels of an upright image are in its file, and how those become upright.

An orientation is a swap of rows and columns, or none, and then flips.
"""

import numpy as np

from pipeline.featureset.part import Box

# Whether rows and columns are swapped, rows are flipped, columns are flipped.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_NONE = (False, False, False)


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) of the upright image of a stored one, or the other way round."""
    return size[::-1] if _turn(orientation)[0] else size


def stored_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Where a box of the upright image, whose (height, width) is `size`, is in the stored one."""
    swaps, flips_rows, flips_columns = _turn(orientation)
    left, top, width, height = box
    left = size[1] - left - width if flips_columns else left
    top = size[0] - top - height if flips_rows else top
    return (top, left, height, width) if swaps else (left, top, width, height)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (height, width, channels) as they are to be seen; a view."""
    swaps, flips_rows, flips_columns = _turn(orientation)
    turned = pixels.swapaxes(0, 1) if swaps else pixels
    return turned[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]


def _turn(orientation: int) -> tuple[bool, bool, bool]:
    return _TURNS.get(orientation, _NONE)
