"""Small pictures in sheets: hundreds of files in one, so that a page of ten thousand has a hundred to decode."""

import base64
import io
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

CELL_PX = 96
CELLS_PER_SIDE = 10
PER_SHEET = CELLS_PER_SIDE**2
_QUALITY, _FINE_QUALITY = 60, 80
_FEW_PX = 64
_GREY = 128


def sheets(squares: Iterable[np.ndarray | None]) -> Iterator[str]:
    """Sheets of `CELLS_PER_SIDE` squares a row, as data URIs; None leaves a place grey.

    Args:
        squares: (side, side, 3) uint8 pixels, of any side.
    """
    cells: list[np.ndarray | None] = []
    for square in squares:
        cells.append(square if square is None else _resized(square, CELL_PX))
        if len(cells) == PER_SHEET:
            yield _sheet(cells)
            cells = []
    if cells:
        yield _sheet(cells)


def picture_uri(pixels_HWC: np.ndarray) -> str:
    """(H, W, 3) uint8 pixels as a data URI; where they are few without loss, for codecs halve colours' resolution."""
    return _uri(Image.fromarray(pixels_HWC), _FINE_QUALITY, lossless=max(pixels_HWC.shape) <= _FEW_PX)


def _sheet(cells: list[np.ndarray | None]) -> str:
    rows = -(-len(cells) // CELLS_PER_SIDE)
    pixels = np.full((rows * CELL_PX, CELLS_PER_SIDE * CELL_PX, 3), _GREY, np.uint8)
    for number, cell in enumerate(cells):
        if cell is not None:
            row, column = divmod(number, CELLS_PER_SIDE)
            pixels[row * CELL_PX :, column * CELL_PX :][:CELL_PX, :CELL_PX] = cell
    return _uri(Image.fromarray(pixels), _QUALITY)


def _resized(square: np.ndarray, side_px: int) -> np.ndarray:
    return np.asarray(Image.fromarray(square).resize((side_px, side_px), Image.Resampling.BOX))


def _uri(image: Image.Image, quality: int, *, lossless: bool = False) -> str:
    data = io.BytesIO()
    image.save(data, format="WEBP", quality=quality, lossless=lossless, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
