"""Rows one after the other: all that count, in order, whatever is read ahead of them."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FeatureSetError
from pipeline.featureset import paths
from pipeline.featureset.maps import MapSpec, scaled
from pipeline.featureset.records import CommitRecord
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import shard_writer
from tests.faults.proxied import ProxiedBucket
from tests.small_set import COARSE, FINE, MAPS, SmallSet, map_values, original_size, pooled_values

UNITS = [[f"{unit}/{number}" for number in range(4)] for unit in range(3)]
AGAIN = ("1/1", "2/0")


def embedded(place: Path | str, maps=MAPS) -> FeatureSet:
    """Twelve images, of which a second run has embedded two anew and quarantined one."""
    made = SmallSet(place, maps)
    made.embed(UNITS)
    made.embed([["1/1", "1/2"], ["2/0"]], bad=["1/2"], version="2")
    return open_features(made.uri)


def version_of(image_id: str) -> str:
    return "2" if image_id in AGAIN else "1"


def stored(image_id: str, spec) -> np.ndarray:
    return map_values(image_id, spec, version_of(image_id)).astype("float16").transpose(2, 0, 1)


@pytest.mark.parametrize("maps", [MAPS, (COARSE,), ()], ids=["two maps", "one map", "vectors"])
@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_rows_are_all_that_count_in_the_order_of_the_files(maps, where: str, tmp_path: Path, request):
    place = tmp_path / "set" if where == "disk" else f"s3://{request.getfixturevalue('store').bucket}/set"
    features = embedded(place, maps)
    rows = list(features.rows())
    assert [row.image_id for row in rows] == features.image_ids
    assert sorted(features.image_ids) == sorted({image_id for unit in UNITS for image_id in unit} - {"1/2"})
    for row in rows:
        assert row.original_size == original_size(row.image_id)
        for values, spec in zip(row.maps.values(), maps, strict=True):
            np.testing.assert_array_equal(values, stored(row.image_id, spec), err_msg=row.image_id)
        np.testing.assert_array_equal(row.embedding, pooled_values(row.image_id, version_of(row.image_id)))


@pytest.mark.parametrize("maps", [MAPS, ()], ids=["maps", "vectors"])
def test_rows_come_by_position_in_the_order_asked_for(maps, tmp_path: Path):
    features = embedded(tmp_path / "set", maps)
    positions = [5, 0, 0, 10, 3, 2]
    rows = list(features.rows(positions))
    assert [row.image_id for row in rows] == [features.image_ids[position] for position in positions]
    for row in rows:
        np.testing.assert_array_equal(row.embedding, features[row.image_id].embedding)
    for nowhere in (-1, 11):
        with pytest.raises(IndexError, match=f"no row {nowhere} among 11"):
            list(features.rows([0, nowhere]))


def test_what_is_not_gone_through_to_the_end_leaves_no_thread(tmp_path: Path):
    before = set(threading.enumerate())
    rows = embedded(tmp_path / "set").rows()
    assert next(rows).image_id == "0/0"
    assert set(threading.enumerate()) > before
    rows.close()
    assert set(threading.enumerate()) == before


def test_a_damaged_shard_is_named_where_its_first_row_comes(tmp_path: Path):
    features = embedded(tmp_path / "set")
    Path(features.files[1]).unlink()
    rows = features.rows()
    assert [next(rows).image_id for _ in range(4)] == UNITS[0]
    with pytest.raises(FeatureSetError, match=f"shard {features.files[1]} is missing"):
        next(rows)


def test_vectors_of_a_shard_are_read_together(store: ProxiedBucket):
    features = embedded(f"s3://{store.bucket}/set", ())
    assert len(features) == 11
    store.proxy.forget()
    assert len(list(features.rows())) == 11
    assert len(store.proxy.requests) == 2 * len(features.files)


# Some of the maps


def test_a_selection_has_its_maps_alone_in_the_order_of_the_set(tmp_path: Path):
    features = embedded(tmp_path / "set")
    selected = features.select("fpn_1")
    row = selected["0/3"]
    assert [spec.column for spec in selected.maps] == ["fpn_1"]
    assert [spec["column"] for spec in selected.metadata["maps"]] == ["fpn_1"]
    np.testing.assert_array_equal(row.vision_features.numpy(), stored("0/3", COARSE))
    assert [tuple(level.shape) for level in row.vision_pos_enc] == [COARSE.shape_chw]
    np.testing.assert_array_equal(row.vision_pos_enc[0], features["0/3"].vision_pos_enc[1])
    np.testing.assert_array_equal(row.embedding, pooled_values("0/3"))
    assert [spec.column for spec in features.select("fpn_1", "fpn_0").maps] == ["fpn_0", "fpn_1"]
    assert len(features["0/3"].maps) == 2, "the set itself stays as it was"
    assert len(selected) == len(features)


def test_a_map_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path):
    features = embedded(tmp_path / "set")
    with pytest.raises(FeatureSetError, match=r"has no map 'fpn_2'; it has fpn_0, fpn_1$"):
        features.select("fpn_1", "fpn_2")
    with pytest.raises(FeatureSetError, match=r"has no map 'fpn_0'; it has fpn_1$"):
        features.select("fpn_1").select("fpn_0")


@pytest.mark.parametrize("spec", [FINE, COARSE], ids=["fine", "coarse"])
def test_of_a_selection_no_other_bytes_are_read(spec, store: ProxiedBucket):
    features = embedded(f"s3://{store.bucket}/set").select(spec.column)
    assert features["0/0"].image_id == "0/0"  # the footer is here
    store.proxy.forget()
    row = features["0/1"]
    (seen,) = store.proxy.requests
    start, _, end = seen.headers["range"].removeprefix("bytes=").partition("-")
    assert spec.size_bytes < int(end) - int(start) + 1 < spec.size_bytes + 60, "its map and the head of its page"
    np.testing.assert_array_equal(row.maps[spec.column], stored("0/1", spec))
    np.testing.assert_array_equal(row.embedding, pooled_values("0/1"))
    assert len(store.proxy.requests) == 2, "its vector, when it was asked for"


def test_scales_and_what_the_decoder_wants_come_with_a_row(tmp_path: Path):
    maps = (MapSpec("high_res_0", 0, (3, 4, 4), "int8", 4), MapSpec("fpn_2", 2, (2, 2, 2), "float16", 16))
    small = SmallSet(tmp_path / "set", maps=maps, no_mem_embed=(1.0, 2.0))
    rng = np.random.default_rng(1)
    numbers = rng.integers(-127, 128, (2, 4, 4, 3), np.int8), rng.random((2, 3), np.float32)
    coarse = rng.standard_normal((2, 2, 2, 2), np.float32)
    stored_maps = {"high_res_0": numbers[0], "high_res_0_scale": numbers[1], "fpn_2": coarse}
    run = small.begin([["a", "b"]])
    with shard_writer(small.root, small.record, run=1, unit=0) as shard:
        shard.append(replace(small.images(["a", "b"]), maps=stored_maps))
    facts = {"token": paths.token(), "fingerprint": small.record.fingerprint, "quarantine": ()}
    commit_unit(small.root, CommitRecord(run=1, unit=0, shard=shard.file, rows=shard.rows, **facts))
    seal_run(small.root, run)
    features = open_features(small.uri)
    for row in (features["b"], list(features.rows())[1], features.select("high_res_0")["b"]):
        expected = scaled(numbers[0][1], numbers[1][1]).transpose(2, 0, 1)
        np.testing.assert_array_equal(row.maps["high_res_0"], expected)
        np.testing.assert_array_equal(row.no_mem_embed, [1.0, 2.0])
        assert row.uri == "/data/photos/b"
