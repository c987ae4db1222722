"""Sealing: a run becomes readable when every planned image is accounted for, and only then."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import (
    AuditFailedError,
    FeatureSetError,
    RunIncompleteError,
    StoreUnavailableError,
    TooManyFailedError,
)
from pipeline.featureset import catalog, paths
from pipeline.featureset.audit import AuditRow
from pipeline.featureset.records import CommitRecord, RunRecord
from pipeline.featureset.schema import INDEX, QUARANTINE
from pipeline.readers.feature_set import open_features
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import check_failed_share, seal_run
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer, Reset
from tests.faults.listings import SmallPages
from tests.faults.proxied import ProxiedBucket
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


def audited(small: SmallSet, error: float) -> RunRecord:
    """A committed run, one image of which was audited and found to be so far off."""
    run = committed(small)
    path = Path(small.uri) / paths.commit(1, 1)
    commit = catalog.commit_record(small.root, 1, 1)
    assert commit is not None
    path.unlink()
    row = AuditRow(image_id="c", errors={"fpn_0": error})
    commit_unit(small.root, commit.model_copy(update={"audit": (row,)}))
    return run


def test_a_run_whose_audit_is_within_its_bound_is_sealed_with_it(small: SmallSet):
    manifest = seal_run(small.root, audited(small, 0.02))
    assert manifest.audit is not None
    assert (manifest.audit.num_images, manifest.audit.errors, manifest.audit.bound) == (1, {"fpn_0": 0.02}, 0.03)


def test_a_run_whose_audit_is_beyond_its_bound_is_sealed_only_if_that_is_accepted(small: SmallSet):
    run = audited(small, 0.5)
    with pytest.raises(
        AuditFailedError, match=r"run 1 is not sealed.*fpn_0 0\.5 \(bound 0\.03\).*run.accept_audit=true"
    ):
        seal_run(small.root, run)
    assert catalog.manifest(small.root, 1) is None
    assert seal_run(small.root, run, accept_audit=True).audit.errors == {"fpn_0": 0.5}


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


def test_a_missing_shard_is_refused_by_name_and_with_what_to_do(small: SmallSet):
    run = committed(small)
    shard_of(small, 1).unlink()
    with pytest.raises(FeatureSetError, match=f"committed shard {shard_of(small, 1)} is missing; jobs/repair.py"):
        seal_run(small.root, run)
    assert catalog.manifest(small.root, 1) is None


def test_a_run_whose_shards_are_all_missing_is_refused(small: SmallSet):
    run = committed(small)
    shutil.rmtree(f"{small.uri}/shards")
    with pytest.raises(FeatureSetError, match=f"committed shard {shard_of(small, 0)} is missing"):
        seal_run(small.root, run)


@pytest.mark.parametrize("length", [0, 3, 500, -1])
def test_a_shard_of_another_size_is_refused_by_name(small: SmallSet, length: int):
    run = committed(small)
    path = shard_of(small, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    size = len(whole[:length])
    with pytest.raises(FeatureSetError, match=f"{path} has {size} bytes, its commit says {len(whole)}; jobs/repair"):
        seal_run(small.root, run)


def test_shards_without_a_commit_are_passed_over_wherever_their_names_sort(small: SmallSet):
    """Of writers that lost, died, or belong to no unit at all."""
    run = committed(small)
    sealed = [str(shard_of(small, unit)) for unit in range(3)]
    folder = Path(small.uri, "shards/000001")
    for name in (
        *(f"00000000{unit}-{token}.parquet" for unit in range(4) for token in ("0" * 32, "f" * 32, "zzz")),
        *("aaa", "0", "notes.txt", "000000001", "000000001-x/deep.parquet"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"stray")
    seal_run(small.root, run)
    assert open_features(small.uri).files == sealed


def test_damage_inside_a_shard_is_found_by_whoever_reads_it_and_not_here(small: SmallSet):
    """Sealing reads no shards; jobs/verify.py does."""
    run = committed(small)
    path = shard_of(small, 1)
    flip_byte(path, *range(0, path.stat().st_size, 50))
    assert seal_run(small.root, run).num_embedded == 5
    with pytest.raises(FeatureSetError, match=f"shard {path} is damaged"):
        _ = open_features(small.uri)["c"].backbone_fpn


# Runs that are sealed in spite of something


def test_units_that_were_found_damaged_are_sealed_as_quarantined(small: SmallSet):
    run = committed(small, bad=("c",))
    shard_of(small, 1).unlink()
    manifest = seal_run(small.root, run, damaged_units=frozenset({1}))
    assert (manifest.num_planned, manifest.num_embedded, manifest.num_quarantined) == (5, 3, 2)
    features = open_features(small.uri)
    assert features.image_ids == ["a", "b", "e"]
    rows = {row["image_id"]: row for row in features.quarantine.to_pylist()}
    assert {name: (row["error_type"], row["error_class"]) for name, row in rows.items()} == {
        "c": ("TruncatedImage", "permanent"),
        "d": ("ShardDamaged", "transient"),
    }
    assert rows["d"]["uri"] == "/data/photos/d"
    shards = catalog.read_table(small.root, manifest.shards)
    assert shards["shard"].to_pylist() == [f"shards/000001/{shard_of(small, unit).name}" for unit in (0, 2)]
    assert manifest.size_bytes == sum(shards["size_bytes"].to_pylist())


@pytest.mark.parametrize("share", [0.4, 0.41, 1.0, None])
def test_as_many_failed_images_as_allowed_are_sealed(small: SmallSet, share: float | None):
    run = committed(small, bad=("a", "e"))
    assert seal_run(small.root, run, max_failed_share=share).num_quarantined == 2


@pytest.mark.parametrize("share", [0.0, 0.2, 0.39])
def test_more_failed_images_than_allowed_leave_the_run_open(small: SmallSet, share: float):
    run = committed(small, bad=("a", "e"))
    with pytest.raises(
        TooManyFailedError, match=f"2 of 5 images of run 1 failed, more than .*={share:g} allows"
    ) as end:
        seal_run(small.root, run, max_failed_share=share)
    assert end.value.exit_code == 3
    assert catalog.run_end(small.root, 1) is None
    assert seal_run(small.root, run, max_failed_share=0.5).num_quarantined == 2


def test_a_share_means_what_it_says_in_spite_of_binary_fractions(small: SmallSet):
    run = small.begin([["a"]]).model_copy(update={"num_images": 100})
    for percent in range(101):
        check_failed_share(percent, run, float(f"{percent}e-2"))
        with pytest.raises(TooManyFailedError):
            check_failed_share(percent + 1, run, float(f"{percent}e-2"))


def test_damaged_images_count_as_failed(small: SmallSet):
    with pytest.raises(TooManyFailedError, match="2 of 5"):
        seal_run(small.root, committed(small), max_failed_share=0.2, damaged_units=frozenset({1}))


def test_a_run_without_images_is_sealed(small: SmallSet):
    small.embed([["a"]])
    run = small.begin([], removed=["a"])
    manifest = seal_run(small.root, run, max_failed_share=0.0)
    assert (manifest.num_planned, manifest.num_embedded, manifest.num_quarantined) == (0, 0, 0)
    features = open_features(small.uri)
    assert (features.image_ids, features.removed["image_id"].to_pylist()) == (["a"], ["a"])


def test_a_run_that_was_given_up_is_not_sealed(small: SmallSet):
    run = committed(small)
    abandon_run(small.root, 1)
    with pytest.raises(RunIncompleteError, match=r"run 1 of .* was abandoned; run this command again for a new run"):
        seal_run(small.root, run)
    assert list(Path(small.uri).rglob("index-*")) == []


def test_of_many_that_seal_at_once_all_are_told_the_same(small: SmallSet):
    run = committed(small)
    with ThreadPoolExecutor(6) as pool:
        manifests = list(pool.map(lambda _: seal_run(small.root, run), range(6)))
    assert all(manifest == catalog.manifest(small.root, 1) for manifest in manifests), manifests
    assert open_features(small.uri).image_ids == ["a", "b", "c", "d", "e"]


def test_many_units_are_read_at_once_and_indexed_in_order(tmp_path: Path):
    small = SmallSet(tmp_path / "pooled", maps=())
    units = [[f"{unit:03d}/{number}" for number in range(2)] for unit in range(200)]
    manifest = small.embed(units, bad=[ids[0] for ids in units[::7]])
    index = catalog.read_table(small.root, manifest.index)
    assert index["image_id"].to_pylist() == [each for unit, ids in enumerate(units) for each in ids[unit % 7 == 0 :]]
    assert catalog.read_table(small.root, manifest.shards).num_rows == 200


# On S3


@pytest.mark.parametrize("place", ["before", "after"])
def test_losing_the_last_request_or_its_answer_seals_once(place: str, store: ProxiedBucket):
    small = SmallSet(f"s3://{store.bucket}/set")
    run = committed(small, bad=("b",))
    lost = store.proxy.install(Reset(operation="PutObject", key="manifest.json", first=1, place=place))
    manifest = seal_run(small.root, run)
    assert lost.fired == 1
    assert seal_run(small.root, run) == manifest == catalog.manifest(small.root, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_under_random_trouble_holds_what_it_would_hold_on_a_disk(seed: int, store: ProxiedBucket, tmp_path: Path):
    store.proxy.install(Answer(503, probability=0.15, seed=seed))
    store.proxy.install(Reset(probability=0.1, seed=seed, place="after"))
    made = []
    for place in (f"s3://{store.bucket}/set", tmp_path / "set"):
        small = SmallSet(place)
        seal_run(small.root, committed(small, bad=("b",)))
        made.append(open_features(small.uri))
    remote, local = made
    assert remote.image_ids == local.image_ids == ["a", "c", "d", "e"], seed
    assert remote.pooled.equals(local.pooled), seed
    assert remote.quarantine.equals(local.quarantine), seed
    for image_id in local:
        for ours, true in zip(remote[image_id].backbone_fpn, local[image_id].backbone_fpn, strict=True):
            assert (ours == true).all(), (seed, image_id)


def test_missing_shards_and_others_sizes_are_found_on_s3_too(store: ProxiedBucket):
    small = SmallSet(f"s3://{store.bucket}/set")
    run = committed(small)
    commit = catalog.commit_record(small.root, 1, 1)
    assert commit is not None
    assert commit.shard is not None
    key = f"set/{commit.shard.name}"
    whole = store.body(key)
    store.direct.put_object(Bucket=store.bucket, Key=key, Body=whole[:-1])
    with pytest.raises(FeatureSetError, match=f"{commit.shard.name} has {len(whole) - 1} bytes"):
        seal_run(small.root, run)
    store.direct.delete_object(Bucket=store.bucket, Key=key)
    with pytest.raises(FeatureSetError, match=f"{commit.shard.name} is missing"):
        seal_run(small.root, run)
    store.direct.put_object(Bucket=store.bucket, Key=key, Body=whole)
    store.proxy.install(SmallPages(1))
    assert seal_run(small.root, run).num_embedded == 5


def test_a_store_in_trouble_leaves_the_run_open(store: ProxiedBucket):
    run = committed(SmallSet(f"s3://{store.bucket}/set"))
    root = Folder(f"s3://{store.bucket}/set", 0.1)
    trouble = store.proxy.install(Answer(503, operation="GetObject", key="commits/"))
    with pytest.raises(StoreUnavailableError):
        seal_run(root, run)
    trouble.operation, trouble.key = "ListObjectsV2", ""
    with pytest.raises(StoreUnavailableError):
        seal_run(root, run)
    store.proxy.clear()
    assert seal_run(root, run).num_embedded == 5


# Twice, and in any order


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
