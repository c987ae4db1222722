"""Windows: cutting and joining undo each other, and padding is zeros at the bottom and right."""

import pytest
import torch

from pipeline.model.windows import join_windows, partition_windows


@pytest.mark.parametrize(("height", "width", "window"), [(8, 8, 4), (8, 12, 4), (10, 7, 4), (3, 2, 7), (1, 1, 1)])
def test_joining_undoes_cutting(height: int, width: int, window: int):
    tokens_BHWC = torch.arange(2 * height * width * 3, dtype=torch.float32).reshape(2, height, width, 3)
    windows_NHWC, grid = partition_windows(tokens_BHWC, window)
    assert grid == (-(-height // window), -(-width // window))
    assert windows_NHWC.shape == (2 * grid[0] * grid[1], window, window, 3)
    assert torch.equal(join_windows(windows_NHWC, grid, (height, width)), tokens_BHWC)


def test_windows_are_ordered_by_image_then_row_then_column_and_padded_with_zeros():
    tokens_BHWC = torch.arange(1, 2 * 3 * 5 + 1, dtype=torch.float32).reshape(2, 3, 5, 1)
    windows_NHWC, (rows, columns) = partition_windows(tokens_BHWC, 2)
    for index in range(windows_NHWC.shape[0]):
        image, row, column = index // (rows * columns), index // columns % rows, index % columns
        for i in range(2):
            for j in range(2):
                y, x = row * 2 + i, column * 2 + j
                expected = float(tokens_BHWC[image, y, x, 0]) if y < 3 and x < 5 else 0.0
                assert float(windows_NHWC[index, i, j, 0]) == expected, (index, i, j)


def test_pooled_windows_join_to_the_pooled_grid():
    tokens_BHWC = torch.randn(2, 10, 10, 3)
    windows_NHWC, grid = partition_windows(tokens_BHWC, 4)
    joined = join_windows(windows_NHWC[:, ::2, ::2], grid, (5, 5))
    assert torch.equal(joined, tokens_BHWC[:, ::2, ::2])


def test_windows_that_do_not_cover_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"2x2 windows of side 3 do not cover a grid of 7x7"):
        join_windows(torch.zeros(4, 3, 3, 1), (2, 2), (7, 7))
