"""Vectors: one an image or one a cell, in an order from which an image and a place follow."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, FeatureSetError
from pipeline.exports.vectors import vectors_of
from pipeline.exports.visible import VisibleRows
from pipeline.featureset.maps import MapSpec
from tests.small_set import SmallSet
from tests.vector_set import VectorSet, gaussian, grid_spec, names


def test_pooled_vectors_are_those_of_the_images_that_count(small: VectorSet):
    vectors = vectors_of("pooled", VisibleRows(small.uri))
    found = np.concatenate(list(vectors.batches()))
    expected = np.concatenate([gaussian(30)[2:], gaussian(2, seed=5)[:1]])
    np.testing.assert_array_equal(found, expected)
    assert (len(vectors), vectors.dimension, vectors.grid_side) == (29, 256, None)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_cells_come_image_by_image_and_row_by_row(tmp_path: Path, dtype: str):
    made = VectorSet(tmp_path / "set", (grid_spec(3, dtype),))
    grids = gaussian(90).reshape(10, 9, 256)
    made.embed_vectors(names(10), gaussian(10), grids=grids)
    made.embed_vectors(names(1, 4), gaussian(1), grids=grids[:1] * -1)
    vectors = vectors_of("grid", VisibleRows(made.uri))
    kept = [*range(4), *range(5, 10)]
    expected = np.concatenate([grids[kept].reshape(-1, 256), -grids[0]]).astype(dtype)
    found = np.concatenate(list(vectors.batches()))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    assert (len(vectors), vectors.dimension, vectors.grid_side) == (90, 256, 3)


def test_many_cells_come_in_bounded_batches(tmp_path: Path):
    made = VectorSet(tmp_path / "set", (grid_spec(32),))
    made.embed_vectors(names(40), gaussian(40), grids=np.repeat(gaussian(40)[:, None], 1024, axis=1))
    lengths = [len(batch) for batch in vectors_of("grid", VisibleRows(made.uri)).batches()]
    assert lengths == [16_384, 16_384, 8192]


def test_a_set_without_a_square_grid_is_refused(small: VectorSet, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"has no grid \(its maps: none\)"):
        vectors_of("grid", VisibleRows(small.uri))
    oblong = SmallSet(tmp_path / "oblong", (MapSpec("grid", 2, (256, 2, 3), "float16", 16),))
    oblong.embed([["a"]])
    with pytest.raises(ConfigError, match="is not square: 2 x 3 cells"):
        vectors_of("grid", VisibleRows(oblong.uri))


def test_a_lost_shard_is_named(gridded: VectorSet):
    (shard,) = Path(gridded.uri, "shards/000001").iterdir()
    shard.unlink()
    with pytest.raises(FeatureSetError, match=f"{shard.name} is missing"):
        list(vectors_of("grid", VisibleRows(gridded.uri)).batches())
