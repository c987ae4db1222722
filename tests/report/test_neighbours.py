"""The nearest are exactly those that sorting all similarities gives."""

import numpy as np
import pytest

from pipeline.report.neighbours import nearest
from tests.vector_set import clustered


def test_the_nearest_are_those_of_a_full_sort_over_several_blocks():
    vectors = clustered(2100)
    numbers, similarities = nearest(vectors, 8)
    whole = vectors @ vectors.T
    np.fill_diagonal(whole, -np.inf)
    np.testing.assert_array_equal(numbers, np.argsort(-whole, axis=1, kind="stable")[:, :8])
    np.testing.assert_allclose(similarities, np.sort(whole, axis=1)[:, ::-1][:, :8], atol=1e-6)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 0), (2, 1), (4, 3)])
def test_a_few_have_as_many_as_there_are(count: int, expected: int):
    numbers, similarities = nearest(np.eye(4, dtype=np.float32)[:count], 8)
    assert numbers.shape == similarities.shape == ((count, expected) if count else (0, 0))


def test_of_copies_the_first_come_first():
    vectors = np.tile(np.float32([[1, 0]]), (5, 1))
    assert nearest(vectors, 2)[0].tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
