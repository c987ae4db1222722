"""Feature sets: what was committed is what you get, one image without the others, and never a cluster."""

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.errors import AccessDeniedError, ConfigError, FeatureSetError, ImageNotFoundError
from pipeline.featureset import catalog
from pipeline.featureset.schema import QUARANTINE
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from tests.faults.faults import Answer, Cut, Fault, Reset
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_privileges
from tests.small_set import COARSE, FINE, MAPS, SmallSet, flip_byte, map_values, original_size, pooled_values

UNITS = [["cats/1.jpg", "cats/2.jpg"], ["dogs/1.jpg", "dogs/2.jpg"], ["é😀.jpg"]]
BAD = ("cats/2.jpg",)
GOOD = ["cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg", "é😀.jpg"]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    """A sealed set of four images and a quarantined one, in three shards."""
    made = SmallSet(tmp_path / "set")
    made.embed(UNITS, bad=BAD)
    return made


@pytest.fixture
def empty(tmp_path: Path) -> SmallSet:
    """A set without a run."""
    return SmallSet(tmp_path / "set")


def fine_map(features: FeatureSet, image_id: str) -> np.ndarray:
    return features[image_id].backbone_fpn[0].numpy()


def stored(image_id: str, version: str = "1") -> np.ndarray:
    """What the finest map of an image should be."""
    return map_values(image_id, FINE, version).astype("float16").transpose(2, 0, 1)


def shards(small: SmallSet, run: int = 1) -> list[Path]:
    """The run's shards, unit by unit."""
    return sorted(Path(small.uri, "shards", f"{run:06d}").iterdir())


# What was committed is what you get


def test_what_was_committed_is_what_you_get(small: SmallSet):
    features = open_features(small.uri)
    assert len(features) == len(GOOD)
    assert features.image_ids == list(features) == GOOD
    for image_id in GOOD:
        row = features[image_id]
        assert row.original_size == original_size(image_id)
        np.testing.assert_array_equal(row.pooled.numpy(), pooled_values(image_id))
        for level, spec in zip(row.backbone_fpn, MAPS, strict=True):
            expected = map_values(image_id, spec).astype("float16").transpose(2, 0, 1)
            np.testing.assert_array_equal(level.numpy(), expected, err_msg=f"{image_id} {spec.column}")


def test_an_id_is_in_the_set_or_it_is_not(small: SmallSet):
    features = open_features(small.uri)
    assert "dogs/1.jpg" in features
    assert "cats/2.jpg" not in features  # quarantined
    assert "dogs" not in features
    assert 3 not in features
    assert None not in features


def test_metadata_tells_settings_maps_and_runs_in_plain_values(small: SmallSet):
    metadata = open_features(small.uri).metadata
    assert metadata["settings"]["weights"] == {"kind": "random", "seed": 0}
    assert metadata["fingerprint"] == small.record.fingerprint
    assert [each["column"] for each in metadata["maps"]] == ["fpn_0", "fpn_1"]
    assert [(run["run"], run["num_embedded"], run["num_quarantined"]) for run in metadata["runs"]] == [(1, 4, 1)]
    assert pickle.loads(pickle.dumps(metadata)) == metadata  # noqa: S301


def test_quarantine_is_an_arrow_table_of_who_and_why(small: SmallSet):
    quarantine = open_features(small.uri).quarantine
    assert isinstance(quarantine, pa.Table)
    assert quarantine.schema.equals(QUARANTINE)
    assert quarantine.column_names == ["image_id", "uri", "stage", "error_class", "error_type", "message"]
    (row,) = quarantine.to_pylist()
    assert (row["image_id"], row["stage"], row["error_class"]) == ("cats/2.jpg", "decode", "permanent")
    assert row["message"] == "cats/2.jpg ends too early"


def test_pooled_is_an_arrow_table_of_256_normalised_floats(small: SmallSet):
    pooled = open_features(small.uri).pooled
    assert pooled.column_names == ["image_id", "embedding"]
    assert pa.types.is_list(pooled.schema.field("embedding").type)
    assert pooled.schema.field("embedding").type.value_type == pa.float32()
    assert pooled["image_id"].to_pylist() == GOOD
    vectors = np.array(pooled["embedding"].to_pylist(), np.float32)
    assert vectors.shape == (4, 256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[1], pooled_values("dogs/1.jpg"))


def test_files_is_the_exact_list_of_shards(small: SmallSet):
    Path(small.uri, "shards/000001/left-behind.parquet").write_bytes(b"of a writer that lost")
    files = open_features(small.uri).files
    assert files == [str(path) for path in shards(small) if path.name != "left-behind.parquet"]
    assert sum(pq.ParquetFile(file).metadata.num_rows for file in files) == len(GOOD)


def test_a_set_shows_what_it_holds(small: SmallSet):
    text = repr(open_features(small.uri))
    assert small.uri in text
    assert "4 images, 1 quarantined" in text
    assert "fpn_0 (4, 8, 6) float16" in text
    assert "kind random" in text


# Which ids there are


def test_an_unknown_id_names_close_matches(small: SmallSet):
    with pytest.raises(ImageNotFoundError, match=r"no image 'cats/1\.jpeg' among 4; did you mean 'cats/1\.jpg'"):
        open_features(small.uri)["cats/1.jpeg"]
    with pytest.raises(KeyError) as caught:
        open_features(small.uri)["zzz"]
    assert "did you mean" not in str(caught.value)


def test_a_quarantined_id_says_why(small: SmallSet):
    with pytest.raises(ImageNotFoundError, match=r"'cats/2\.jpg' was quarantined in stage decode: cats/2\.jpg ends"):
        open_features(small.uri)["cats/2.jpg"]


def test_a_number_is_no_id_and_the_error_says_what_is(small: SmallSet):
    with pytest.raises(TypeError, match=r"a string, not 0; features\.image_ids"):
        open_features(small.uri)[0]  # type: ignore[index]


# Several runs


def test_of_two_runs_the_last_one_counts_for_an_image(empty: SmallSet):
    empty.embed([["a", "b"], ["c"]])
    empty.embed([["b"], ["d"]], version="2")
    features = open_features(empty.uri)
    assert features.image_ids == ["a", "c", "b", "d"]
    assert features.pooled["image_id"].to_pylist() == ["a", "c", "b", "d"]
    for image_id, version in (("a", "1"), ("b", "2"), ("c", "1"), ("d", "2")):
        np.testing.assert_array_equal(fine_map(features, image_id), stored(image_id, version), err_msg=image_id)
        np.testing.assert_array_equal(features[image_id].pooled.numpy(), pooled_values(image_id, version))
    assert [run["run"] for run in features.metadata["runs"]] == [1, 2]


def test_an_image_that_went_bad_is_quarantined_not_shown_as_it_was(empty: SmallSet):
    empty.embed([["a", "b"]])
    empty.embed([["b"]], bad=["b"], version="2")
    features = open_features(empty.uri)
    assert features.image_ids == ["a"]
    assert features.quarantine["image_id"].to_pylist() == ["b"]
    with pytest.raises(ImageNotFoundError, match="quarantined"):
        features["b"]


def test_an_image_that_was_mended_is_shown_and_no_longer_quarantined(empty: SmallSet):
    empty.embed([["a", "b"]], bad=["a", "b"])
    empty.embed([["b"]], version="2")
    features = open_features(empty.uri)
    assert features.image_ids == ["b"]
    assert features.quarantine["image_id"].to_pylist() == ["a"]
    np.testing.assert_array_equal(fine_map(features, "b"), stored("b", "2"))


def test_no_image_twice_however_often_it_was_embedded(empty: SmallSet):
    for version in "1234":
        empty.embed([["a", "b"], ["c"]], bad=["c"] if version in "13" else [], version=version)
    features = open_features(empty.uri)
    assert features.image_ids == ["a", "b", "c"]
    assert features.quarantine.num_rows == 0
    np.testing.assert_array_equal(fine_map(features, "c"), stored("c", "4"))
    assert features.files == [str(path) for path in shards(empty, 4)], "no other shard has a row that counts"


def test_files_are_those_shards_that_have_a_row_that_counts(empty: SmallSet):
    empty.embed([["a", "b"], ["c"], ["d"]])
    empty.embed([["b", "c"], ["e"]], bad=["e"], version="2")
    empty.embed([["d"]], bad=["d"], version="3")
    features = open_features(empty.uri)
    first, second = shards(empty, 1), shards(empty, 2)
    assert features.files == [str(first[0]), str(second[0])], "a; b and c; of d and e no features count"
    assert features.image_ids == ["a", "b", "c"]


def test_removed_images_are_told_and_their_features_stay(empty: SmallSet):
    empty.embed([["a", "b", "c"]])
    assert open_features(empty.uri).removed.num_rows == 0
    empty.embed([["d"]], removed=["a", "c"])
    features = open_features(empty.uri)
    assert isinstance(features.removed, pa.Table)
    assert features.removed.to_pydict() == {"image_id": ["a", "c"]}
    assert features.image_ids == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(fine_map(features, "a"), stored("a"))
    empty.embed([], removed=["c"])
    assert open_features(empty.uri).removed.to_pydict() == {"image_id": ["c"]}
    empty.embed([["e"]])
    assert open_features(empty.uri).removed.num_rows == 0, "they are all back"


def test_a_run_that_was_given_up_is_not_seen(empty: SmallSet):
    empty.embed([["a"]])
    run = empty.begin([["b"]])
    empty.commit(run, 0, ["b"])
    abandon_run(empty.root, run.run)
    features = open_features(empty.uri)
    assert features.image_ids == ["a"]
    assert [each["run"] for each in features.metadata["runs"]] == [1]
    empty.embed([["c"]])
    assert open_features(empty.uri).image_ids == ["a", "c"]


def test_an_open_run_is_not_seen_until_it_is_sealed_by_those_who_ask_for_that(small: SmallSet):
    before = open_features(small.uri)
    run = small.begin([["new.jpg"]], version="2")
    small.commit(run, 0, ["new.jpg"], version="2")
    sealed = open_features(small.uri, sealed_only=True)
    assert ("new.jpg" in sealed, sealed.is_sealed) == (False, True)
    assert "new.jpg" in open_features(small.uri)
    seal_run(small.root, run)
    assert "new.jpg" in open_features(small.uri, sealed_only=True)
    assert "new.jpg" not in before  # an open set stays as it was


# Nothing to open


def test_a_place_without_a_feature_set_is_refused_by_name(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(FeatureSetError, match=f"{place} holds no feature set"):
            open_features(str(place))


def test_a_set_in_which_nothing_is_committed_is_refused_with_what_to_do(empty: SmallSet):
    run = empty.begin([["a"]])
    with pytest.raises(FeatureSetError, match="is not sealed yet, nothing in it is sealed or committed: run the comm"):
        open_features(empty.uri)
    empty.commit(run, 0, ["a"])
    assert open_features(empty.uri).image_ids == ["a"]
    with pytest.raises(FeatureSetError, match="is not sealed yet, nothing in it is sealed: run the command"):
        open_features(empty.uri, sealed_only=True)


def test_an_unknown_scheme_is_a_configuration_error():
    with pytest.raises(ConfigError, match="is no scheme"):
        open_features("nope://bucket/features")


# Kinds of sets


def test_a_set_of_pooled_vectors_reads_each_row(tmp_path: Path):
    small = SmallSet(tmp_path / "set", maps=())
    small.embed(UNITS, bad=BAD)
    features = open_features(small.uri)
    assert features.image_ids == GOOD
    for image_id in GOOD:
        row = features[image_id]
        np.testing.assert_array_equal(row.pooled.numpy(), pooled_values(image_id))
        assert row.original_size == original_size(image_id)
        assert row.backbone_fpn == []
    assert "maps none" in repr(features)


def test_a_set_of_the_coarsest_level_reads_each_row(tmp_path: Path):
    small = SmallSet(tmp_path / "set", maps=(COARSE,))
    small.embed(UNITS, bad=BAD)
    row = open_features(small.uri)["dogs/2.jpg"]
    np.testing.assert_array_equal(
        row.vision_features.numpy(), map_values("dogs/2.jpg", COARSE).astype("float16").transpose(2, 0, 1)
    )


# One image without the others


def test_one_image_is_read_without_the_shards_of_others(small: SmallSet):
    features = open_features(small.uri)
    gone = shards(small)[1:]
    for path in gone:
        path.unlink()
    np.testing.assert_array_equal(fine_map(features, "cats/1.jpg"), stored("cats/1.jpg"))
    with pytest.raises(FeatureSetError, match=rf"shard {gone[0]} is missing"):
        features["dogs/1.jpg"]


def test_one_image_is_read_without_the_other_rows_of_its_shard(small: SmallSet):
    """Every map and vector of the neighbour is damaged; this image does not notice."""
    path = shards(small)[1]
    group = pq.ParquetFile(path).metadata.row_group(1)
    for column in map(group.column, range(group.num_columns)):
        flip_byte(path, *range(column.data_page_offset, column.data_page_offset + column.total_compressed_size))
    features = open_features(small.uri)
    np.testing.assert_array_equal(fine_map(features, "dogs/1.jpg"), stored("dogs/1.jpg"))
    with pytest.raises(FeatureSetError, match=rf"shard {path} is damaged"):
        features["dogs/2.jpg"]


@pytest.mark.parametrize("column", [spec.column for spec in MAPS])
def test_a_flipped_byte_in_a_map_is_an_error_naming_the_shard(small: SmallSet, column: str):
    path = shards(small)[1]
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column)
    flip_byte(path, chunk.data_page_offset + chunk.total_compressed_size - 10)
    with pytest.raises(FeatureSetError, match=rf"shard {path} is damaged: .*checksum"):
        open_features(small.uri)["dogs/1.jpg"]


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_shard_that_was_cut_short_is_an_error_naming_it(small: SmallSet, length: int):
    path = shards(small)[1]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FeatureSetError, match=rf"shard {path} is damaged"):
        open_features(small.uri)["dogs/1.jpg"]


def test_a_damaged_index_is_an_error_naming_it(small: SmallSet):
    manifest = catalog.manifest(small.root, 1)
    assert manifest is not None
    path = Path(small.uri, manifest.index.name)
    group = pq.ParquetFile(path).metadata.row_group(0)
    for name in ("image_id", "embedding.list.element"):
        chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == name)
        flip_byte(path, chunk.data_page_offset + chunk.total_compressed_size - 1)
    with pytest.raises(FeatureSetError, match=f"{path} is damaged"):
        len(open_features(small.uri))
    with pytest.raises(FeatureSetError, match=f"{path} is damaged"):
        _ = open_features(small.uri).pooled


# Where readers live


def test_opening_and_looking_imports_neither_torch_nor_ray(small: SmallSet):
    script = (
        "import sys, pipeline\n"
        "features = pipeline.open_features(sys.argv[1])\n"
        "row = features['dogs/1.jpg']\n"
        "print(len(features), features.pooled.num_rows, features.quarantine.num_rows, row.maps['fpn_0'].shape)\n"
        "print([name for name in ('torch', 'ray', 'PIL', 'hydra') if name in sys.modules])\n"
        "row.pooled\n"
        "print('torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, small.uri], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["4 4 1 (4, 8, 6)", "[]", "True False"], done.stdout + done.stderr


def test_a_set_is_read_from_an_object_store_as_from_disk(small: SmallSet, store: ProxiedBucket):
    for path in Path(small.uri).rglob("*"):
        if path.is_file():
            store.put(f"set/{path.relative_to(small.uri)}", path.read_bytes())
    features = open_features(f"s3://{store.bucket}/set")
    assert features.image_ids == GOOD
    assert features.pooled.equals(open_features(small.uri).pooled)
    assert all(file.startswith("s3://") for file in features.files)
    for image_id in GOOD:
        np.testing.assert_array_equal(fine_map(features, image_id), stored(image_id))
        assert len(features[image_id].vision_pos_enc) == 2


@pytest.fixture
def on_s3(store: ProxiedBucket) -> SmallSet:
    """The same set in a bucket."""
    made = SmallSet(f"s3://{store.bucket}/a set")
    made.embed(UNITS, bad=BAD)
    return made


def test_a_set_in_a_bucket_is_read_as_from_disk_and_one_image_without_the_others(
    small: SmallSet, on_s3: SmallSet, store: ProxiedBucket
):
    features, local = open_features(on_s3.uri), open_features(small.uri)
    assert features.image_ids == GOOD
    assert features.pooled.equals(local.pooled)
    assert features.quarantine.equals(local.quarantine)
    store.proxy.forget()
    np.testing.assert_array_equal(fine_map(features, "dogs/1.jpg"), stored("dogs/1.jpg"))
    assert {seen.key for seen in store.proxy.requests} == {features.files[1].partition(f"{store.bucket}/")[2]}
    assert len(features["dogs/1.jpg"].vision_pos_enc) == 2


@pytest.mark.parametrize("fault", [Answer(503, first=3), Reset(first=3), Cut(first=3)], ids=["503", "reset", "cut"])
def test_trouble_of_a_store_is_waited_out(fault: Fault, on_s3: SmallSet, store: ProxiedBucket):
    features = open_features(on_s3.uri)
    store.proxy.install(fault)
    np.testing.assert_array_equal(fine_map(features, "dogs/1.jpg"), stored("dogs/1.jpg"))
    assert fault.fired == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Answer(403, operation="GetObject"), AccessDeniedError),
        (Answer(404, operation="GetObject"), FeatureSetError),
    ],
    ids=["denied", "gone"],
)
def test_a_shard_that_cannot_be_read_is_told_by_why(
    fault: Fault, error: type[Exception], on_s3: SmallSet, store: ProxiedBucket
):
    features = open_features(on_s3.uri)
    assert len(features) == len(GOOD)
    store.proxy.install(fault)
    with pytest.raises(error, match="shards/000001"):
        features["dogs/1.jpg"]


def test_a_shard_without_permission_is_access_denied(small: SmallSet):
    features = open_features(small.uri)
    path = shards(small)[1]
    assert len(features) == len(GOOD)
    path.chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match=f"no permission to read {path}"):
        features["dogs/1.jpg"]


def test_a_set_goes_to_other_processes_also_after_it_was_used(small: SmallSet):
    features = open_features(small.uri)
    assert len(features) == features.pooled.num_rows
    arrived = pickle.loads(pickle.dumps(features))  # noqa: S301
    assert arrived.image_ids == GOOD
    np.testing.assert_array_equal(fine_map(arrived, "dogs/1.jpg"), stored("dogs/1.jpg"))


def test_many_threads_read_the_same_set(small: SmallSet):
    features = open_features(small.uri)
    wrong: list[str] = []

    def read() -> None:
        wrong.extend(each for each in GOOD * 5 if not np.array_equal(fine_map(features, each), stored(each)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_package_gives_the_reader_by_name():
    assert pipeline.open_features is open_features
    assert pipeline.FeatureSet is FeatureSet


CARRIED = {"part": {"a": "row=3", "b": "row=1", "c": None}, "stars": {"a": 5, "b": None, "c": 2}}


def test_what_a_source_says_besides_is_in_the_index_and_in_the_rows(tmp_path: Path):
    small = SmallSet(tmp_path)
    small.embed([["a", "b"], ["c"]], bad=["b"], carried=CARRIED)
    small.embed([["d"]])
    features = open_features(tmp_path)
    assert features.image_ids == ["a", "c", "d"]
    assert features.images.select(["image_id", "part", "stars"]).to_pylist() == [
        {"image_id": "a", "part": "row=3", "stars": 5},
        {"image_id": "c", "part": None, "stars": 2},
        {"image_id": "d", "part": None, "stars": None},
    ]
    assert features["a"].extra == {"part": "row=3", "stars": 5}
    assert features.images.column_names[:4] == ["image_id", "uri", "original_height", "original_width"]


def test_an_open_run_says_it_too(tmp_path: Path):
    small = SmallSet(tmp_path)
    run = small.begin([["a", "b"], ["c"]], carried=CARRIED)
    small.commit(run, 1, ["c"])
    assert open_features(tmp_path)["c"].extra == {"part": None, "stars": 2}
    small.commit(run, 0, ["a", "b"], bad=["a"])
    assert [row.extra["stars"] for row in open_features(tmp_path).rows()] == [None, 2]


def test_vectors_and_quarantine_take_none_of_what_a_source_says_besides(tmp_path: Path):
    small = SmallSet(tmp_path)
    run = small.embed([["a", "b"]], bad=["b"], carried={"caption": {"a": "a walnut", "b": "a hazel"}})
    path = Path(small.uri, run.index.name)
    index = pq.read_metadata(path)
    captions = index.row_group(0).column(index.schema.to_arrow_schema().names.index("caption"))
    first = captions.dictionary_page_offset or captions.data_page_offset
    flip_byte(path, first + captions.total_compressed_size - 1)
    features = open_features(small.uri)
    with pytest.raises(FeatureSetError, match="is damaged"):
        _ = features.images
    assert features.pooled["image_id"].to_pylist() == ["a"]
    assert features.quarantine["image_id"].to_pylist() == ["b"]
