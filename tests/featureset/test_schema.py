"""Schema: a map is plain bytes that say what they are, and every Parquet reader opens them."""

import json
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.featureset.maps import MapSpec
from pipeline.featureset.schema import shard_schema
from tests.small_set import COARSE, FINE, MAPS, SmallSet, map_values, pooled_values, stored_values

IDS = ["cats/1.jpg", "cats/2.jpg", "é😀.jpg"]
IDENTITY = ["image_id", "uri", "original_height", "original_width", "embedding"]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A committed shard of three images."""
    small = SmallSet(tmp_path / "set")
    small.embed([IDS])
    return next((tmp_path / "set/shards").rglob("*.parquet"))


@pytest.mark.parametrize("spec", MAPS, ids=lambda spec: spec.column)
def test_the_column_says_dtype_shape_layout_and_meaning(shard: Path, spec: MapSpec):
    field = pq.read_schema(shard).field(spec.column)
    said = {key.decode(): value.decode() for key, value in field.metadata.items()}
    channels, height, width = spec.shape_chw
    assert said["dtype"] == "float16"
    assert json.loads(said["shape"]) == [height, width, channels]
    assert said["layout"].startswith("HWC")
    assert said["layout"].endswith("little-endian")
    assert json.loads(said["level"]) == spec.level
    assert json.loads(said["stride_px"]) == spec.stride_px
    assert said["meaning"] == f"SAM 2 backbone_fpn[{spec.level}]"


def test_what_the_column_says_is_enough_to_read_it_without_this_package(shard: Path):
    table = pq.ParquetFile(shard).read()
    said = table.schema.field("fpn_0").metadata
    shape = json.loads(said[b"shape"])
    values = np.frombuffer(table["fpn_0"][1].as_py(), np.dtype(said[b"dtype"].decode())).reshape(shape)
    np.testing.assert_array_equal(values, map_values(IDS[1], FINE).astype("float16"))


def test_a_shard_names_its_fingerprint_run_and_unit(shard: Path):
    said = pq.read_schema(shard).metadata
    assert len(said[b"sam2_embed.fingerprint"]) == 64
    assert (said[b"sam2_embed.run"], said[b"sam2_embed.unit"]) == (b"1", b"0")


def test_a_shard_has_plain_columns_and_no_extension_types(shard: Path):
    schema = pq.read_schema(shard)
    assert schema.names == [*IDENTITY, "fpn_0", "fpn_1"]
    for field in schema:
        assert not isinstance(field.type, pa.BaseExtensionType), field
        assert not any(key.startswith(b"ARROW:extension") for key in field.metadata or {}), field
    assert schema.field("fpn_0").type == pa.binary(FINE.size_bytes)
    assert schema.field("embedding").type == pa.list_(pa.field("element", pa.float32()))
    assert {key.split(b".")[0] for key in schema.metadata} == {b"sam2_embed"}


def test_duckdb_opens_a_shard_as_plain_columns(shard: Path):
    found = duckdb.read_parquet(str(shard))
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    assert types == {
        "image_id": "VARCHAR",
        "uri": "VARCHAR",
        "original_height": "INTEGER",
        "original_width": "INTEGER",
        "embedding": "FLOAT[]",
        "fpn_0": "BLOB",
        "fpn_1": "BLOB",
    }
    rows = {row[0]: row for row in found.fetchall()}
    assert list(rows) == IDS
    assert rows[IDS[2]][5] == stored_values(IDS[2], FINE).tobytes()
    np.testing.assert_array_equal(np.float32(rows[IDS[0]][4]), pooled_values(IDS[0]))


def test_polars_opens_a_shard_as_plain_columns(shard: Path):
    found = pl.read_parquet(shard)
    assert found.schema["fpn_0"] == pl.Binary
    assert found.schema["embedding"] == pl.List(pl.Float32)
    assert found["image_id"].to_list() == IDS
    assert found["fpn_1"][1] == stored_values(IDS[1], COARSE).tobytes()


def test_a_set_of_pooled_vectors_has_no_map_columns():
    schema = shard_schema((), fingerprint="f" * 64, weights={"kind": "random"}, run=1, unit=0)
    assert schema.names == IDENTITY
    assert schema.metadata[b"sam2_embed.weights"] == b'{"kind": "random"}', (
        "random weights are called random everywhere"
    )
