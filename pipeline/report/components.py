"""Feature maps as pictures: the first three principal components of a level as red, green and blue.

Components and their scale are those of cells of all pictured images together, so colours of one level compare.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.featureset.maps import MapSpec, level_maps
from pipeline.readers.row import FeatureRow

# Finer maps are averaged to this: what a picture can show, and what fits into memory for some dozens of images.
SIDE_CELLS = 128
_CELLS_PER_IMAGE = 4096
_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class LevelPictures:
    """A level of some images.

    Attributes:
        column: of the map.
        shape_chw: of the map, as stored.
        stride_px: of a cell, in pixels of the encoder's input.
        share: of the variance of the sampled cells that the three components hold, 0 to 1.
        pictures: of each image, (h, w, 3) uint8, with at most `SIDE_CELLS` cells a side.
    """

    column: str
    shape_chw: tuple[int, int, int]
    stride_px: int
    share: float
    pictures: list[np.ndarray]


def level_pictures(maps: tuple[MapSpec, ...], rows: Iterable[FeatureRow]) -> list[LevelPictures]:
    """The levels of the rows as pictures, from fine to coarse; the rows are gone through once."""
    specs = level_maps(maps)
    averaged: dict[str, list[np.ndarray]] = {spec.column: [] for spec in specs}
    for row in rows:
        for spec in specs:
            averaged[spec.column].append(_averaged(row.maps[spec.column].transpose(1, 2, 0)))
    return [_pictured(spec, averaged[spec.column]) for spec in specs if averaged[spec.column]]


def _averaged(values_HWC: np.ndarray) -> np.ndarray:
    """The map in at most `SIDE_CELLS` cells a side, (h, w, C) float32, finite."""
    height, width, channels = values_HWC.shape
    down, across = -(-height // SIDE_CELLS), -(-width // SIDE_CELLS)
    values = values_HWC.astype(np.float32)
    if down * across > 1:
        height, width = height // down, width // across
        cut = values[: height * down, : width * across]
        # One axis after the other, each a run of neighbours: five times as fast as both at once.
        rows = cut.reshape(height, down, width * across * channels).mean(axis=1)
        values = rows.reshape(height, width, across, channels).mean(axis=2)
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)


def _pictured(spec: MapSpec, maps: list[np.ndarray]) -> LevelPictures:
    cells = np.concatenate([_some_cells(each) for each in maps])
    mean, components, share = principal_components(cells, 3)
    low, high = np.percentile((cells - mean) @ components, _PERCENTILES, axis=0)
    scale = 255 / np.maximum(high - low, 1e-12)
    pictures = [np.clip(((each - mean) @ components - low) * scale + 0.5, 0, 255).astype(np.uint8) for each in maps]
    return LevelPictures(spec.column, spec.shape_chw, spec.stride_px, share, [_in_colour(each) for each in pictures])


def _in_colour(picture: np.ndarray) -> np.ndarray:
    """Three channels, of levels that have fewer too."""
    missing = 3 - picture.shape[2]
    return picture if missing == 0 else np.pad(picture, ((0, 0), (0, 0), (0, missing)), constant_values=128)


def _some_cells(values_HWC: np.ndarray) -> np.ndarray:
    """At most `_CELLS_PER_IMAGE` of its cells, (n, C); a stride that is no power of two hits all columns of a map."""
    cells = values_HWC.reshape(-1, values_HWC.shape[2])
    stride = max(1, len(cells) // _CELLS_PER_IMAGE)
    return cells[:: stride + (stride > 1 and stride % 2 == 0)]


def principal_components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The mean (C,) of (N, C) float32 rows, their first components (C, count), and the share of variance they hold.

    Each component points to where its largest coefficient is positive, so that the same rows give the same ones.
    """
    mean = rows.mean(axis=0)
    centred = rows - mean
    covariance = (centred.T @ centred).astype(np.float64) / max(len(rows) - 1, 1)
    values, vectors = np.linalg.eigh(covariance)
    first = vectors[:, ::-1][:, :count]
    largest = np.take_along_axis(first, np.abs(first).argmax(axis=0)[None], axis=0)
    components = (first * np.sign(largest)).astype(np.float32)
    total = max(float(values.sum()), 1e-30)
    return mean, components, float(np.clip(values[::-1][:count].sum() / total, 0, 1))
