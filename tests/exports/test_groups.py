"""Groups: planted near-duplicates are found, and nobody else."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.exports.building import fill
from pipeline.exports.groups import group_numbers, probes_for, twins
from tests.vector_set import clustered, gaussian, near


class Plain:
    """Vectors in memory."""

    grid_side = None
    dimension = 256

    def __init__(self, vectors: np.ndarray) -> None:
        self.values = vectors

    def __len__(self) -> int:
        return len(self.values)

    def batches(self):
        """All of them, in parts."""
        for first in range(0, len(self.values), 5000):
            yield self.values[first : first + 5000]


def groups_of(vectors: np.ndarray, folder: Path, min_similarity: float = 0.98) -> list[list[int]]:
    lists, sample = fill(folder, Plain(vectors))
    groups = group_numbers(lists, probes_for(lists, sample, min_similarity), min_similarity)
    return [np.flatnonzero(groups == group).tolist() for group in range(groups.max() + 1)]


def test_planted_groups_are_found_and_nobody_else(tmp_path: Path):
    vectors = gaussian(3000)
    vectors[[2999, 50]] = near(vectors[10], 0.99), near(vectors[10], 0.985, seed=1)
    vectors[700] = vectors[600]
    vectors[[801, 802]] = near(vectors[800], 0.981), near(vectors[800], 0.97, seed=3)
    assert groups_of(vectors, tmp_path) == [[10, 50, 2999], [600, 700], [800, 801]]


def test_a_chain_is_one_group(tmp_path: Path):
    vectors = gaussian(100)
    for link in range(1, 6):
        vectors[link] = near(vectors[link - 1], 0.985, seed=link)
    assert vectors[0] @ vectors[5] < 0.98
    assert groups_of(vectors, tmp_path) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("make", [gaussian, clustered])
def test_of_many_pairs_at_the_very_limit_nearly_all_are_found_across_lists(make, tmp_path: Path):
    vectors = make(24_000)
    vectors[12_000:] = twins(vectors[:12_000], 0.981)
    found = groups_of(vectors, tmp_path)
    assert all(len(group) == 2 and group[1] - group[0] == 12_000 for group in found)
    assert len(found) >= 0.99 * 12_000


def test_copies_by_the_thousand_are_one_group(tmp_path: Path):
    vectors = gaussian(6000)
    vectors[1000:5500] = vectors[999]
    assert groups_of(vectors, tmp_path) == [list(range(999, 5500))]


def test_copies_are_found_at_a_similarity_of_one(tmp_path: Path):
    vectors = gaussian(500)
    vectors[400:] = vectors[:100]
    assert groups_of(vectors, tmp_path, 1.0) == [[number, 400 + number] for number in range(100)]


def test_one_vector_has_no_duplicates(tmp_path: Path):
    assert groups_of(gaussian(1), tmp_path) == []


def test_twins_are_at_their_similarity():
    vectors = gaussian(50)
    np.testing.assert_allclose((vectors * twins(vectors, 0.9)).sum(axis=1), 0.9, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(twins(vectors, 0.9), axis=1), 1, atol=1e-5)
