"""Shards: a unit's features in one file, one row group an image, damage found when it is read."""

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SinkError
from pipeline.featureset.records import IndexRows
from pipeline.sinks.shards import shard_writer
from pipeline.storage.folder import Folder
from tests.small_set import FINE, MAPS, SmallSet, flip_byte, original_size, pooled_values, stored_values

IDS = ["cats/1.jpg", "cats/2.jpg", "é😀.jpg"]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    return SmallSet(tmp_path / "set")


def write(small: SmallSet, *batches: list[str]) -> Path:
    with shard_writer(small.root, small.record, run=1, unit=0) as shard:
        for ids in batches:
            shard.append(small.images(ids))
    assert shard.file is not None
    return Path(small.uri) / shard.file.name


def test_rows_hold_what_was_appended_in_order(small: SmallSet):
    rows = pq.ParquetFile(write(small, IDS[:2], IDS[2:])).read().to_pylist()
    assert [row["image_id"] for row in rows] == IDS
    for row in rows:
        assert row["uri"] == f"/data/photos/{row['image_id']}"
        assert (row["original_height"], row["original_width"]) == original_size(row["image_id"])
        np.testing.assert_array_equal(np.float32(row["embedding"]), pooled_values(row["image_id"]))
        for spec in MAPS:
            assert row[spec.column] == stored_values(row["image_id"], spec).tobytes()


@pytest.mark.parametrize("batches", [[IDS], [IDS[:2], IDS[2:]]])
def test_the_index_is_told_what_lies_in_the_shard(small: SmallSet, batches: list[list[str]]):
    with shard_writer(small.root, small.record, run=1, unit=0) as shard:
        for ids in batches:
            shard.append(small.images(ids))
    assert shard.file is not None
    stored = pq.ParquetFile(f"{small.uri}/{shard.file.name}").read(
        ["image_id", "uri", "original_height", "original_width"]
    )
    rows = shard.rows.model_dump()
    vectors = np.frombuffer(base64.b64decode(rows.pop("embedding")), "<f4").reshape(3, 256)
    assert {name: list(values) for name, values in rows.items()} == stored.to_pydict()
    np.testing.assert_array_equal(vectors, [pooled_values(image_id) for image_id in IDS])


@pytest.mark.parametrize("batches", [[IDS], [[image_id] for image_id in IDS]])
def test_one_image_is_one_row_group_however_they_were_batched(small: SmallSet, batches: list[list[str]]):
    metadata = pq.ParquetFile(write(small, *batches)).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [1, 1, 1]


def test_pooled_vectors_alone_need_no_row_group_each(tmp_path: Path):
    path = write(SmallSet(tmp_path / "pooled", maps=()), IDS)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def test_a_unit_without_images_has_no_shard(small: SmallSet):
    with shard_writer(small.root, small.record, run=1, unit=0) as shard:
        pass
    assert shard.file is None
    assert shard.rows == IndexRows()
    assert list(small.root.names("shards")) == []


def test_an_error_in_the_middle_leaves_no_shard(small: SmallSet):
    def fail_in_the_middle() -> None:
        with shard_writer(small.root, small.record, run=1, unit=0) as shard:
            shard.append(small.images(IDS))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert list(Path(small.uri, "shards").rglob("*.parquet")) == []
    assert list(small.root.names("staging")) == []


def test_writing_the_same_unit_twice_is_harmless(small: SmallSet):
    first, second = write(small, IDS), write(small, IDS)
    assert first != second
    assert pq.ParquetFile(first).read().equals(pq.ParquetFile(second).read())


def test_data_folders_hold_nothing_but_parquet(small: SmallSet):
    write(small, IDS)
    found = [path for path in Path(small.uri, "shards").rglob("*") if path.is_file()]
    assert [path.suffix for path in found] == [".parquet"]


@pytest.mark.parametrize("shape", [(1, 4, 8, 6), (1, 8, 6, 5), (1, 8 * 6, 4)])
def test_maps_of_another_shape_are_refused_naming_both(small: SmallSet, shape: tuple[int, ...]):
    images = small.images(IDS[:1])
    turned = replace(images, maps={**images.maps, "fpn_0": np.zeros(shape, np.float32)})
    with (
        pytest.raises(ValueError, match=r"fpn_0 holds numbers of shape \(8, 6, 4\), not"),
        shard_writer(small.root, small.record, run=1, unit=0) as shard,
    ):
        shard.append(turned)


def test_more_maps_than_images_are_refused(small: SmallSet):
    images = small.images(IDS)
    with (
        pytest.raises(pa.ArrowInvalid),
        shard_writer(small.root, small.record, run=1, unit=0) as shard,
    ):
        shard.append(replace(images, image_ids=IDS[:2], uris=IDS[:2], original_sizes=[(1, 1)] * 2))


def test_maps_in_another_dtype_are_stored_in_the_declared_one(small: SmallSet):
    images = small.images(IDS[:1])
    doubled = replace(images, maps={name: values.astype(np.float64) for name, values in images.maps.items()})
    with shard_writer(small.root, small.record, run=1, unit=0) as shard:
        shard.append(doubled)
    assert shard.file is not None
    row = pq.ParquetFile(f"{small.uri}/{shard.file.name}").read_row_group(0)
    assert row["fpn_0"][0].as_py() == stored_values(IDS[0], FINE).tobytes()


@pytest.mark.parametrize("column", ["fpn_0", "fpn_1", "embedding.list.element", "image_id"])
def test_page_checksums_catch_a_flipped_byte_in_every_column(small: SmallSet, column: str):
    path = write(small, IDS)
    group = pq.ParquetFile(path).metadata.row_group(1)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column)
    flip_byte(path, chunk.data_page_offset + chunk.total_compressed_size - 1)
    file = pq.ParquetFile(path, page_checksum_verification=True)
    assert file.read_row_group(0).num_rows == 1
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        file.read_row_group(1)


def test_a_shard_goes_where_nothing_can_be_with_a_word(tmp_path: Path):
    small = SmallSet(tmp_path / "set")
    (tmp_path / "file").touch()
    with (
        pytest.raises(SinkError, match="file"),
        shard_writer(Folder(tmp_path / "file"), small.record, run=1, unit=0) as shard,
    ):
        shard.append(small.images(IDS))
