"""Runs as readers see them: sealed ones whole, open ones as far as they are committed, abandoned ones not at all."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog, paths
from pipeline.featureset.schema import INDEX, QUARANTINE, SHARDS
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.readers.run_contents import runs_to_read
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from tests.damaging import commit_of, manifest_of, rewrite, shard_of
from tests.small_set import FINE, SmallSet, map_values, pooled_values

UNITS = [["a", "b"], ["c", "d"], ["e"]]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    return SmallSet(tmp_path / "set")


def seen(small: SmallSet, *, sealed_only: bool = False) -> list[tuple[int, bool]]:
    """Number and seal of each run that is seen."""
    found = runs_to_read(small.root, small.record, sealed_only=sealed_only)
    return [(run.number, run.is_sealed) for run in found]


def begun(small: SmallSet, num_units: int) -> FeatureSet:
    """The set with a run of three units of which the first few are committed; `b` is bad."""
    run = small.begin(UNITS)
    for unit, ids in enumerate(UNITS[:num_units]):
        small.commit(run, unit, ids, bad=["b"])
    return open_features(small.uri)


# A set that is not sealed opens with what is committed, and says so


def test_an_unsealed_set_holds_what_is_committed(small: SmallSet):
    features = begun(small, 2)
    assert (features.is_sealed, features.image_ids) == (False, ["a", "c", "d"])
    for image_id in features:
        row = features[image_id]
        expected = map_values(image_id, FINE).astype("float16").transpose(2, 0, 1)
        np.testing.assert_array_equal(next(iter(row.maps.values())), expected)
        np.testing.assert_array_equal(row.embedding, pooled_values(image_id))
    assert features.quarantine["image_id"].to_pylist() == ["b"]
    assert features.pooled["image_id"].to_pylist() == ["a", "c", "d"]
    assert features.files == [small.root.uri_of(shard_of(small, 1, unit).name) for unit in (0, 1)]
    assert "NOT SEALED" in repr(features)
    assert features.removed.num_rows == 0


def test_a_warning_says_how_many_of_how_many_are_there(small: SmallSet, caplog: pytest.LogCaptureFixture):
    begun(small, 2)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "pipeline")
    assert "set is NOT SEALED: its run 1 has committed 4 of 5 planned images (3 with features, 1 q" in record.message
    caplog.clear()
    run = catalog.run_record(small.root, 1)
    small.commit(run, 2, UNITS[2])
    seal_run(small.root, run)
    assert open_features(small.uri).is_sealed
    assert caplog.records == []


def test_metadata_of_an_unsealed_set_promises_no_tables(small: SmallSet):
    (run,) = begun(small, 2).metadata["runs"]
    assert run == {
        "kind": "open",
        "run": 1,
        "fingerprint": small.record.fingerprint,
        "num_planned": 5,
        "num_embedded": 3,
        "num_quarantined": 1,
        "size_bytes": sum(shard_of(small, 1, unit).size_bytes for unit in (0, 1)),
    }


def test_a_set_of_which_all_is_committed_reads_as_it_does_once_sealed(small: SmallSet):
    before = begun(small, 3)
    (opened,) = runs_to_read(small.root, small.record, sealed_only=False)
    seal_run(small.root, catalog.run_record(small.root, 1))
    after = open_features(small.uri)
    assert (before.image_ids, before.files) == (after.image_ids, after.files)
    assert before.pooled.equals(after.pooled)
    assert before.quarantine.equals(after.quarantine)
    for schema, table in ((INDEX, opened.index(INDEX.names)), (SHARDS, opened.shards), (QUARANTINE, opened.quarantine)):
        assert table.schema.equals(schema)


def test_units_of_bad_images_alone_are_commits_too(small: SmallSet):
    run = small.begin([["x"], ["y"]])
    small.commit(run, 0, ["x"], bad=["x"])
    features = open_features(small.uri)
    assert (features.image_ids, features.files, features.is_sealed) == ([], [], False)
    assert features.quarantine["image_id"].to_pylist() == ["x"]


# Several runs


def test_an_open_run_counts_over_sealed_ones_as_it_will_when_it_is_sealed(small: SmallSet):
    small.embed([["a", "b"], ["z"]])
    run = small.begin([["b", "q"], ["c"]], version="2", removed=["z"])
    assert (open_features(small.uri).is_sealed, seen(small)) == (True, [(1, True)])
    small.commit(run, 0, ["b", "q"], bad=["q"], version="2")
    features = open_features(small.uri)
    assert features.image_ids == ["a", "z", "b"]
    np.testing.assert_array_equal(features["b"].embedding, pooled_values("b", "2"))
    assert features.removed["image_id"].to_pylist() == ["z"]
    assert [each["kind"] for each in features.metadata["runs"]] == ["sealed", "open"]
    assert seen(small, sealed_only=True) == [(1, True)]


def test_an_abandoned_run_does_not_count_and_neither_do_late_commits(small: SmallSet):
    small.embed([["a"]])
    run = small.begin([["b"], ["c"]])
    small.commit(run, 0, ["b"])
    assert seen(small) == [(1, True), (2, False)]
    abandon_run(small.root, 2)
    small.commit(run, 1, ["c"])
    assert seen(small) == [(1, True)]


def test_a_set_whose_only_run_was_abandoned_holds_nothing(small: SmallSet):
    begun(small, 1)
    abandon_run(small.root, 1)
    with pytest.raises(FeatureSetError, match="nothing in it is sealed or committed"):
        open_features(small.uri)


# Settings never mix


def test_a_sealed_run_of_other_settings_is_refused_with_both_fingerprints(small: SmallSet):
    small.embed([["a"]])
    rewrite(small, paths.manifest(1), manifest_of(small, 1), fingerprint="f" * 64)
    with pytest.raises(FeatureSetError, match=f"run 1 of .* is f{{64}}, that .* is {small.record.fingerprint}"):
        open_features(small.uri)


def test_a_commit_of_other_settings_is_refused_with_both_fingerprints(small: SmallSet):
    begun(small, 2)
    rewrite(small, paths.commit(1, 1), commit_of(small, 1, 1), fingerprint="f" * 64)
    with pytest.raises(FeatureSetError, match=f"unit 1 of run 1 of .* is f{{64}}, .* is {small.record.fingerprint}"):
        open_features(small.uri)
