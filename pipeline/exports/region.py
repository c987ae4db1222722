"""Regions of an image and cells of its grid: which cells a region covers, and where in the image a cell is."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import ConfigError

Region = tuple[float, float, float, float]


def checked_region(region: Sequence[float]) -> Region:
    """The region (x0, y0, x1, y1) in fractions of the image's width and height.

    Raises:
        ConfigError: it is empty, or not within 0 to 1.
    """
    x0, y0, x1, y1 = region
    shown = f"region=[{x0:g},{y0:g},{x1:g},{y1:g}]"
    if not all(0 <= each <= 1 for each in region):
        raise ConfigError(f"{shown} is not within the image: give x0,y0,x1,y1 as fractions from 0 to 1")
    if not (x0 < x1 and y0 < y1):
        raise ConfigError(f"{shown} is empty: give x0,y0,x1,y1 with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def region_vector(cells: np.ndarray, region: Region) -> np.ndarray:
    """The mean of the cells that a region covers, each by the share of it that is covered, L2-normalised.

    Args:
        cells: (side * side, D) float32, rows of cells first.
        region: within the image and not empty.
    """
    side = int(np.sqrt(len(cells)))
    x0, y0, x1, y1 = region
    weights = np.outer(_covered(y0, y1, side), _covered(x0, x1, side)).reshape(-1)
    mean = weights @ cells
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def cell_box(cell: int, side: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a cell is in the original: (x0, y0, x1, y1) in pixels, x1 and y1 just outside.

    Args:
        cell: from 0, rows of cells first.
        side: cells to a side.
        size: (height, width) of the original, in pixels.
    """
    row, column = divmod(cell, side)
    height, width = size
    x0, y0 = column * width // side, row * height // side
    return x0, y0, max(-(-(column + 1) * width // side), x0 + 1), max(-(-(row + 1) * height // side), y0 + 1)


def region_box(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a region is in the original: (x0, y0, x1, y1) in pixels; `size` is (height, width)."""
    x0, y0, x1, y1 = region
    height, width = size
    return int(x0 * width), int(y0 * height), round(x1 * width), round(y1 * height)


def _covered(start: float, end: float, side: int) -> np.ndarray:
    """How much of each of `side` equal parts lies between two fractions, (side,), 0 to 1."""
    edges = np.arange(side + 1) / side
    overlap = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    return np.asarray(np.clip(overlap, 0, None) * side)
