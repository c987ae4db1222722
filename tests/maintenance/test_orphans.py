"""Orphans: each kind goes by a record that can never change, and what may yet be needed is never one."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import FeatureSetError
from pipeline.featureset import paths
from pipeline.featureset.schema import SHARDS
from pipeline.maintenance.orphans import Orphans
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.tables import write_table
from pipeline.storage.folder import Folder
from tests.damaging import HOUR_S, age, contents, fresh_names, leave, path_of, rewrite, shard_of
from tests.small_set import SmallSet, flip_byte

OLD_S = 72 * HOUR_S


def orphans(small: SmallSet) -> dict[str, str]:
    """What may go, by name with the reason, when everything is old."""
    age(small, 100)
    found = {each.name: each for each in Orphans(small.root).find(OLD_S)}
    assert all(each.size_bytes == path_of(small, name).stat().st_size for name, each in found.items())
    assert all(99.9 < each.age_s / HOUR_S < 100.1 for each in found.values())
    return {name: each.reason for name, each in found.items() if each.is_orphan}


def test_of_a_set_without_accidents_nothing_may_go(small: SmallSet):
    small.embed([["a"], ["b"]], bad=["b"])
    run = small.begin([["c"], ["d"]])
    small.commit(run, 0, ["c"])
    assert orphans(small) == {}


def test_a_shard_of_an_open_run_may_go_once_its_unit_was_committed_with_another(small: SmallSet):
    run = small.begin([["a"], ["b"], ["c"]])
    lost = [leave(small, paths.shard(1, unit)) for unit in range(3)]
    assert orphans(small) == {}, "nothing is committed, so each may be in flight"
    small.commit(run, 0, ["a"])
    small.commit(run, 1, ["b"], bad=["b"])
    assert orphans(small) == {
        lost[0]: "unit 0 of run 1 was committed without it",
        lost[1]: "unit 1 of run 1 was committed without it",
    }


def test_a_shard_of_a_sealed_run_may_go_if_no_seal_and_no_commit_names_it(small: SmallSet):
    small.embed([["a"], ["b"]])
    lost = leave(small, paths.shard(1, 1))
    assert orphans(small) == {lost: "unit 1 of run 1 was committed without it"}
    path_of(small, paths.commit(1, 1)).unlink()
    assert orphans(small) == {lost: "run 1 was sealed without it"}


def test_a_shard_that_was_given_up_stays_because_its_commit_names_it(small: SmallSet):
    run = small.begin([["a"], ["b"]])
    for unit, ids in enumerate([["a"], ["b"]]):
        small.commit(run, unit, ids)
    seal_run(small.root, run, damaged_units=frozenset({1}))
    assert orphans(small) == {}


def test_a_shard_whose_commit_cannot_be_read_stays(small: SmallSet):
    run = small.begin([["a"]])
    small.commit(run, 0, ["a"])
    leave(small, paths.shard(1, 0))
    flip_byte(path_of(small, paths.commit(1, 0)), 30)
    assert orphans(small) == {}


def test_a_shard_that_the_seal_of_another_run_names_stays(small: SmallSet):
    """No run of today names shards of others; if one of tomorrow does, they are in use."""
    small.commit(small.begin([["a"]]), 0, ["a"])
    abandon_run(small.root, 1)
    shard = shard_of(small, 1, 0)
    assert list(orphans(small)) == [shard.name]
    manifest = small.embed([["a"]])
    row = {"shard": shard.name, "num_rows": 1, "size_bytes": shard.size_bytes, "sha256": shard.sha256}
    adopting = write_table(small.root, paths.run_table(2, "shards"), pa.Table.from_pylist([row], SHARDS))
    rewrite(small, paths.manifest(2), manifest, shards=adopting)
    assert shard.name not in orphans(small)


def test_all_shards_of_an_abandoned_run_may_go_and_its_records_stay(small: SmallSet):
    run = small.begin([["a"], ["b"]])
    small.commit(run, 0, ["a"])
    lost = leave(small, paths.shard(1, 1))
    abandon_run(small.root, 1)
    assert orphans(small) == dict.fromkeys([shard_of(small, 1, 0).name, lost], "run 1 was abandoned")


def test_tables_of_a_seal_may_go_once_the_run_ended_without_them(small: SmallSet):
    run = small.begin([["a"]])
    small.commit(run, 0, ["a"])
    lost = [leave(small, paths.run_table(1, kind)) for kind in ("index", "shards", "quarantine")]
    assert orphans(small) == {}, "somebody may be sealing the run with them"
    seal_run(small.root, run)
    assert orphans(small) == dict.fromkeys(sorted(lost), "run 1 ended without it")


def test_tables_of_a_claim_may_go_once_the_run_was_claimed_with_others(small: SmallSet):
    lost = [leave(small, paths.run_table(1, kind)) for kind in ("plan", "removed")]
    assert orphans(small) == {}, "somebody may be about to claim the run with them"
    small.begin([["a"]])
    assert orphans(small) == dict.fromkeys(sorted(lost), "run 1 was claimed with another plan")


def test_position_encodings_and_staged_files_may_go(small: SmallSet):
    names = fresh_names(1)
    lost = [leave(small, names[kind]) for kind in ("positions", "staged")]
    assert orphans(small) == {lost[0]: "featureset.json names another", lost[1]: "its writer is gone"}


def test_what_belongs_to_no_run_that_is_known_stays(small: SmallSet):
    for name in fresh_names(9).values():
        leave(small, name)
    assert {parsed.partition("/")[0] for parsed in orphans(small)} == {"position_encodings", "staging"}


def test_files_that_are_not_ours_are_named_and_left_alone(small: SmallSet):
    strange = ["notes.txt", "runs/000001/notes.txt", "shards/000001/copy.parquet", "staging/note"]
    for name in strange:
        leave(small, name)
    age(small, 100)
    found = list(Orphans(small.root).find(OLD_S))
    assert [each.name for each in found] == strange
    assert not any(each.is_orphan for each in found)
    assert str(found[0]) == "notes.txt: 11 bytes, 100.0 h old; not ours, left alone"


def test_what_is_young_is_counted_and_not_looked_at(small: SmallSet):
    small.begin([["a"]])
    abandon_run(small.root, 1)
    age(small, 71.9)
    leave(small, paths.shard(1, 0))
    looked = Orphans(small.root)
    assert list(looked.find(OLD_S)) == []
    assert looked.num_young == len(contents(small))


def test_where_records_cannot_be_read_nothing_can_be_told(small: SmallSet, tmp_path: Path):
    with pytest.raises(FeatureSetError, match="holds no feature set"):
        Orphans(Folder(tmp_path / "nowhere"))
    manifest = small.embed([["a"]])
    for name in (manifest.shards.name, paths.manifest(1), paths.run_record(1)):
        flip_byte(path_of(small, name), 40)
        with pytest.raises(FeatureSetError):
            Orphans(small.root)
