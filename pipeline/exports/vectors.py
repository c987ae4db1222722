"""The vectors of a feature set that can be searched, batch by batch: one an image, or one a cell of its grid.

A cell needs no table of its own: vector number = image number x cells of an image + cell, rows of cells first.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from pipeline.errors import ConfigError
from pipeline.exports.visible import VisibleRows
from pipeline.featureset.maps import GRID, MapSpec

Kind = Literal["pooled", "grid"]

_CELLS_AT_ONCE = 16_384


class Vectors(Protocol):
    """L2-normalised vectors in a fixed order; `grid_side` cells to a side of an image, None for one an image."""

    @property
    def grid_side(self) -> int | None:
        """Cells to a side of an image."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        ...

    def __len__(self) -> int:
        """How many vectors."""
        ...

    def batches(self) -> Iterator[np.ndarray]:
        """All of them, (N, D) float32; each call reads the feature set anew."""
        ...


def vectors_of(kind: Kind, rows: VisibleRows) -> Vectors:
    """The vectors of that kind.

    Raises:
        ConfigError: the set has no grid.
    """
    return GridVectors(rows) if kind == "grid" else PooledVectors(rows)


class PooledVectors:
    """The pooled vector of each image."""

    grid_side: int | None = None

    def __init__(self, rows: VisibleRows) -> None:
        self._rows = rows

    @cached_property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(next(self.batches()).shape[1])

    def __len__(self) -> int:
        """One an image."""
        return len(self._rows)

    def batches(self) -> Iterator[np.ndarray]:
        """All vectors, (N, D) float32.

        Raises:
            FeatureSetError: the index is damaged.
        """
        for batch in self._rows.batches(["embedding"]):
            values = batch["embedding"].flatten().to_numpy(zero_copy_only=False)
            yield values.reshape(batch.num_rows, -1)


class GridVectors:
    """The vectors of each image's cells: of the first row of cells from left to right, then of the next."""

    def __init__(self, rows: VisibleRows) -> None:
        self._rows = rows
        self._spec = _grid_spec(rows)
        self.grid_side: int | None = self._spec.shape_chw[1]
        self._num_cells = self._spec.shape_chw[1] ** 2

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self._spec.shape_chw[0]

    def __len__(self) -> int:
        """Cells of all images."""
        return len(self._rows) * self._num_cells

    def batches(self) -> Iterator[np.ndarray]:
        """All vectors, (N, D) float32; of the shards, the grid is the only column that is read.

        Raises:
            FeatureSetError: a shard is missing or damaged.
        """
        waiting: list[np.ndarray] = []
        for cells in self._images():
            waiting.append(cells)
            if len(waiting) * len(cells) >= _CELLS_AT_ONCE:
                yield np.concatenate(waiting).astype(np.float32)
                waiting = []
        if waiting:
            yield np.concatenate(waiting).astype(np.float32)

    def _images(self) -> Iterator[np.ndarray]:
        for row in self._rows.features().select(GRID).rows():
            yield row.maps[GRID].transpose(1, 2, 0).reshape(-1, self.dimension)


def _grid_spec(rows: VisibleRows) -> MapSpec:
    spec = next((spec for spec in rows.record.maps if spec.column == GRID), None)
    if spec is None:
        columns = ", ".join(spec.column for spec in rows.record.maps) or "none"
        raise ConfigError(
            f"{rows.root.uri} has no grid (its maps: {columns}), which search by region needs; use vectors=pooled, "
            "or embed with features.grid=4 or 8"
        )
    if spec.shape_chw[1] != spec.shape_chw[2]:
        raise ConfigError(f"the grid of {rows.root.uri} is not square: {spec.shape_chw[1]} x {spec.shape_chw[2]} cells")
    return spec
