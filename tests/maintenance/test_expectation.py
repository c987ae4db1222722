"""Expected shards: each with its own rows of the index, wherever batches happen to be cut."""

from pathlib import Path

from pipeline.featureset import catalog, paths
from pipeline.featureset.records import Manifest
from pipeline.maintenance.expectation import shards_of_commits, shards_of_tables
from pipeline.sinks.tables import write_table
from tests.damaging import commit_of, manifest_of, rewrite, shard_of
from tests.small_set import SmallSet


def expected(small: SmallSet, manifest: Manifest) -> list[tuple[str, list[str] | None]]:
    found = shards_of_tables(small.root, manifest, with_rows=True)
    return [(each.file.name, each.rows and each.rows["image_id"].to_pylist()) for each in found]


def test_each_shard_comes_with_its_rows(small: SmallSet):
    manifest = small.embed([["a", "b"], ["c"], ["d", "e"]], bad=["c", "d"])
    assert expected(small, manifest) == [
        (shard_of(small, 1, 0).name, ["a", "b"]),
        (shard_of(small, 1, 2).name, ["e"]),
    ]
    files = [each.file for each in shards_of_tables(small.root, manifest, with_rows=False)]
    assert files == [shard_of(small, 1, 0), shard_of(small, 1, 2)]


def test_rows_of_a_shard_that_lie_in_two_batches_are_put_together(tmp_path: Path):
    small = SmallSet(tmp_path / "set", maps=())
    units = [[f"{unit}/{number:04d}" for number in range(3000)] for unit in range(3)]
    found = expected(small, small.embed(units))
    assert [ids for _, ids in found] == units


def test_an_index_in_another_order_leaves_rows_out_and_never_mixes_them_up(small: SmallSet):
    manifest = small.embed([["a"], ["b"], ["c"]])
    index = catalog.read_table(small.root, manifest.index)
    turned = write_table(small.root, paths.run_table(1, "index"), index.take([1, 0, 2]))
    rewrite(small, paths.manifest(1), manifest, index=turned)
    found = expected(small, manifest_of(small, 1))
    assert all(ids is None or ids == [wanted] for (_, ids), wanted in zip(found, "abc", strict=True))
    assert [ids for _, ids in found].count(None) >= 1


def test_a_run_without_any_shard_expects_none(small: SmallSet):
    assert expected(small, small.embed([["a"]], bad=["a"])) == []


def test_commits_of_an_open_run_say_as_much(small: SmallSet):
    run = small.begin([["a", "b"], ["c"]])
    small.commit(run, 0, ["a", "b"])
    small.commit(run, 1, ["c"], bad=["c"])
    (found,) = shards_of_commits([commit_of(small, 1, unit) for unit in range(2)])
    assert found.file == shard_of(small, 1, 0)
    assert found.rows is not None
    assert found.rows["image_id"].to_pylist() == ["a", "b"]
