"""An opened index: the nearest images by their best vector; a damaged one is named."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, FeatureSetError
from pipeline.exports.building import build_index
from pipeline.exports.vector_index import VectorIndex
from tests.vector_set import VectorSet, gaussian, grid_spec, names, near


def test_the_nearest_come_best_first_without_the_one_left_out(index: VectorIndex, small: VectorSet):
    ids = names(30)
    row = index.images.find(ids[7])
    vectors = {image_id: vector for image_id, vector in small.vectors.items() if image_id != ids[1]}
    expected = sorted(vectors, key=lambda each: -float(vectors[each] @ vectors[ids[7]]))
    found = index.nearest(index.vectors_of(row)[0], 5, leave_out=row)
    assert [index.image(hit[1]).image_id for hit in found] == expected[1:6]
    assert [hit[0] for hit in found] == pytest.approx(
        [float(vectors[e] @ vectors[ids[7]]) for e in expected[1:6]], abs=2e-4
    )
    assert index.nearest(index.vectors_of(row)[0], 1)[0][1] == row


def test_more_than_there_are_is_all_there_are(index: VectorIndex):
    assert len(index.nearest(gaussian(1)[0], 100)) == 29
    assert len(index.nearest(gaussian(1)[0], 100, leave_out=3)) == 28


def test_an_image_counts_once_by_its_best_cell(tmp_path: Path):
    made, query = VectorSet(tmp_path / "set", (grid_spec(8),)), gaussian(1)[0]
    grids = gaussian(64 * 6, seed=2).reshape(6, 64, 256)
    grids[2] = np.stack([near(query, 0.9, seed) for seed in range(64)])
    grids[2, 17], grids[4, 63] = near(query, 0.95), near(query, 0.8)
    made.embed_vectors(names(6), gaussian(6), grids=grids)
    build_index(made.uri, str(tmp_path / "index"), "grid")
    found = VectorIndex(str(tmp_path / "index")).nearest(query, 3)
    assert [(row, cell) for _, row, cell in found[:2]] == [(2, 17), (4, 63)]
    assert [similarity for similarity, _, _ in found[:2]] == pytest.approx([0.95, 0.8], abs=1e-3)
    assert len({row for _, row, _ in found}) == 3


def test_no_index_and_a_damaged_one_are_named(index: VectorIndex, tmp_path: Path):
    assert index.record.num_images == 29
    with pytest.raises(ConfigError, match="holds no index; build one"):
        VectorIndex(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="is not on local disk"):
        VectorIndex("memory://index")
    for name in ("lists.ivfdata", "lists.faiss", "places.npy", "images.parquet"):
        build_index(index.record.features_uri, str(tmp_path / name))
        (tmp_path / name / name).unlink()
        with pytest.raises(ConfigError, match="is damaged"):
            VectorIndex(str(tmp_path / name))
    record = tmp_path / "index/index.json"
    record.write_bytes(record.read_bytes().replace(b'"run": 2', b'"run": 1'))
    with pytest.raises(FeatureSetError, match="is damaged: its digest"):
        VectorIndex(str(tmp_path / "index"))


def test_files_of_two_indexes_do_not_pass_for_one(index: VectorIndex, small: VectorSet, tmp_path: Path):
    assert len(index.images) == 29
    small.embed_vectors(["new.jpg"], gaussian(1))
    build_index(small.uri, str(tmp_path / "other"))
    (tmp_path / "other/images.parquet").replace(tmp_path / "index/images.parquet")
    with pytest.raises(ConfigError, match="29 vectors of 30 images"):
        VectorIndex(str(tmp_path / "index"))
