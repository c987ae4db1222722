"""Pictures of maps: the components of all images together, averaged where fine, and whole whatever the map."""

import numpy as np
import pytest

from pipeline.featureset.maps import MapSpec
from pipeline.readers.row import FeatureRow
from pipeline.report.components import SIDE_CELLS, level_pictures, principal_components


def row(**maps: np.ndarray) -> FeatureRow:
    return FeatureRow("a", "/a", (1, 1), maps, load_positions=tuple, load_embedding=lambda: np.zeros(1))


def spec(values: np.ndarray, column: str = "fpn_0") -> MapSpec:
    return MapSpec(column, 0, values.shape, "float16", 4)


def stripes(direction: int, side: int = 16) -> np.ndarray:
    """Half of it 1 and half of it -1 along one of the channels."""
    values = np.zeros((4, side, side), np.float16)
    values[direction, :, : side // 2], values[direction, :, side // 2 :] = 1, -1
    return values


def test_components_are_those_of_a_singular_value_decomposition():
    rows = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32) * np.arange(1, 7, dtype=np.float32)
    mean, components, share = principal_components(rows, 3)
    _, values, vectors = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(components.T), np.abs(vectors[:3]), atol=1e-3)
    assert share == pytest.approx((values[:3] ** 2).sum() / (values**2).sum(), abs=1e-4)
    np.testing.assert_allclose(mean, rows.mean(axis=0))
    assert all(column[np.abs(column).argmax()] > 0 for column in components.T)


def test_the_same_numbers_have_the_same_colour_in_every_picture():
    first, second = stripes(0), stripes(1)
    second[:, :, -2:] = first[:, :, :2]
    (level,) = level_pictures((spec(first),), [row(fpn_0=first), row(fpn_0=second)])
    one, other = level.pictures
    assert one.shape == (16, 16, 3)
    np.testing.assert_array_equal(other[:, -2:], one[:, :2])
    assert (other[:, 0] != one[:, 0]).any()
    assert level.share == pytest.approx(1)


def test_a_fine_map_is_averaged_and_a_coarse_one_is_not():
    fine = np.random.default_rng(0).standard_normal((3, 2 * SIDE_CELLS, 2 * SIDE_CELLS)).astype(np.float16)
    coarse = fine[:, :8, :8]
    maps = (spec(fine), spec(coarse, "fpn_1"))
    first, second = level_pictures(maps, [row(fpn_0=fine, fpn_1=coarse)])
    assert first.pictures[0].shape == (SIDE_CELLS, SIDE_CELLS, 3)
    assert second.pictures[0].shape == (8, 8, 3)
    assert (first.column, first.shape_chw) == ("fpn_0", fine.shape)
    halves = fine.astype(np.float32).reshape(3, SIDE_CELLS, 2, SIDE_CELLS, 2).mean(axis=(2, 4)).astype(np.float16)
    (level,) = level_pictures((spec(halves),), [row(fpn_0=halves)])
    assert np.abs(level.pictures[0].astype(int) - first.pictures[0]).max() <= 2


def test_numbers_that_are_none_and_few_channels_do_no_harm():
    values = stripes(0)[:2]
    values[0, 0, 0], values[1, 1, 1] = np.nan, np.inf
    (level,) = level_pictures((spec(values),), [row(fpn_0=values)])
    assert level.pictures[0].shape == (16, 16, 3)
    assert len(np.unique(level.pictures[0])) > 1


def test_a_set_of_vectors_and_grids_has_no_levels():
    grid = MapSpec("grid", 2, (256, 4, 4), "float32", 16)
    assert level_pictures((grid,), [row(grid=np.zeros((256, 4, 4)))]) == []
