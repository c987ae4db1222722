"""Recall: measured against all vectors, without the query itself; the effort is raised until it is enough."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.exports.lists import Lists, ListWriter, train_lists
from pipeline.exports.recall import TARGET, ExactNeighbours, measured_effort, without_own
from tests.vector_set import clustered, gaussian

OWN = np.arange(0, 5000, 20)


def exact_of(vectors: np.ndarray, own: np.ndarray) -> ExactNeighbours:
    exact = ExactNeighbours(vectors[own], own, len(vectors))
    for first in range(0, len(vectors), 700):
        exact.add(vectors[first : first + 700])
    return exact


def lists_of(vectors: np.ndarray, folder: Path, num_lists: int = 64) -> Lists:
    writer = ListWriter(train_lists(vectors, num_lists), folder)
    writer.add(vectors)
    return writer.finish()


def test_exact_neighbours_are_those_of_a_plain_product():
    vectors = gaussian(3000)
    similarities, numbers = exact_of(vectors, np.array([5, 2999])).found()
    products = vectors[[5, 2999]] @ vectors.T
    products[[0, 1], [5, 2999]] = -1
    np.testing.assert_array_equal(numbers, np.argsort(-products, axis=1)[:, :10])
    np.testing.assert_allclose(similarities, -np.sort(-products, axis=1)[:, :10], atol=1e-6)


def test_few_vectors_have_few_neighbours():
    _, numbers = exact_of(gaussian(3), np.array([0, 1, 2])).found()
    assert [sorted(row) for row in numbers.tolist()] == [[1, 2], [0, 2], [0, 1]]


def test_a_query_is_left_out_or_else_the_last():
    similarities, numbers = np.array([[3.0, 2, 1], [3, 2, 1]]), np.array([[7, 8, 9], [4, 5, 6]])
    kept = without_own(similarities, numbers, np.array([8, 1]))
    assert [part.tolist() for part in kept] == [[[3, 1], [3, 2]], [[7, 9], [4, 5]]]


@pytest.mark.parametrize(("make", "most_searched"), [(gaussian, 1.0), (clustered, 0.3)])
def test_effort_is_raised_until_the_recall_is_enough_and_no_further(make, most_searched, tmp_path: Path):
    vectors = make(5000)
    lists = lists_of(vectors, tmp_path)
    effort = measured_effort(lists, vectors[OWN], OWN, exact=exact_of(vectors, OWN))
    truth = exact_of(vectors, OWN).found()[1]

    def recall(num_probes: int) -> float:
        found = without_own(*lists.search(vectors[OWN], 11, num_probes), OWN)[1]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))

    assert effort.recall >= TARGET
    assert effort.recall == pytest.approx(recall(effort.num_probes), abs=0.003)
    assert effort.num_probes <= most_searched * lists.num_lists
    assert effort.num_probes == 1 or recall(effort.num_probes // 2) < TARGET
    assert effort.num_queries == len(OWN)


def test_copies_of_one_image_are_as_good_as_each_other(tmp_path: Path):
    vectors = np.repeat(gaussian(100), 50, axis=0)
    effort = measured_effort(lists_of(vectors, tmp_path), vectors[OWN], OWN, exact=exact_of(vectors, OWN))
    assert effort.recall == 1.0
    assert effort.num_probes == 1


def test_one_vector_alone_has_nothing_to_find(tmp_path: Path):
    vectors = gaussian(1)
    effort = measured_effort(
        lists_of(vectors, tmp_path, 1), vectors, np.array([0]), exact=exact_of(vectors, np.array([0]))
    )
    assert (effort.num_probes, effort.recall, effort.num_queries) == (1, 1.0, 0)
