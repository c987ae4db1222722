"""Catalog: a run exists by its record and a table by its checksum, whatever a listing shows."""

from pathlib import Path

import pytest

from pipeline.errors import AccessDeniedError, FeatureSetError
from pipeline.featureset import catalog, paths
from pipeline.sinks.tables import write_table
from pipeline.storage import Folder
from tests.privileges import without_privileges
from tests.small_set import SmallSet, flip_byte, plan_of


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    return SmallSet(tmp_path / "set")


def test_an_empty_place_holds_nothing(tmp_path: Path):
    root = Folder(tmp_path / "nothing")
    assert catalog.feature_set_record(root) is None
    assert catalog.run_numbers(root) == []
    assert catalog.manifest(root, 1) is None
    assert catalog.committed_units(root, 1) == []
    assert catalog.commit_record(root, 1, 0) is None


def test_a_place_that_is_a_file_holds_no_feature_set(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    assert catalog.feature_set_record(Folder(tmp_path / "file")) is None


def test_records_are_read_back_as_they_were_written(small: SmallSet):
    run = small.begin([["a", "b"], ["c"]])
    assert catalog.feature_set_record(small.root) == small.record
    assert catalog.run_record(small.root, 1) == run
    assert catalog.manifest(small.root, 1) is None
    commit = small.commit(run, 1, ["c"])
    assert catalog.commit_record(small.root, 1, 1) == commit
    assert catalog.committed_units(small.root, 1) == [1]


def test_a_run_exists_by_its_record_not_by_its_folder(small: SmallSet):
    small.begin([["a"]])
    write_table(small.root, paths.run_table(2, "plan"), plan_of([["b"]]))  # its writer died before the claim
    small.root.create("runs/notes.txt", b"")
    assert catalog.run_numbers(small.root) == [1]
    with pytest.raises(FeatureSetError, match="has no run 2"):
        catalog.run_record(small.root, 2)


def test_files_that_are_no_commits_are_passed_over(small: SmallSet):
    run = small.begin([["a"], ["b"]])
    small.commit(run, 1, ["b"])
    for stray in ("._000000000.json", "000000000.json.tmp", "notes.json"):
        small.root.create(f"{paths.commits(1)}/{stray}", b"")
    assert catalog.committed_units(small.root, 1) == [1]


def test_a_damaged_record_is_refused_by_name(small: SmallSet):
    small.root.create(paths.commit(1, 0), b'{"format": 1, "run"')
    with pytest.raises(FeatureSetError, match=r"set/runs/000001/commits/000000000\.json is not a record"):
        catalog.commit_record(small.root, 1, 0)


def test_a_record_without_permission_is_access_denied(small: SmallSet):
    Path(small.uri).chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match=r"no permission to read .*featureset\.json"):
        catalog.feature_set_record(small.root)
    Path(small.uri).chmod(0o700)


def test_a_table_is_read_whole_or_in_columns(small: SmallSet):
    file = write_table(small.root, "plan.parquet", plan_of([["a", "b"], ["c"]]))
    assert catalog.read_table(small.root, file).equals(plan_of([["a", "b"], ["c"]]))
    assert catalog.read_table(small.root, file, ["unit"]).to_pydict() == {"unit": [0, 1]}
    assert catalog.read_columns(small.root, file, ["unit"]).to_pydict() == {"unit": [0, 1]}


def test_a_table_with_a_flipped_byte_is_refused_by_name(small: SmallSet):
    file = write_table(small.root, "plan.parquet", plan_of([["a", "b"], ["c"]]))
    flip_byte(Path(small.uri) / file.name, 20)
    with pytest.raises(FeatureSetError, match=r"set/plan\.parquet is damaged"):
        catalog.read_table(small.root, file)
    with pytest.raises(FeatureSetError, match=r"set/plan\.parquet is damaged"):
        catalog.read_columns(small.root, file, ["unit"])


def test_a_table_that_is_cut_short_or_gone_is_refused_by_name(small: SmallSet):
    file = write_table(small.root, "plan.parquet", plan_of([["a"]]))
    path = Path(small.uri) / file.name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FeatureSetError, match=r"set/plan\.parquet is damaged"):
        catalog.read_columns(small.root, file, ["unit"])
    path.unlink()
    for read in (catalog.read_table, catalog.read_columns):
        with pytest.raises(FeatureSetError, match=r"set/plan\.parquet is missing"):
            read(small.root, file, ["unit"])
