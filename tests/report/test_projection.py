"""Points of the plane show the two directions of most variance, at any number of vectors."""

import numpy as np
import pytest

from pipeline.report.projection import plane


def test_the_plane_is_that_of_most_variance():
    chance = np.random.default_rng(0)
    hidden = chance.standard_normal((500, 2)) * [5, 2]
    turn = np.linalg.qr(chance.standard_normal((40, 40)))[0][:2]
    points, share = plane((hidden @ turn + 0.01 * chance.standard_normal((500, 40))).astype(np.float32))
    assert share > 0.99
    assert np.abs(points).max() == pytest.approx(1)
    for axis in range(2):
        assert abs(np.corrcoef(points[:, axis], hidden[:, axis])[0, 1]) > 0.99


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_vectors_have_places_too(count: int):
    points, share = plane(np.eye(3, 8, dtype=np.float32)[:count])
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert 0 <= share <= 1


def test_copies_of_one_image_lie_on_one_point():
    points, _ = plane(np.ones((4, 8), np.float32))
    assert np.abs(points).max() < 1e-3
