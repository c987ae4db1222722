"""A whole feature set verified: what is broken is named, what is superseded kept apart, what is open no fault."""

from pathlib import Path

import pytest

from pipeline.config import Level
from pipeline.errors import AccessDeniedError, FeatureSetError, StoreUnavailableError
from pipeline.featureset import catalog, paths
from pipeline.maintenance.findings import Report
from pipeline.maintenance.verify import verify
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from pipeline.storage.folder import Folder
from tests.damaging import contents, fresh_names, leave, path_of, rewrite, shard_of
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_privileges
from tests.small_set import SmallSet, flip_byte

UNITS = [["a", "b"], ["c", "d"], ["e"]]


def kinds(report: Report) -> list[tuple[str, str]]:
    return [(finding.kind, finding.file) for finding in report.findings]


@pytest.mark.parametrize("level", ["counts", "sizes", "footers", "full"])
def test_a_set_with_runs_of_every_kind_is_whole_and_looking_changes_nothing(small: SmallSet, level: Level):
    small.embed(UNITS, bad=["b"])
    small.begin([["x"]])
    abandon_run(small.root, 2)
    small.embed([["y"]], bad=["y"])
    small.commit(small.begin([["z"], ["zz"]]), 1, ["zz"])
    for name in fresh_names(1).values():
        leave(small, name)
    before = contents(small)
    report = verify(small.root, level)
    assert report.findings == []
    assert [run.state for run in report.runs] == ["sealed", "abandoned", "sealed", "open, 1 of 2 units"]
    assert contents(small) == before


def test_where_there_is_no_feature_set_that_is_an_error(tmp_path: Path):
    with pytest.raises(FeatureSetError, match="holds no feature set"):
        verify(Folder(tmp_path), "counts")


def test_a_lost_or_damaged_record_of_the_set_is_named(small: SmallSet):
    small.embed(UNITS)
    flip_byte(path_of(small, paths.FEATURE_SET), 60)
    assert kinds(verify(small.root, "full")) == [("record", paths.FEATURE_SET)]
    path_of(small, paths.FEATURE_SET).unlink()
    assert kinds(verify(small.root, "full")) == [("record", paths.FEATURE_SET)]


def test_a_fingerprint_that_is_not_that_of_the_settings_is_named(small: SmallSet):
    small.embed(UNITS)
    rewrite(small, paths.FEATURE_SET, small.record, settings={**small.record.settings, "features": "embed"})
    assert kinds(verify(small.root, "counts")) == [("fingerprint", paths.FEATURE_SET)]


def test_damaged_position_encodings_are_named(small: SmallSet):
    small.embed(UNITS)
    assert small.record.position_encodings is not None
    flip_byte(path_of(small, small.record.position_encodings.name), 100)
    assert kinds(verify(small.root, "counts")) == [("table", small.record.position_encodings.name)]


def test_a_damaged_record_of_a_run_is_named_and_other_runs_still_looked_at(small: SmallSet):
    small.embed(UNITS)
    small.embed([["f"]])
    flip_byte(path_of(small, paths.run_record(1)), 60)
    path_of(small, shard_of(small, 2, 0).name).unlink()
    assert kinds(verify(small.root, "sizes")) == [
        ("record", paths.run_record(1)),
        ("shard-missing", shard_of(small, 2, 0).name),
    ]


@pytest.mark.parametrize("run", [1, 2])
def test_a_lost_record_of_a_run_is_seen_by_what_came_after_it(small: SmallSet, run: int):
    small.embed(UNITS)
    small.embed([["f"]])
    path_of(small, paths.run_record(run)).unlink()
    assert kinds(verify(small.root, "full")) == [("record", paths.run_record(run))]


def test_a_plan_whose_number_was_never_claimed_is_no_lost_run(small: SmallSet):
    small.embed(UNITS)
    leave(small, paths.run_table(2, "plan"))
    assert verify(small.root, "full").findings == []


def test_a_damaged_seal_and_one_that_was_lost_before_another_run_began_are_named(small: SmallSet):
    small.embed(UNITS)
    small.embed([["f"]])
    manifest = path_of(small, paths.manifest(1))
    whole = manifest.read_bytes()
    flip_byte(manifest, 60)
    report = verify(small.root, "full")
    assert kinds(report) == [("record", paths.manifest(1))]
    assert [run.state for run in report.runs] == ["unknown", "sealed"]
    manifest.unlink()
    assert kinds(verify(small.root, "full")) == [("record", paths.manifest(1))]
    manifest.write_bytes(whole)
    assert verify(small.root, "full").findings == []


def test_broken_shards_whose_images_a_later_run_holds_are_told_apart_from_findings(small: SmallSet):
    small.embed(UNITS)
    flip_byte(path_of(small, shard_of(small, 1, 0).name), 500)
    path_of(small, shard_of(small, 1, 1).name).unlink()
    small.embed([["a", "b"], ["c"]], version="2")
    report = verify(small.root, "full")
    assert kinds(report) == [("shard-missing", shard_of(small, 1, 1).name)], "d is nowhere else"
    assert [finding.file for finding in report.superseded] == [shard_of(small, 1, 0).name]
    assert report.broken_shards == {1: {shard_of(small, 1, 1).name}}


def test_a_shard_is_never_taken_for_superseded_by_a_run_whose_tables_are_damaged(small: SmallSet):
    small.embed(UNITS)
    path_of(small, shard_of(small, 1, 0).name).unlink()
    small.embed([["a", "b"]], version="2")
    plan = catalog.run_record(small.root, 2).plan.name
    flip_byte(path_of(small, plan), 40)
    assert kinds(verify(small.root, "full")) == [("shard-missing", shard_of(small, 1, 0).name), ("table", plan)]


def test_images_that_were_given_up_when_their_run_was_sealed_are_named_until_they_are_embedded(small: SmallSet):
    run = small.begin(UNITS)
    for unit, ids in enumerate(UNITS):
        small.commit(run, unit, ids)
    flip_byte(path_of(small, shard_of(small, 1, 1).name), 500)
    manifest = seal_run(small.root, run, damaged_units=frozenset({1}))
    (finding,) = verify(small.root, "full").findings
    assert (finding.kind, finding.file) == ("given-up", manifest.quarantine.name)
    assert "2 images" in finding.message
    small.embed([["c", "d"]])
    assert verify(small.root, "full").findings == []


def test_what_may_not_be_read_ends_the_look_and_is_not_called_broken(small: SmallSet):
    small.embed(UNITS)
    path_of(small, shard_of(small, 1, 0).name).chmod(0)
    with without_privileges(), pytest.raises(AccessDeniedError, match="no permission to read"):
        verify(small.root, "full")


@pytest.mark.parametrize("level", ["sizes", "full"])
def test_a_remote_set_is_looked_at_like_a_local_one(store: ProxiedBucket, level: Level):
    remote = SmallSet(f"s3://{store.bucket}/set")
    remote.embed(UNITS)
    assert verify(remote.root, level).findings == []
    remote.root.delete(shard_of(remote, 1, 1).name)
    fault = store.proxy.install(Answer(503, probability=0.2, mutating=False))
    assert kinds(verify(Folder(remote.uri, 60.0), level)) == [("shard-missing", shard_of(remote, 1, 1).name)]
    assert fault.fired


def test_a_remote_set_in_lasting_trouble_cannot_be_told(store: ProxiedBucket):
    remote = SmallSet(f"s3://{store.bucket}/set")
    remote.embed(UNITS)
    store.proxy.install(Answer(503, key="shards/000001/", operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        verify(Folder(remote.uri, 0.5), "full")
