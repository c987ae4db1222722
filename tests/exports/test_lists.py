"""Lists on disk: whole searches are exact, parts are merged, and a vector is found again by its number."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.exports.lists import Lists, ListWriter, train_lists
from tests.vector_set import gaussian, near

VECTORS = gaussian(1000)


def written(folder: Path, num_lists: int = 8, vectors_per_part: int = 300) -> Lists:
    writer = ListWriter(train_lists(VECTORS[:500], num_lists), folder, vectors_per_part)
    for first in range(0, len(VECTORS), 130):
        writer.add(VECTORS[first : first + 130])
    return writer.finish()


def test_a_search_of_all_lists_finds_what_an_exact_one_does(tmp_path: Path):
    lists, queries = written(tmp_path), gaussian(20, seed=7)
    similarities, numbers = lists.search(queries, 5, 8)
    exact = queries @ VECTORS.T
    np.testing.assert_array_equal(numbers, np.argsort(-exact, axis=1)[:, :5])
    np.testing.assert_allclose(similarities, -np.sort(-exact, axis=1)[:, :5], atol=2e-4)
    one, _ = lists.search(queries[:1], 5, 8)
    np.testing.assert_allclose(one, similarities[:1], atol=1e-6)


def test_fewer_lists_are_searched_when_fewer_are_asked_for(tmp_path: Path):
    lists, queries = written(tmp_path), gaussian(20, seed=7)
    _, few = lists.search(queries, 1000, 1)
    assert ((few >= 0).sum(axis=1) < 500).all()
    _, every = lists.search(queries, 1000, 99)
    assert (every >= 0).all()


def test_a_vector_is_found_by_its_number_in_whatever_part_it_came(tmp_path: Path):
    lists, numbers = written(tmp_path), np.array([999, 0, 500, 0])
    np.testing.assert_allclose(lists.vectors(numbers), VECTORS[numbers], atol=2e-4)
    assert len(lists) == 1000


def test_every_vector_is_in_one_list(tmp_path: Path):
    lists = written(tmp_path)
    members = [lists.members(number) for number in range(lists.num_lists)]
    assert sorted(np.concatenate([numbers for numbers, _ in members]).tolist()) == list(range(1000))
    for numbers, vectors in members:
        np.testing.assert_allclose(vectors, VECTORS[numbers], atol=2e-4)


def test_an_empty_list_has_no_members(tmp_path: Path):
    copies = np.repeat(VECTORS[:1], 50, axis=0)
    writer = ListWriter(train_lists(VECTORS[:10], 10), tmp_path)
    writer.add(copies)
    lists = writer.finish()
    sizes = [len(lists.members(number)[0]) for number in range(10)]
    assert sorted(sizes) == [0] * 9 + [50]
    assert lists.search(copies[:1], 3, 10)[0][0].tolist() == pytest.approx([1, 1, 1], abs=1e-3)


def test_ranks_say_how_many_lists_it_takes_to_find_a_vector(tmp_path: Path):
    lists = written(tmp_path)
    queries = np.stack([near(vector, 0.5, seed) for seed, vector in enumerate(VECTORS[:30])])
    ranks = lists.ranks(queries, np.arange(30)[:, None])
    assert ranks.max() > 0
    for query, number, (rank,) in zip(queries, range(30), ranks, strict=True):
        assert number in lists.search(query[None], 1000, int(rank) + 1)[1]
        assert rank == 0 or number not in lists.search(query[None], 1000, int(rank))[1]


def test_a_moved_folder_still_opens_and_nothing_is_left_of_the_parts(tmp_path: Path):
    (tmp_path / "one").mkdir()
    written(tmp_path / "one")
    moved = (tmp_path / "one").rename(tmp_path / "two")
    assert sorted(path.name for path in moved.iterdir()) == ["lists.faiss", "lists.ivfdata", "places.npy"]
    assert Lists(moved).search(VECTORS[3:4], 1, 8)[1].tolist() == [[3]]


def test_nothing_is_printed(tmp_path: Path, capfd):
    print("before")  # noqa: T201
    written(tmp_path)
    print("after")  # noqa: T201
    assert capfd.readouterr().out == "before\nafter\n"
