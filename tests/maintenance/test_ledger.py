"""The books of a run: what does not go together is found, however the rows come in."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from pipeline.featureset import catalog, paths
from pipeline.featureset.schema import INDEX, QUARANTINE
from pipeline.maintenance.ledger import Ledger
from pipeline.maintenance.scratch import scratch_database
from pipeline.storage.entry import FileEntry
from tests.damaging import commit_of, shard_of
from tests.small_set import SmallSet, plan_of


@pytest.fixture
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    with scratch_database() as database:
        yield database


@pytest.fixture
def ledger(scratch: duckdb.DuckDBPyConnection) -> Ledger:
    return Ledger(scratch)


def index_of(*shards: tuple[str, str]) -> list[pa.RecordBatch]:
    rows = [dict.fromkeys(INDEX.names) | {"image_id": image_id, "shard": shard} for image_id, shard in shards]
    return pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in INDEX])).to_batches()


def quarantine_of(*image_ids: str) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist([dict.fromkeys(QUARANTINE.names, each) for each in image_ids], QUARANTINE).to_batches()


def test_a_run_in_order_has_nothing_odd(ledger: Ledger):
    ledger.enter("plan", plan_of([["a", "b"], ["c"]]).to_batches())
    ledger.enter("index", index_of(("a", "s0"), ("c", "s1")))
    ledger.enter("quarantine", quarantine_of("b"))
    assert list(ledger.odd_ids()) == []
    assert (ledger.num_planned(), ledger.num_images()) == (3, (2, 1))


@pytest.mark.parametrize(
    ("plan", "index", "quarantine", "said"),
    [
        ([["a"], ["a"]], "a", "", ("planned twice", 1, ["a"])),
        ([["a", "b"]], "ab", "a", ("embedded or quarantined twice", 1, ["a"])),
        ([["a", "b"]], "abb", "", ("embedded or quarantined twice", 1, ["b"])),
        ([list("abcdef")], "a", "", ("planned, but neither embedded nor quarantined", 5, ["b", "c", "d"])),
        ([["a"]], "a", "x", ("embedded or quarantined, but not planned", 1, ["x"])),
    ],
)
def test_ids_that_do_not_go_together_are_counted_and_named(ledger: Ledger, plan, index, quarantine, said):
    ledger.enter("plan", plan_of(plan).to_batches())
    ledger.enter("index", index_of(*((each, "s") for each in index)))
    ledger.enter("quarantine", quarantine_of(*quarantine))
    assert list(ledger.odd_ids()) == [said]


def test_shards_and_rows_of_the_index_that_do_not_go_together_are_named(ledger: Ledger):
    ledger.enter("index", index_of(("a", "s0"), ("b", "s0"), ("c", "s1"), ("d", "s2")))
    columns = {"num_rows": [2, 3, 1], "size_bytes": [1, 1, 1], "sha256": ["x"] * 3}
    ledger.enter("shards", pa.table({"shard": ["s0", "s2", "s3"], **columns}).to_batches())
    assert ledger.uneven_shards() == [("s1", 1, None), ("s2", 1, 3), ("s3", None, 1)]


def test_a_commit_that_names_another_shard_than_the_sealed_one_is_found(ledger: Ledger, small: SmallSet):
    manifest = small.embed([["a"], ["b"], ["c"]], bad=["c"])
    ledger.enter("shards", catalog.read_table(small.root, manifest.shards).to_batches())
    commits = [commit_of(small, 1, unit) for unit in range(3)]
    ledger.enter_commits(commits)
    assert ledger.otherwise_committed(paths.shards(1)) == []
    other = commits[1].model_copy(update={"unit": 0})
    ledger.enter_commits([other])
    assert ledger.otherwise_committed(paths.shards(1)) == [(0, shard_of(small, 1, 0).name)]
    assert ledger.otherwise_committed(paths.shards(2)) == [], "shards of other runs have other commits"


def test_a_unit_that_was_given_up_has_a_commit_alone(ledger: Ledger, small: SmallSet):
    small.embed([["a"]])
    ledger.enter_commits([commit_of(small, 1, 0)])
    assert ledger.otherwise_committed(paths.shards(1)) == []


def test_shards_are_held_against_the_listing_of_their_folders(ledger: Ledger, small: SmallSet):
    manifest = small.embed([["a"], ["b"], ["c"]])
    ledger.enter("shards", catalog.read_table(small.root, manifest.shards).to_batches())
    first, second, third = (shard_of(small, 1, unit) for unit in range(3))
    assert ledger.shard_folders() == ["shards/000001"]
    sizes = {first.name: first.size_bytes, second.name: 7}
    entries = [FileEntry(name.rpartition("/")[2], size, "") for name, size in sizes.items()]
    ledger.enter_listing("shards/000001", [*entries, FileEntry("another.parquet", 5, "")])
    assert ledger.wrong_sizes() == [(second.name, second.size_bytes, 7), (third.name, third.size_bytes, None)]
    total = first.size_bytes + second.size_bytes + third.size_bytes
    assert ledger.shard_bytes() == (3, total, max(each.size_bytes for each in (first, second, third)))


def test_of_an_open_run_only_what_is_committed_is_asked_for(ledger: Ledger, small: SmallSet):
    run = small.begin([["a", "b"], ["c"]])
    small.commit(run, 0, ["a", "b"], bad=["b"])
    ledger.enter("plan", plan_of([["a", "b"], ["c"]]).to_batches())
    ledger.enter_as_tables([commit_of(small, 1, 0)])
    ledger.forget_all_but({0})
    assert list(ledger.odd_ids()) == []
    assert ledger.num_images() == (1, 1)
    assert ledger.shard_bytes()[0] == 1


def test_the_books_of_the_next_run_are_empty(scratch: duckdb.DuckDBPyConnection):
    Ledger(scratch).enter("plan", plan_of([["a"]]).to_batches())
    after = Ledger(scratch)
    assert (after.num_planned(), after.num_images(), after.shard_bytes()) == (0, (0, 0), (0, 0, 0))
