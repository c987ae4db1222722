"""Points of the plane: who is near stays near, groups stay apart, and the same vectors give the same points."""

import numpy as np
import pytest

from pipeline.report.neighbours import nearest
from pipeline.report.projection import plane
from tests.vector_set import clustered


def placed(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    return plane(vectors, nearest(vectors, 8)[0])


def test_groups_are_apart_and_most_near_ones_stay_near():
    vectors = clustered(600, num_clusters=6)
    points, share = placed(vectors)
    groups = np.random.default_rng(0)
    groups.standard_normal((6, 256), dtype=np.float32), groups.standard_normal((600, 256), dtype=np.float32)
    labels = groups.integers(0, 6, 600)
    chosen = np.argsort(((points[:, None] - points[None]) ** 2).sum(axis=2), axis=1)[:, 1:9]
    assert (labels[chosen] == labels[:, None]).mean() > 0.95
    hits = [len(set(here) & set(there)) / 8 for here, there in zip(nearest(vectors, 8)[0], chosen, strict=True)]
    assert share == pytest.approx(np.mean(hits))
    assert np.abs(points).max() == pytest.approx(1)


def test_the_same_vectors_give_the_same_points():
    vectors = clustered(50)
    np.testing.assert_array_equal(placed(vectors)[0], placed(vectors)[0])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_vectors_have_places_too(count: int):
    points, share = placed(np.eye(3, 8, dtype=np.float32)[:count])
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert share == 1


def test_copies_of_one_image_come_apart_enough_to_be_seen():
    points, _ = placed(np.ones((20, 8), np.float32))
    assert np.isfinite(points).all()
    assert len(np.unique(points.round(3), axis=0)) == 20
