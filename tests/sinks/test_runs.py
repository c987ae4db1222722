"""Runs: numbered one after the other, one open at a time, joined by whoever comes with the same source."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import FeatureSetError, RunConflictError, RunIncompleteError
from pipeline.featureset import catalog
from pipeline.featureset.records import Abandonment, Manifest, RunRecord
from pipeline.readers.feature_set import open_features
from pipeline.sinks.runs import Listing, abandon_run, claim_run, next_run, open_run, standing_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.tables import write_table
from tests.faults.barriers import Barrier
from tests.faults.faults import Reset
from tests.faults.proxied import ProxiedBucket
from tests.small_set import SOURCE, SmallSet, plan_of

OTHER = {**SOURCE, "uri": "/data/others"}
UNITS = [["a", "b"], ["c"]]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    return SmallSet(tmp_path / "set")


def claim(small: SmallSet, source: dict[str, Any] = SOURCE, run: int = 1) -> RunRecord:
    return claim_run(
        small.root,
        run=run,
        fingerprint=small.record.fingerprint,
        source=source,
        plan=[plan_of(UNITS)],
        images_per_unit=2,
    )


def test_there_is_no_open_run_at_first(small: SmallSet):
    assert open_run(small.root, SOURCE) is None
    assert standing_run(small.root) is None


def test_a_claimed_run_knows_its_plan_and_counts(small: SmallSet):
    run = claim(small)
    assert (run.run, run.num_images, run.num_units, run.images_per_unit) == (1, 3, 2, 2)
    assert (run.source, run.removed, run.listing) == (SOURCE, None, None)
    assert catalog.read_table(small.root, run.plan).equals(plan_of(UNITS))


def test_a_plan_of_several_tables_becomes_one_file_with_a_row_group_each(small: SmallSet):
    tables = [plan_of([[f"{unit}/{number}" for number in range(3)]], first=unit) for unit in range(5)]
    taken = []

    def plan() -> Iterator[pa.Table]:
        for number, table in enumerate(tables):
            taken.append(number)
            yield table

    run = claim_run(
        small.root, run=1, fingerprint=small.record.fingerprint, source=SOURCE, plan=plan(), images_per_unit=3
    )
    assert (taken, run.num_images, run.num_units) == ([0, 1, 2, 3, 4], 15, 5)
    assert catalog.read_table(small.root, run.plan).equals(pa.concat_tables(tables))
    with catalog.table_file(small.root, run.plan) as file:
        assert file.metadata.num_row_groups == 5


def test_a_run_may_have_nothing_to_embed_and_tell_what_the_source_has_lost(small: SmallSet):
    removed = write_table(small.root, "removed.parquet", pa.table({"image_id": ["a"]}))
    run = claim_run(
        small.root,
        run=1,
        fingerprint=small.record.fingerprint,
        source=SOURCE,
        plan=[],
        images_per_unit=2,
        listing=Listing("digest", removed),
    )
    assert (run.num_images, run.num_units, run.removed, run.listing) == (0, 0, removed, "digest")
    assert catalog.read_table(small.root, run.plan).num_rows == 0


def test_an_error_in_the_middle_of_planning_claims_nothing(small: SmallSet):
    def plan() -> Iterator[pa.Table]:
        yield plan_of(UNITS)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_run(small.root, run=1, fingerprint="f", source=SOURCE, plan=plan(), images_per_unit=2)
    assert catalog.run_numbers(small.root) == []
    assert list(Path(small.uri).rglob("plan-*")) == []


def test_an_open_run_is_found_and_continued(small: SmallSet):
    run = claim(small)
    assert open_run(small.root, SOURCE) == run
    assert standing_run(small.root) == run


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"uri": "/data/others"}, "uri: /data/photos -> /data/others"),
        ({"suffixes": None}, "suffixes: ['.jpg'] -> None"),
    ],
)
def test_an_open_run_of_another_source_is_a_conflict_naming_what_differs(
    small: SmallSet, change: dict[str, Any], told: str
):
    claim(small)
    with pytest.raises(RunConflictError, match=r"run 1 of .* is not finished and embeds another source") as caught:
        open_run(small.root, {**SOURCE, **change})
    assert told in str(caught.value)
    assert f"jobs/abandon.py sink.uri={small.uri} run=1" in str(caught.value)
    assert standing_run(small.root) == catalog.run_record(small.root, 1), "whatever it embeds"


def test_a_sealed_run_is_not_open_and_the_next_one_has_the_next_number(small: SmallSet):
    small.embed(UNITS)
    assert open_run(small.root, SOURCE) is None
    assert open_run(small.root, OTHER) is None
    assert claim(small, OTHER, run=next_run(small.root)).run == 2


def test_a_run_that_was_begun_meanwhile_is_joined_not_embedded_twice(small: SmallSet):
    """Two commands saw no open run; the slower one must not begin a second."""
    assert open_run(small.root, SOURCE) is None
    first = claim(small)
    assert claim(small) == first
    assert catalog.run_numbers(small.root) == [1]


def test_a_run_that_was_begun_and_sealed_meanwhile_makes_the_plan_out_of_date(small: SmallSet):
    number = next_run(small.root)
    small.embed(UNITS)
    with pytest.raises(RunIncompleteError, match="run this one again"):
        claim(small, run=number)
    assert catalog.run_numbers(small.root) == [1]


def test_a_run_of_another_source_that_was_begun_meanwhile_is_a_conflict(small: SmallSet):
    claim(small)
    with pytest.raises(RunConflictError, match="/data/photos"):
        claim(small, OTHER)
    assert catalog.run_numbers(small.root) == [1]


def test_of_many_claims_at_once_one_wins_and_all_get_it(small: SmallSet):
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: claim(small), range(6)))
    assert all(run == runs[0] for run in runs), runs
    assert catalog.run_numbers(small.root) == [1]


def test_of_claims_for_different_sources_at_once_one_wins_and_the_others_are_refused(small: SmallSet):
    def attempt(number: int) -> RunRecord | None:
        try:
            return claim(small, {**SOURCE, "uri": f"/data/{number}"})
        except RunConflictError:
            return None

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, range(6)))
    assert sum(run is not None for run in outcomes) == 1, outcomes
    assert catalog.run_numbers(small.root) == [1]


def test_a_writer_that_dies_before_its_claim_costs_no_number(small: SmallSet):
    small.root.create("runs/000001/plan-left-behind.parquet", b"half")
    assert claim(small).run == 1


# Giving a run up


def seen(small: SmallSet) -> list[str]:
    """What a reader finds."""
    return sorted(open_features(small.uri).image_ids)


def test_a_run_that_was_given_up_counts_for_nothing_and_the_next_one_can_begin(small: SmallSet):
    small.embed([["a"]])
    run = small.begin(UNITS, version="2")
    small.commit(run, 0, UNITS[0], version="2")
    end = abandon_run(small.root, 2)
    assert isinstance(end, Abandonment)
    assert (end.run, catalog.run_end(small.root, 2)) == (2, end)
    assert seen(small) == ["a"]
    assert open_run(small.root, OTHER) is None
    assert claim(small, OTHER, run=next_run(small.root)).run == 3


def test_giving_up_what_has_ended_changes_nothing_and_says_how_it_ended(small: SmallSet):
    sealed = small.embed([["a"]])
    small.begin([["b"]])
    given_up = abandon_run(small.root, 2)
    assert [abandon_run(small.root, run) for run in (1, 2)] == [sealed, given_up]
    assert seen(small) == ["a"]


def test_a_run_that_is_not_there_cannot_be_given_up(small: SmallSet):
    with pytest.raises(FeatureSetError, match="has no run 1"):
        abandon_run(small.root, 1)
    assert list(small.root.names("runs")) == []


@pytest.mark.parametrize("end", ["seal", "abandon"])
def test_a_zombies_late_commit_changes_nothing_that_a_reader_sees(end: str, small: SmallSet):
    """Its writer was asleep while the others finished the run, or gave it up."""
    small.embed([["a", "b"]])
    before = open_features(small.uri)
    run = small.begin([["b"], ["c"]], version="2")
    small.commit(run, 0, ["b"], version="2")
    if end == "seal":
        small.commit(run, 1, ["c"], version="2")
        seal_run(small.root, run)
        before = open_features(small.uri)
    else:
        abandon_run(small.root, run.run)
    for unit, ids in enumerate([["b"], ["c"]]):
        small.commit(run, unit, ids, version="zombie")
    if end == "abandon":
        with pytest.raises(RunIncompleteError, match="was abandoned"):
            seal_run(small.root, run)
    after = open_features(small.uri)
    assert (after.image_ids, after.files) == (before.image_ids, before.files)
    assert after.pooled.equals(before.pooled)
    assert after.metadata == before.metadata


def end_in_two_ways(small: SmallSet, run: RunRecord) -> tuple[Manifest | None, Manifest | Abandonment]:
    """What one that seals a run, and one that gives it up at the same moment, are told."""
    with ThreadPoolExecutor(2) as pool:
        sealing, giving_up = pool.submit(seal_run, small.root, run), pool.submit(abandon_run, small.root, run.run)
        try:
            return sealing.result(), giving_up.result()
        except RunIncompleteError:
            return None, giving_up.result()


def check(small: SmallSet, run: RunRecord, sealed: Manifest | None, other: Manifest | Abandonment) -> None:
    """One end stands, both were told that one, and a reader sees it."""
    standing = catalog.run_end(small.root, run.run)
    assert other == standing
    if isinstance(standing, Manifest):
        assert sealed == standing
        assert seen(small) == ["a"]
    else:
        assert sealed is None
        with pytest.raises(FeatureSetError, match="is not sealed yet"):
            open_features(small.uri)


def test_of_sealing_and_giving_up_at_once_exactly_one_wins(tmp_path: Path):
    for number in range(20):
        small = SmallSet(tmp_path / str(number))
        run = small.begin([["a"]])
        small.commit(run, 0, ["a"])
        sealed, other = end_in_two_ways(small, run)
        check(small, run, sealed, other)


@pytest.mark.parametrize("is_lost", [False, True])
def test_of_sealing_and_giving_up_at_once_exactly_one_wins_on_s3_too(is_lost: bool, store: ProxiedBucket):
    for number in range(4):
        small = SmallSet(f"s3://{store.bucket}/{number}")
        run = small.begin([["a"]])
        small.commit(run, 0, ["a"])
        both = store.proxy.install(Barrier(2, operation="PutObject", key="manifest.json", first=2))
        if is_lost:
            store.proxy.install(Reset(operation="PutObject", key="manifest.json", first=1, place="after"))
        sealed, other = end_in_two_ways(small, run)
        assert both.timed_out == 0
        check(small, run, sealed, other)
        store.proxy.clear()
