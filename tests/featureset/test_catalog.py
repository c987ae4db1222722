"""Catalog: a run exists by its record and a table by its checksum, whatever a listing shows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import AccessDeniedError, FeatureSetError, StoreUnavailableError
from pipeline.featureset import catalog, paths
from pipeline.featureset.schema import REMOVED
from pipeline.sinks.runs import abandon_run
from pipeline.sinks.tables import write_table
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer, Cut, Fault, Reset
from tests.faults.proxied import ProxiedBucket
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
    assert catalog.run_end(root, 1) is None
    assert catalog.sealed_runs(root) == []
    assert catalog.removed_images(root, []).num_rows == 0
    assert catalog.committed_units(root, 1).tolist() == []
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
    assert catalog.committed_units(small.root, 1).tolist() == [1]


def test_committed_units_are_numbers_in_order_whatever_the_listing_does(small: SmallSet):
    for unit in (7, 100_000, 0, 12):
        small.root.create(paths.commit(1, unit), b"{}")
    found = catalog.committed_units(small.root, 1)
    assert (found.dtype, found.tolist()) == (np.int64, [0, 7, 12, 100_000])


def test_commits_are_read_in_the_order_of_their_units(small: SmallSet):
    assert catalog.commit_records(small.root, 1) == []
    run = small.begin([["a"], ["b"], ["c"]])
    commits = [small.commit(run, unit, [image_id]) for unit, image_id in ((2, "c"), (0, "a"))]
    assert catalog.commit_records(small.root, 1) == commits[::-1]


def test_a_run_ends_once_sealed_or_abandoned(small: SmallSet):
    sealed = small.embed([["a"]])
    small.begin([["b"]])
    assert catalog.run_end(small.root, 2) is None
    abandoned = abandon_run(small.root, 2)
    small.begin([["c"]])
    assert [catalog.run_end(small.root, run) for run in (1, 2, 3)] == [sealed, abandoned, None]
    assert [catalog.manifest(small.root, run) for run in (1, 2, 3)] == [sealed, None, None]
    assert catalog.sealed_runs(small.root) == [sealed]
    assert catalog.run_numbers(small.root) == [1, 2, 3]


def test_a_source_called_abandoned_does_not_make_a_sealed_run_one(tmp_path: Path):
    small = SmallSet(tmp_path / "abandoned")
    sealed = small.embed([["abandoned"]])
    assert catalog.run_end(small.root, 1) == sealed


def test_removed_images_are_those_that_the_last_sealed_run_found_to_be_gone(small: SmallSet):
    small.embed([["a", "b"]])
    assert catalog.removed_images(small.root, catalog.sealed_runs(small.root)).num_rows == 0
    small.embed([["c"]], removed=["a", "b"])
    small.begin([["d"]], removed=["c"])  # not sealed
    sealed = catalog.sealed_runs(small.root)
    assert catalog.removed_images(small.root, sealed).to_pydict() == {"image_id": ["a", "b"]}
    assert catalog.removed_images(small.root, sealed[:1]).schema.equals(REMOVED)


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
    assert catalog.committed_units(small.root, 1).tolist() == [1]


def test_a_damaged_record_is_refused_by_name(small: SmallSet):
    small.root.create(paths.commit(1, 0), b'{"format": 1, "run"')
    with pytest.raises(FeatureSetError, match=r"set/runs/000001/commits/000000000\.json is not a record"):
        catalog.commit_record(small.root, 1, 0)


def test_a_record_without_permission_is_access_denied(small: SmallSet):
    Path(small.uri).chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match=r"no permission to read .*featureset\.json"):
        catalog.feature_set_record(small.root)
    Path(small.uri).chmod(0o700)


@pytest.mark.parametrize("read", [catalog.read_table, catalog.read_columns])
def test_a_table_without_permission_is_access_denied(small: SmallSet, read: Callable[..., pa.Table]):
    file = write_table(small.root, "plan.parquet", plan_of([["a"]]))
    Path(small.uri).chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match=r"no permission to read .*plan\.parquet"):
        read(small.root, file, ["unit"])
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
    path.write_bytes(b"")
    with pytest.raises(FeatureSetError, match=r"set/plan\.parquet is damaged"):
        catalog.read_columns(small.root, file, ["unit"])
    path.unlink()
    for read in (catalog.read_table, catalog.read_columns):
        with pytest.raises(FeatureSetError, match=r"set/plan\.parquet is missing"):
            read(small.root, file, ["unit"])


def test_a_table_is_read_piece_by_piece_and_only_what_is_read_is_checked(small: SmallSet):
    units = [[f"{unit}/{number}" for number in range(50)] for unit in range(4)]
    file = small.begin(units).plan
    with catalog.table_file(small.root, file) as table:
        assert table.metadata.num_row_groups == 4
        assert table.read_row_group(2)["image_id"].to_pylist() == [units[2]]
        group = table.metadata.row_group(1)
        chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("image_id"))
    flip_byte(Path(small.uri) / file.name, chunk.data_page_offset + chunk.total_compressed_size - 1)
    with catalog.table_file(small.root, file) as table:
        assert table.read_row_group(2)["image_id"].to_pylist() == [units[2]]
    with (
        pytest.raises(FeatureSetError, match=f"{file.name} is damaged: .*checksum"),
        catalog.table_file(small.root, file) as table,
    ):
        table.read_row_group(1)


def test_what_the_reader_of_a_table_raises_itself_goes_through(small: SmallSet):
    file = write_table(small.root, "plan.parquet", plan_of([["a"]]))
    with pytest.raises(ZeroDivisionError), catalog.table_file(small.root, file):
        raise ZeroDivisionError


@pytest.mark.parametrize("read", [catalog.read_table, catalog.read_columns])
@pytest.mark.parametrize("fault", [Answer(503), Reset(), Cut()], ids=["503", "reset", "cut"])
def test_a_store_in_trouble_is_not_a_damaged_table(read: Callable[..., pa.Table], fault: Fault, store: ProxiedBucket):
    root = Folder(f"s3://{store.bucket}/set", 0.1)
    file = write_table(root, "plan.parquet", plan_of([["a"]]))
    fault.operation = "GetObject"
    store.proxy.install(fault)
    with pytest.raises(StoreUnavailableError, match=r"set/plan\.parquet could not be reached"):
        read(root, file, ["unit"])
    with pytest.raises(StoreUnavailableError, match=r"featureset\.json could not be reached"):
        catalog.feature_set_record(root)
    store.proxy.clear()
    assert read(root, file, ["unit"]).num_rows == 1


def test_a_listing_that_is_refused_is_ours_to_say(tmp_path: Path):
    for kind, ours in ((PermissionError, AccessDeniedError), (OSError, FeatureSetError)):
        with pytest.raises(ours, match=str(tmp_path)), catalog.listing_errors(Folder(tmp_path)):
            raise kind(5, "told so")
