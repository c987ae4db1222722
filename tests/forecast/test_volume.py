"""What is written to nowhere is as long as what real writers write."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.featureset.maps import MapSpec
from pipeline.forecast.volume import Nowhere, measured_volume, written_bytes
from pipeline.sinks.tables import write_table
from pipeline.storage.folder import Folder
from tests.small_set import COARSE, MAPS, SmallSet

TENSOR = MapSpec("fpn_1", 1, (5, 4, 3), "float32", 8, "tensor")


@pytest.mark.parametrize("maps", [MAPS, (TENSOR,), ()], ids=["blobs", "tensors", "pooled"])
def test_shards_are_as_long_as_was_said(tmp_path: Path, maps: tuple[MapSpec, ...]):
    ids = [f"{number:04d}.jpg" for number in range(22)]
    units = [ids[:8], ids[8:16], ids[16:]]
    written = SmallSet(tmp_path / "set", maps)
    manifest = written.embed(units)
    said = measured_volume(
        written.record,
        [(each, f"/data/photos/{each}") for each in ids],
        num_images=22,
        images_per_unit=8,
        images_per_batch=8,
        plan_bytes=0,
        is_new=True,
    )
    assert said.num_units == 3
    assert said.map_bytes == {spec.column: spec.size_bytes for spec in maps}
    assert said.shard_bytes == pytest.approx(manifest.size_bytes, rel=0.02)
    assert said.whole_shard_bytes == pytest.approx(manifest.size_bytes * 8 / 22, rel=0.1)
    assert said.total_bytes == said.shard_bytes + said.beside_bytes


def test_a_set_that_is_there_has_what_is_stored_once(tmp_path: Path):
    written = SmallSet(tmp_path / "set")
    of_run = {"num_images": 10, "images_per_unit": 5, "images_per_batch": 1, "plan_bytes": 100}
    new, more = (measured_volume(written.record, [("a", "/a")], is_new=is_new, **of_run) for is_new in (True, False))
    assert (new.num_objects, more.num_objects) == (2 * 2 + 6 + 3 + 1, 2 * 2 + 6)
    positions = sum(4 * 256 * spec.shape_chw[1] * spec.shape_chw[2] for spec in MAPS)
    assert positions < new.beside_bytes - more.beside_bytes < positions + 25_000


def test_other_maps_of_the_same_images_change_their_bytes_alone(tmp_path: Path):
    written = SmallSet(tmp_path / "set")
    of_run = {"num_images": 10, "images_per_batch": 1, "plan_bytes": 100, "is_new": True}
    whole = measured_volume(written.record, [("a", "/a")], images_per_unit=5, **of_run)
    fewer = whole.storing((COARSE,), 10)
    assert (fewer.num_units, fewer.num_images) == (1, 10)
    assert whole.image_bytes - fewer.image_bytes == MAPS[0].size_bytes


def test_tables_written_to_nowhere_are_as_long_as_in_a_file(tmp_path: Path):
    table = pa.table({"image_id": ["a", "b"], "number": [1, 2]})
    assert written_bytes(table.schema, [table]) == write_table(Folder(tmp_path), "t.parquet", table).size_bytes
    assert Nowhere().write(b"abc") == 3
