"""An order of tokens in which every attention window, and every cell that is pooled, is one run of neighbours.

SAM 2's windows nest: counted in tokens of the finest grid, the side of each divides the next (8, 8, 56, 56 with the
published window_spec). Sorted by the largest window first and by single tokens last, the grid is cut into windows and
pooled by views alone, from the first block to the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Windows of one size that follow one another: how many, and (height, width) in tokens, without padding."""

    count: int
    height: int
    width: int

    @property
    def num_tokens(self) -> int:
        """Tokens in all of them."""
        return self.count * self.height * self.width


class TokenOrder:
    """The order for one grid.

    Args:
        grid: (height, width) of the finest grid, in tokens.
        spans: sides of all windows, and of the cells that are pooled, in tokens of the finest grid.

    Raises:
        ValueError: there is no such order; `fits` tells beforehand.
    """

    def __init__(self, grid: tuple[int, int], spans: Sequence[int]) -> None:
        if not self.fits(grid, spans):
            raise ValueError(f"windows and cells of sides {sorted(set(spans))} do not nest in a grid of {grid}")
        self._grid = grid
        self._spans = sorted({1, *spans}, reverse=True)

    @staticmethod
    def fits(grid: tuple[int, int], spans: Sequence[int]) -> bool:
        """Whether each side divides the next larger one, and all but the largest divide the grid."""
        sides = sorted({1, *spans})
        nested = all(larger % smaller == 0 for smaller, larger in pairwise(sides))
        return nested and all(length % side == 0 for length in grid for side in sides[:-1])

    def places(self, stride: int = 1) -> Tensor:
        """Where each token, in this order, lies in the row-major grid whose tokens are `stride` wide; int64."""
        height, width = (length // stride for length in self._grid)
        rows, columns = np.divmod(np.arange(height * width), width)
        spans = [span // stride for span in self._spans if span >= stride]
        # Windows that the grid cuts come after the whole ones, so that those of one size are neighbours.
        keys = [rows // spans[0] == height // spans[0], columns // spans[0] == width // spans[0]]
        for span in spans:
            keys += [rows // span, columns // span]
        return torch.from_numpy(np.lexsort(keys[::-1]))

    def windows(self, stride: int, side: int) -> list[Windows]:
        """The windows of a side (0: the whole grid is one) on the grid whose tokens are `stride` wide, in order."""
        height, width = (length // stride for length in self._grid)
        if side == 0:
            return [Windows(1, height, width)]
        (rows, rest_rows), (columns, rest_columns) = divmod(height, side), divmod(width, side)
        sizes = [
            Windows(rows * columns, side, side),
            Windows(rows, side, rest_columns),
            Windows(columns, rest_rows, side),
            Windows(1, rest_rows, rest_columns),
        ]
        return [windows for windows in sizes if windows.num_tokens]
