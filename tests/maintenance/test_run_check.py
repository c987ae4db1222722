"""A run looked at: every table, id, commit and shard of it, each level seeing what the ones before it see."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Level
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import TableFile
from pipeline.maintenance.findings import Finding, RunReport
from pipeline.maintenance.run_check import RunCheck
from pipeline.maintenance.scratch import scratch_database
from pipeline.sinks.tables import write_table
from tests.damaging import commit_of, manifest_of, path_of, rewrite, shard_of
from tests.small_set import SmallSet, flip_byte, plan_of

UNITS = [["a", "b"], ["c", "d"], ["e"]]
LEVELS: tuple[Level, ...] = ("counts", "sizes", "footers", "full")


def look(small: SmallSet, level: Level, run: int = 1) -> tuple[RunReport, list[Finding]]:
    """The report of a run and what was found."""
    check = RunCheck(small.root, catalog.run_record(small.root, run), record=small.record, level=level)
    end = catalog.manifest(small.root, run)
    with scratch_database() as scratch:
        report = check.check_sealed(end, scratch) if end else check.check_open(scratch)
    assert check.has_sound_tables == (not any(finding.blocks_repair for finding in check.findings))
    return report, check.findings


def kinds(small: SmallSet, level: Level) -> list[tuple[str, str]]:
    return [(finding.kind, finding.file) for finding in look(small, level)[1]]


@pytest.mark.parametrize("level", LEVELS)
def test_a_whole_run_has_no_findings(small: SmallSet, level: Level):
    manifest = small.embed(UNITS, bad=["b", "e"])
    assert look(small, level) == (RunReport(1, "sealed", 5, 3, 2, 2, manifest.size_bytes), [])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("maps", [True, False])
def test_an_open_run_says_how_far_it_is_and_that_is_no_finding(tmp_path: Path, level: Level, maps):
    small = SmallSet(tmp_path / "set", **({} if maps else {"maps": ()}))
    run = small.begin(UNITS)
    small.commit(run, 2, ["e"])
    small.commit(run, 0, ["a", "b"], bad=["b"])
    size_bytes = shard_of(small, 1, 0).size_bytes + shard_of(small, 1, 2).size_bytes
    assert look(small, level) == (RunReport(1, "open, 2 of 3 units", 5, 2, 1, 2, size_bytes), [])


def table_files(small: SmallSet) -> dict[str, TableFile]:
    manifest = manifest_of(small, 1)
    tables = {"plan": catalog.run_record(small.root, 1).plan, "index": manifest.index}
    return {**tables, "shards": manifest.shards, "quarantine": manifest.quarantine}


@pytest.mark.parametrize("table", ["plan", "index", "shards", "quarantine"])
@pytest.mark.parametrize("harm", [lambda path: flip_byte(path, 40), Path.unlink])
def test_a_damaged_or_missing_table_is_named_and_the_rest_still_looked_at(
    small: SmallSet, table: str, harm: Callable[[Path], None]
):
    small.embed(UNITS)
    file = table_files(small)[table]
    harm(path_of(small, file.name))
    path_of(small, shard_of(small, 1, 1).name).unlink()
    found = kinds(small, "full")
    assert found[0] == ("table", file.name)
    assert found[1:] == ([] if table == "shards" else [("shard-missing", shard_of(small, 1, 1).name)])


def test_a_run_of_other_settings_is_named(small: SmallSet):
    small.embed(UNITS)
    rewrite(small, paths.run_record(1), catalog.run_record(small.root, 1), fingerprint="other")
    assert ("fingerprint", paths.run_record(1)) in kinds(small, "counts")


def test_counts_that_do_not_add_up_are_named(small: SmallSet):
    small.embed(UNITS)
    manifest = manifest_of(small, 1)
    rewrite(small, paths.manifest(1), manifest, num_embedded=4, size_bytes=manifest.size_bytes + 1)
    messages = [finding.message for finding in look(small, "counts")[1]]
    assert messages == [
        "says 5 images, there are 4",
        "says 4 embedded images, there are 5",
        f"says {manifest.size_bytes + 1} bytes of shards, there are {manifest.size_bytes}",
    ]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([["a", "b"], ["c", "d"], ["x"]], {"neither embedded nor quarantined, such as x", "not planned, such as e"}),
        ([["a", "b"], ["c", "d"], ["d"]], {"planned twice, such as d", "not planned, such as e"}),
    ],
)
def test_ids_that_are_not_those_of_the_plan_are_named(small: SmallSet, plan, said):
    small.embed(UNITS)
    other = write_table(small.root, paths.run_table(1, "plan"), plan_of(plan))
    rewrite(small, paths.run_record(1), catalog.run_record(small.root, 1), plan=other)
    found = [finding for finding in look(small, "counts")[1] if finding.kind == "ids"]
    assert {finding.file for finding in found} == {manifest_of(small, 1).index.name}
    assert len(found) == len(said)
    for words in said:
        assert any(finding.message.endswith(words) for finding in found), found


def test_shards_that_index_and_table_do_not_both_name_are_named(small: SmallSet):
    manifest = small.embed(UNITS)
    shards = catalog.read_table(small.root, manifest.shards)
    fewer = write_table(small.root, paths.run_table(1, "shards"), shards.slice(1))
    rewrite(small, paths.manifest(1), manifest, shards=fewer)
    assert ("shard-list", shard_of(small, 1, 0).name) in kinds(small, "counts")


def test_an_index_in_another_order_than_the_shards_is_named(small: SmallSet):
    manifest = small.embed(UNITS)
    index = catalog.read_table(small.root, manifest.index)
    turned = write_table(small.root, paths.run_table(1, "index"), index.take([4, 2, 3, 0, 1]))
    rewrite(small, paths.manifest(1), manifest, index=turned)
    assert kinds(small, "counts") == []
    assert {kind for kind, _ in kinds(small, "full")} == {"shard-list"}


def test_damaged_and_missing_commits_of_a_sealed_run_are_named(small: SmallSet):
    small.embed(UNITS)
    flip_byte(path_of(small, paths.commit(1, 0)), 30)
    path_of(small, paths.commit(1, 2)).unlink()
    found = look(small, "full")[1]
    assert [(finding.kind, finding.file) for finding in found] == [
        ("commit", paths.commit(1, 0)),
        ("commit", paths.commit(1, 2)),
    ]
    assert "no reader needs it" in str(found[0])


def test_a_commit_of_another_shard_than_the_sealed_one_is_named(small: SmallSet):
    small.embed(UNITS)
    other = shard_of(small, 1, 0).model_copy(update={"sha256": "0" * 64})
    rewrite(small, paths.commit(1, 0), commit_of(small, 1, 0), shard=other)
    assert kinds(small, "counts") == [("commit", paths.commit(1, 0))]


def test_a_damaged_commit_of_an_open_run_stands_in_its_way_and_is_named(small: SmallSet):
    run = small.begin(UNITS)
    small.commit(run, 0, UNITS[0])
    small.commit(run, 1, UNITS[1])
    flip_byte(path_of(small, paths.commit(1, 1)), 30)
    (finding,) = look(small, "full")[1]
    assert (finding.kind, finding.file) == ("open-commit", paths.commit(1, 1))
    assert "jobs/abandon.py" in str(finding)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize(("harm", "kind"), [(Path.unlink, "shard-missing"), (cut, "shard-size")])
def test_a_missing_or_cut_shard_is_found_from_sizes_on(
    small: SmallSet, harm: Callable[[Path], None], kind: str, is_sealed
):
    if is_sealed:
        small.embed(UNITS)
    else:
        small.commit(small.begin(UNITS), 1, UNITS[1])
    name = shard_of(small, 1, 1).name
    harm(path_of(small, name))
    assert kinds(small, "counts") == []
    for level in LEVELS[1:]:
        (finding,) = look(small, level)[1]
        assert (finding.kind, finding.file, finding.run, finding.unit) == (kind, name, 1, 1)


def test_a_damaged_footer_is_found_from_footers_on(small: SmallSet):
    small.embed(UNITS)
    name = shard_of(small, 1, 2).name
    path = path_of(small, name)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    assert kinds(small, "sizes") == []
    assert kinds(small, "footers") == [("shard-footer", name)]
    assert kinds(small, "full") == [("shard-bytes", name)]


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_flipped_bit_is_found_by_full_alone(small: SmallSet, is_sealed):
    if is_sealed:
        small.embed(UNITS)
    else:
        small.commit(small.begin(UNITS), 1, UNITS[1])
    name = shard_of(small, 1, 1).name
    flip_byte(path_of(small, name), 500)
    assert [kinds(small, level) for level in LEVELS] == [[], [], [], [("shard-bytes", name)]]


def test_shards_that_lie_in_the_folder_of_another_run_are_found_there(small: SmallSet):
    manifest = small.embed(UNITS)
    name = paths.shard(7, 0)
    path_of(small, name).parent.mkdir()
    path_of(small, shard_of(small, 1, 0).name).rename(path_of(small, name))
    tables = {}
    for kind, file in (("index", manifest.index), ("shards", manifest.shards)):
        table = catalog.read_table(small.root, file)
        place = table.schema.get_field_index("shard")
        moved = [name if each == shard_of(small, 1, 0).name else each for each in table["shard"].to_pylist()]
        table = table.set_column(place, table.schema.field(place), [moved])
        tables[kind] = write_table(small.root, paths.run_table(1, kind), table)
    rewrite(small, paths.manifest(1), manifest, **tables)
    assert kinds(small, "sizes") == []


def test_without_the_record_of_the_set_shards_are_counted_and_not_opened(small: SmallSet):
    small.embed(UNITS)
    flip_byte(path_of(small, shard_of(small, 1, 1).name), 500)
    check = RunCheck(small.root, catalog.run_record(small.root, 1), record=None, level="full")
    with scratch_database() as scratch:
        check.check_sealed(manifest_of(small, 1), scratch)
    assert check.findings == []
