"""Building: what it promises of recall it holds on both kinds of data, and it replaces an index whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.errors import ConfigError, FeatureSetError, SinkError
from pipeline.exports.building import build_index
from pipeline.exports.vector_index import VectorIndex
from tests.small_set import SmallSet, flip_byte
from tests.vector_set import VectorSet, gaussian, names


@pytest.mark.parametrize("kind", ["hard", "easy"])
def test_recall_is_what_the_record_says_on_either_kind_of_data(kind, request, tmp_path: Path):
    made: VectorSet = request.getfixturevalue(kind)
    record = build_index(made.uri, str(tmp_path / "index"))
    index, features = VectorIndex(str(tmp_path / "index")), pipeline.open_features(made.uri)
    vectors = features.pooled["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 256)
    rows = np.random.default_rng(11).choice(len(vectors), 200, replace=False)
    shares = []
    for row in rows.tolist():
        similarities = vectors @ vectors[row]
        similarities[row] = -1
        found = [hit[1] for hit in index.nearest(vectors[row], 10, leave_out=row)]
        shares.append(len(set(found) & set(np.argsort(-similarities)[:10].tolist())) / 10)
    assert np.mean(shares) >= 0.94
    assert np.mean(shares) == pytest.approx(record.recall, abs=0.03)
    assert record.recall >= 0.95
    assert record.num_lists == 256
    assert (record.num_probes > 128) == (kind == "hard")
    assert features.image_ids == [image.image_id for image in index.images.take(np.arange(len(features)))]


def test_an_index_says_what_it_is_of(small: VectorSet, tmp_path: Path):
    record = build_index(small.uri, str(tmp_path / "index"))
    written = json.loads((tmp_path / "index/index.json").read_bytes())
    assert written["features_uri"] == small.uri
    assert written["fingerprint"] == small.record.fingerprint
    assert (written["run"], written["num_images"], written["num_vectors"]) == (2, 29, 29)
    assert written["recall"] == record.recall == 1.0
    assert written["settings"]["weights"] == {"kind": "random", "seed": 0}
    table = pq.read_table(tmp_path / "index/images.parquet")
    assert table.column_names == ["image_id", "uri", "original_height", "original_width", "part"]
    assert table["image_id"].to_pylist() == pipeline.open_features(small.uri).image_ids


def test_a_new_index_takes_the_place_of_an_old_one(small: VectorSet, tmp_path: Path):
    place = tmp_path / "index"
    build_index(small.uri, str(place))
    small.embed_vectors(["new.jpg"], gaussian(1, seed=8))
    before = VectorIndex(str(place))
    assert build_index(small.uri, str(place)).run == 3
    assert VectorIndex(str(place)).images.find("new.jpg") == 29
    assert len(before.nearest(gaussian(1)[0], 3)) == 3  # whoever had the old one open goes on with it
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_build_that_fails_leaves_the_old_index_and_nothing_else(gridded: VectorSet, tmp_path: Path):
    place = tmp_path / "index"
    build_index(gridded.uri, str(place), "grid")
    (shard,) = Path(gridded.uri, "shards/000001").iterdir()
    flip_byte(shard, shard.stat().st_size // 2)
    with pytest.raises(FeatureSetError, match="damaged"):
        build_index(gridded.uri, str(place), "grid")
    assert VectorIndex(str(place)).record.num_vectors == 160
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gridded", "index"]


def test_what_is_no_index_is_not_replaced(small: VectorSet, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/mine.jpg").write_bytes(b"x")
    for place in ("photos", "photos/mine.jpg", "features"):
        with pytest.raises(ConfigError, match="is there and is no index"):
            build_index(small.uri, str(tmp_path / place))
    (tmp_path / "empty").mkdir()
    assert build_index(small.uri, f"file://{tmp_path}/empty").num_images == 29


def test_places_that_cannot_be_are_refused(small: VectorSet, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"index.uri=s3://bucket/index is not on local disk"):
        build_index(small.uri, "s3://bucket/index")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SinkError, match="cannot write"):
        build_index(small.uri, str(tmp_path / "file/index"))


def test_a_set_without_images_is_refused(tmp_path: Path):
    made = SmallSet(tmp_path / "set")
    made.embed([["a"]], bad=["a"])
    with pytest.raises(ConfigError, match="nothing to index"):
        build_index(made.uri, str(tmp_path / "index"))


@pytest.mark.parametrize("count", [1, 2, 11])
def test_very_small_sets_are_indexed(count: int, tmp_path: Path):
    made = VectorSet(tmp_path / "set")
    made.embed_vectors(names(count), gaussian(count))
    assert build_index(made.uri, str(tmp_path / "index")).recall == 1.0
    found = VectorIndex(str(tmp_path / "index")).nearest(gaussian(count)[0], 10)
    assert len(found) == min(count, 10)
    assert found[0][:2] == (pytest.approx(1, abs=1e-3), 0)


def test_cells_are_indexed_one_by_one(gridded: VectorSet, tmp_path: Path):
    record = build_index(gridded.uri, str(tmp_path / "cells"), "grid")
    assert (record.num_images, record.num_vectors, record.grid_side, record.kind) == (10, 160, 4, "grid")
    assert isinstance(pq.read_schema(tmp_path / "cells/images.parquet"), pa.Schema)
