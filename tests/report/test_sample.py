"""A sample is the same every time, spread over the set, and of the rows that count."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.exports.visible import VisibleRows
from pipeline.report.sample import Sample, spread
from tests.vector_set import VectorSet, gaussian, names


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (10_000, 2000), (7, 1)])
def test_numbers_are_spread_evenly(count: int, most: int):
    numbers = spread(count, most)
    assert len(numbers) == min(count, most)
    assert len(set(numbers.tolist())) == len(numbers)
    gaps = np.diff(numbers)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
    assert not count or numbers[0] == 0


def test_a_sample_takes_rows_that_count_with_their_vectors(tmp_path: Path):
    made, ids = VectorSet(tmp_path / "set"), names(1100)
    old, new = gaussian(1100, seed=1), gaussian(1100, seed=2)
    made.embed_vectors(ids, old)
    made.embed_vectors(ids[::2], new[::2], bad=[ids[4]])
    rows = VisibleRows(made.uri)
    sample = Sample.of(rows, 50)
    assert len(sample.images) == 50
    expected = {image_id: (new if number % 2 == 0 else old)[number] for number, image_id in enumerate(ids)}
    for image, vector in zip(sample.images, sample.vectors, strict=True):
        np.testing.assert_allclose(vector, expected[image["image_id"]], atol=1e-6)
    assert [image["image_id"] for image in sample.images] == [
        rows.features().image_ids[position] for position in sample.positions
    ]
    assert ids[4] not in [image["image_id"] for image in Sample.of(rows, 5000).images]
