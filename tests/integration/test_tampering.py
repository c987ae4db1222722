"""A feature set that somebody tampered with, digests and all: verify names the object, readers refuse or are right.

What no check can see without a copy elsewhere is a set whose last runs were taken away whole.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pipeline
from pipeline.errors import FeatureSetError
from pipeline.execution.repair import require_repairable
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import TableFile
from pipeline.featureset.schema import SHARDS
from pipeline.maintenance.orphans import Orphans
from pipeline.maintenance.verify import verify
from pipeline.sinks.tables import write_table
from tests.damaging import commit_of, manifest_of, path_of, rewrite, shard_of
from tests.small_set import COARSE, SmallSet, stored_values

UNITS = [["a", "b"], ["c", "d"], ["e"]]
OUTSIDE = ["../../other/data.parquet", "s3://other/data.parquet"]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    """Two sealed runs and an open one."""
    small = SmallSet(tmp_path / "set")
    small.embed(UNITS)
    small.embed([["f", "g"], ["h", "i"], ["j"]])
    run = small.begin([["x"], ["y"]])
    small.commit(run, 0, ["x"])
    small.commit(run, 1, ["y"])
    return small


def found(small: SmallSet, level: Any = "counts") -> list[tuple[str, str]]:
    return [(finding.kind, finding.file) for finding in verify(small.root, level).findings]


def is_right(small: SmallSet, image_id: str) -> bool:
    """Whether readers give what was written of the image."""
    found = pipeline.open_features(small.uri)[image_id].maps["fpn_1"]
    return np.array_equal(np.moveaxis(found, 0, -1), stored_values(image_id, COARSE))


def elsewhere(file: TableFile, name: str) -> TableFile:
    """The record of a file under another name, as only a hand writes it."""
    return TableFile.model_construct(**{**file.model_dump(), "name": name})


def test_nothing_is_found_where_nobody_was(small: SmallSet):
    assert found(small, "full") == []
    assert len(pipeline.open_features(small.uri)) == 12


def test_an_edited_record_with_a_digest_that_fits_is_named(small: SmallSet):
    rewrite(small, paths.manifest(1), manifest_of(small, 1), num_embedded=4, num_quarantined=1)
    assert ("count", paths.manifest(1)) in found(small)
    assert len(pipeline.open_features(small.uri)) == 12, "readers count rows"


def test_a_deleted_commit_is_named_and_readers_have_all_the_same(small: SmallSet):
    path_of(small, paths.commit(1, 1)).unlink()
    assert found(small) == [("commit", paths.commit(1, 1))]
    assert is_right(small, "c")


def swap(small: SmallSet, tmp_path: Path) -> list[str]:
    """Gives two shards of the first run each other's bytes; gives their names."""
    names = [shard_of(small, 1, unit).name for unit in (0, 1)]
    one, other = (path_of(small, name) for name in names)
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    return names


def test_two_swapped_shards_are_named_and_neither_is_read_for_the_other(small: SmallSet, tmp_path: Path):
    names = swap(small, tmp_path)
    assert sorted({file for _, file in found(small, "full")}) == names
    features = pipeline.open_features(small.uri)
    for image_id in "abcd":
        with pytest.raises(FeatureSetError, match=r"shards/000001/00000000[01]-.* is damaged"):
            features[image_id]
    assert is_right(small, "e")


def test_not_even_if_the_table_of_shards_says_that_their_bytes_are_those(small: SmallSet, tmp_path: Path):
    names, manifest = swap(small, tmp_path), manifest_of(small, 1)
    rows = catalog.read_table(small.root, manifest.shards).to_pylist()
    for row in rows:
        data = path_of(small, row["shard"]).read_bytes()
        row |= {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    forged = write_table(small.root, paths.run_table(1, "shards"), pa.Table.from_pylist(rows, schema=SHARDS))
    rewrite(small, paths.manifest(1), manifest, shards=forged)
    assert {("shard-footer", name) for name in names} <= set(found(small, "footers"))
    features = pipeline.open_features(small.uri)
    for image_id in "abcd":
        with pytest.raises(FeatureSetError, match=r"is that of unit [01] of run 1: it was put in the place of another"):
            features[image_id]


@pytest.mark.parametrize(
    ("older", "newer", "kind"),
    [
        (paths.manifest(1), paths.manifest(2), "record"),
        (paths.run_record(1), paths.run_record(2), "record"),
        (paths.commit(1, 0), paths.commit(3, 0), "open-commit"),
        (paths.commit(3, 0), paths.commit(3, 1), "open-commit"),
    ],
)
def test_an_older_record_in_the_place_of_a_newer_is_named_and_not_read(
    small: SmallSet, older: str, newer: str, kind: str
):
    shutil.copy(path_of(small, older), path_of(small, newer))
    assert (kind, newer) in found(small)
    with pytest.raises(FeatureSetError, match=f"{newer} is that of .*; it was put in the place of another"):
        pipeline.open_features(small.uri)


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_record_names_a_file_outside_of_its_set(small: SmallSet, tmp_path: Path, name: str):
    manifest, commit = manifest_of(small, 2), commit_of(small, 3, 1)
    for folder in (tmp_path / "other", tmp_path.parent / "other"):
        folder.mkdir(exist_ok=True)
        shutil.copy(path_of(small, manifest.index.name), folder / "data.parquet")  # it would pass every other check
    assert commit.shard is not None
    rewrite(small, paths.commit(3, 1), commit, shard=elsewhere(commit.shard, name))
    assert found(small) == [("open-commit", paths.commit(3, 1))]
    rewrite(small, paths.manifest(2), manifest, index=elsewhere(manifest.index, name))
    assert ("record", paths.manifest(2)) in found(small)
    with pytest.raises(FeatureSetError, match="no file below its feature set"):
        pipeline.open_features(small.uri)
    with pytest.raises(FeatureSetError, match="no file below its feature set"):
        Orphans(small.root)
    with pytest.raises(FeatureSetError, match="cannot mend"):
        require_repairable(verify(small.root, "counts"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_table_names_a_shard_outside_of_its_set(small: SmallSet, name: str):
    manifest = manifest_of(small, 1)
    table = catalog.read_table(small.root, manifest.shards)
    names = pa.array([name, *table["shard"].to_pylist()[1:]])
    forged = write_table(small.root, paths.run_table(1, "shards"), table.set_column(0, table.schema.field(0), names))
    rewrite(small, paths.manifest(1), manifest, shards=forged)
    assert ("table", forged.name) in found(small, "full")
    with pytest.raises(FeatureSetError, match="no shard of this feature set"):
        pipeline.open_features(small.uri)["a"]
    with pytest.raises(FeatureSetError, match="no shard of this feature set"):
        Orphans(small.root)
    with pytest.raises(FeatureSetError, match="cannot mend"):
        require_repairable(verify(small.root, "counts"))


def test_an_index_that_names_another_shard_gives_nobody_its_uri(small: SmallSet):
    manifest = manifest_of(small, 1)
    index = catalog.read_table(small.root, manifest.index)
    place = index.schema.get_field_index("shard")
    names = pa.array(["../../other/data.parquet"] * index.num_rows)
    forged = write_table(
        small.root, paths.run_table(1, "index"), index.set_column(place, index.schema.field(place), names)
    )
    rewrite(small, paths.manifest(1), manifest, index=forged)
    assert ("shard-list", "../../other/data.parquet") in found(small)
    features = pipeline.open_features(small.uri)
    with pytest.raises(FeatureSetError, match="named by an index and by no record"):
        _ = features.files
    with pytest.raises(FeatureSetError, match="named by an index and by no record"):
        features["a"]
