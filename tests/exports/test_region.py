"""Regions: cells count by the share of them that is covered, and boxes are in pixels of the original."""

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.exports.region import cell_box, checked_region, region_box, region_vector

ONE_HOT = np.eye(16, dtype=np.float32)


@pytest.mark.parametrize(
    ("region", "weights"),
    [
        ((0, 0, 0.25, 0.25), {0: 1}),
        ((0.75, 0.5, 1, 0.75), {11: 1}),
        ((0, 0, 0.5, 0.25), {0: 1, 1: 1}),
        ((0.125, 0, 0.5, 0.25), {0: 1, 1: 2}),
        ((0.2, 0.2, 0.3, 0.3), {0: 1, 1: 1, 4: 1, 5: 1}),
        ((0.3, 0.3, 0.31, 0.31), {5: 1}),
    ],
)
def test_cells_count_by_the_share_that_is_covered(region, weights):
    expected = np.zeros(16)
    expected[list(weights)] = list(weights.values())
    np.testing.assert_allclose(region_vector(ONE_HOT, region), expected / np.linalg.norm(expected), atol=1e-6)


def test_the_whole_image_is_the_mean_of_all_cells_at_length_one():
    cells = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    mean = cells.mean(axis=0)
    found = region_vector(cells, (0, 0, 1, 1))
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-5)
    assert found.dtype == np.float32


def test_boxes_tile_the_original():
    boxes = [cell_box(cell, 4, (80, 100)) for cell in range(16)]
    assert (boxes[0], boxes[1], boxes[4], boxes[15]) == (
        (0, 0, 25, 20),
        (25, 0, 50, 20),
        (0, 20, 25, 40),
        (75, 60, 100, 80),
    )
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) == 8000


def test_a_box_in_an_image_of_fewer_pixels_than_cells_is_a_pixel():
    assert cell_box(15, 4, (2, 3)) == (2, 1, 3, 2)
    assert all(x1 > x0 and y1 > y0 for x0, y0, x1, y1 in (cell_box(cell, 64, (10, 7)) for cell in range(4096)))


def test_a_region_in_pixels():
    assert region_box((0, 0.25, 0.5, 1), (80, 100)) == (0, 20, 50, 80)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ((-0.1, 0, 1, 1), "is not within the image"),
        ((0, 0, 1, 1.01), "is not within the image"),
        ((0, 0, float("nan"), 1), "is not within the image"),
        ((0.5, 0, 0.5, 1), "is empty"),
        ((0, 0.6, 1, 0.5), r"region=\[0,0.6,1,0.5\] is empty"),
    ],
)
def test_a_region_that_is_none_is_refused(region, said):
    with pytest.raises(ConfigError, match=said):
        checked_region(region)
    assert checked_region([0, 0, 1, 1]) == (0, 0, 1, 1)
