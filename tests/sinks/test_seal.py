"""Sealing: a run becomes readable when every planned image is accounted for, and only then."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import FeatureSetError, RunIncompleteError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, RunRecord
from pipeline.featureset.schema import INDEX, QUARANTINE
from pipeline.readers.feature_set import open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.seal import seal_run
from tests.small_set import SmallSet, flip_byte, original_size, pooled_values

UNITS = [["a", "b"], ["c", "d"], ["e"]]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    return SmallSet(tmp_path / "set")


def committed(small: SmallSet, *, bad: tuple[str, ...] = ()) -> RunRecord:
    """A run whose units are all committed."""
    run = small.begin(UNITS)
    for unit, ids in enumerate(UNITS):
        small.commit(run, unit, ids, bad=bad)
    return run


def shard_of(small: SmallSet, unit: int) -> Path:
    commit = catalog.commit_record(small.root, 1, unit)
    assert commit is not None
    assert commit.shard is not None
    return Path(small.uri) / commit.shard.name


def test_ok_and_quarantined_are_all_that_was_planned(small: SmallSet):
    manifest = seal_run(small.root, committed(small, bad=("b", "e")))
    assert (manifest.num_planned, manifest.num_embedded, manifest.num_quarantined) == (5, 3, 2)
    assert catalog.manifest(small.root, 1) == manifest
    assert manifest.size_bytes == sum(path.stat().st_size for path in Path(small.uri, "shards").rglob("*.parquet"))


def test_the_index_says_where_each_image_lies(small: SmallSet):
    manifest = seal_run(small.root, committed(small, bad=("a",)))
    index = catalog.read_table(small.root, manifest.index)
    assert index.schema.equals(INDEX)
    assert index["image_id"].to_pylist() == ["b", "c", "d", "e"]
    assert index["row"].to_pylist() == [0, 0, 1, 0]
    for row in index.to_pylist():
        found = pq.ParquetFile(f"{small.uri}/{row['shard']}").read_row_group(row["row"]).to_pylist()[0]
        assert found["image_id"] == row["image_id"]
        assert (row["original_height"], row["original_width"]) == original_size(row["image_id"])
        np.testing.assert_array_equal(np.float32(row["embedding"]), pooled_values(row["image_id"]))


def test_the_manifest_lists_shards_and_quarantine_so_that_readers_list_nothing(small: SmallSet):
    manifest = seal_run(small.root, committed(small, bad=("e",)))
    shards = catalog.read_table(small.root, manifest.shards).to_pylist()
    assert [Path(small.uri, row["shard"]) for row in shards] == [shard_of(small, 0), shard_of(small, 1)]
    assert [row["num_rows"] for row in shards] == [2, 2]
    quarantine = catalog.read_table(small.root, manifest.quarantine)
    assert quarantine.schema.equals(QUARANTINE)
    assert quarantine.to_pylist() == [
        {
            "image_id": "e",
            "uri": "/data/photos/e",
            "stage": "decode",
            "error_class": "permanent",
            "error_type": "TruncatedImage",
            "message": "e ends too early",
        }
    ]


def test_a_run_with_missing_units_is_refused_naming_the_first(small: SmallSet):
    run = small.begin(UNITS)
    small.commit(run, 0, UNITS[0])
    small.commit(run, 2, UNITS[2])
    with pytest.raises(RunIncompleteError, match="unit 1 of run 1 is not committed yet"):
        seal_run(small.root, run)
    assert catalog.manifest(small.root, 1) is None
    small.commit(run, 1, UNITS[1])
    assert seal_run(small.root, run).num_embedded == 5


@pytest.mark.parametrize(("held", "wrong"), [(["a"], "b"), (["a", "c"], "b, c"), (["a", "b", "b"], "twice")])
def test_a_unit_that_does_not_hold_exactly_the_planned_images_is_refused(small: SmallSet, held: list[str], wrong: str):
    run = small.begin([["a", "b"]])
    small.commit(run, 0, held)
    with pytest.raises(FeatureSetError, match=f"unit 0 of run 1 holds {len(held)} .* the 2 planned ones: .*{wrong}"):
        seal_run(small.root, run)
    assert catalog.manifest(small.root, 1) is None


def test_a_unit_of_other_settings_is_refused(small: SmallSet):
    run = small.begin([["a"]])
    other = CommitRecord(run=1, unit=0, token=paths.token(), fingerprint="other", shard=None, quarantine=())
    commit_unit(small.root, other)
    with pytest.raises(FeatureSetError, match="unit 0 of run 1 carries the fingerprint of other settings"):
        seal_run(small.root, run)


def test_a_missing_shard_is_refused_by_name(small: SmallSet):
    run = committed(small)
    shard_of(small, 1).unlink()
    with pytest.raises(FeatureSetError, match=f"{shard_of(small, 1).name} cannot be read"):
        seal_run(small.root, run)
    assert catalog.manifest(small.root, 1) is None


@pytest.mark.parametrize("length", [0, 3, 500, -1])
def test_a_shard_that_was_cut_short_is_refused_by_name(small: SmallSet, length: int):
    run = committed(small)
    path = shard_of(small, 1)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FeatureSetError, match=f"{path.name} cannot be read"):
        seal_run(small.root, run)


@pytest.mark.parametrize("column", ["image_id", "embedding.list.element"])
def test_a_shard_whose_indexed_bytes_are_damaged_is_refused_by_name(small: SmallSet, column: str):
    run = committed(small)
    path = shard_of(small, 1)
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column)
    flip_byte(path, chunk.data_page_offset + chunk.total_compressed_size - 1)
    with pytest.raises(FeatureSetError, match=f"{path.name} cannot be read"):
        seal_run(small.root, run)


def test_a_shard_of_another_unit_in_its_place_is_refused(small: SmallSet):
    run = committed(small)
    shard_of(small, 1).write_bytes(shard_of(small, 2).read_bytes())
    with pytest.raises(FeatureSetError, match="has 1 rows, its commit says 2"):
        seal_run(small.root, run)


def test_sealing_twice_is_harmless(small: SmallSet):
    run = committed(small)
    first = seal_run(small.root, run)
    before = open_features(small.uri).pooled
    assert seal_run(small.root, run) == first
    assert open_features(small.uri).pooled.equals(before)


def test_a_run_of_nothing_but_bad_images_seals_and_opens(small: SmallSet):
    manifest = seal_run(small.root, committed(small, bad=("a", "b", "c", "d", "e")))
    assert (manifest.num_embedded, manifest.num_quarantined, manifest.size_bytes) == (0, 5, 0)
    features = open_features(small.uri)
    assert (len(features), features.image_ids, features.files) == (0, [], [])
    assert features.pooled.num_rows == 0
    assert features.quarantine["image_id"].to_pylist() == ["a", "b", "c", "d", "e"]


def test_the_order_of_commits_does_not_change_the_rows(tmp_path: Path):
    """The same run, interrupted or not, gives the same rows."""
    pooled = []
    for name, order in (("straight", [0, 1, 2]), ("interrupted", [2, 0, 1])):
        small = SmallSet(tmp_path / name)
        run = small.begin(UNITS)
        for unit in order:
            small.commit(run, unit, UNITS[unit])
        seal_run(small.root, run)
        pooled.append(open_features(small.uri).pooled)
    assert pooled[0].equals(pooled[1])


def test_a_run_of_thousands_of_images_is_indexed_whole(tmp_path: Path):
    small = SmallSet(tmp_path / "pooled", maps=())
    units = [[f"{unit}/{number}" for number in range(6000)] for unit in range(3)]
    manifest = small.embed(units)
    index = catalog.read_table(small.root, manifest.index, ["image_id", "row"])
    assert index["image_id"].to_pylist() == [image_id for ids in units for image_id in ids]
    assert index["row"].to_pylist() == [*range(6000)] * 3
