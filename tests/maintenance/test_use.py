"""Names in use: whatever a record or a sealed table names, and nothing that is only there."""

from pipeline.featureset import catalog, paths
from pipeline.maintenance.use import NamesInUse
from tests.damaging import fresh_names, manifest_of, shard_of
from tests.small_set import SmallSet


def names_in_use(small: SmallSet) -> NamesInUse:
    runs = [catalog.run_record(small.root, run) for run in catalog.run_numbers(small.root)]
    return NamesInUse.of(small.root, small.record, runs=runs, sealed=catalog.sealed_runs(small.root))


def test_what_records_and_sealed_tables_name_is_in_use(small: SmallSet):
    small.embed([["a", "b"], ["c"]])
    open_run = small.begin([["d"]])
    small.commit(open_run, 0, ["d"])
    in_use, manifest = names_in_use(small), manifest_of(small, 1)
    assert small.record.position_encodings is not None
    for file in (manifest.index, manifest.shards, manifest.quarantine, open_run.plan, small.record.position_encodings):
        assert file.name in in_use
    assert shard_of(small, 1, 0).name in in_use
    assert shard_of(small, 1, 1).name in in_use
    assert shard_of(small, 2, 0).name not in in_use, "only its commit names it"
    for name in [*fresh_names(1).values(), "notes.txt", paths.FEATURE_SET]:
        assert name not in in_use


def test_nothing_is_in_use_where_nothing_is_named():
    assert paths.shard(1, 0) not in NamesInUse([])


def test_many_names_are_found_again():
    names = [paths.shard(1, unit) for unit in range(3000)]
    in_use = NamesInUse(names[::2])
    assert [name in in_use for name in names] == [True, False] * 1500
