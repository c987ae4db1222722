"""Runs: numbered one after the other, one open at a time, joined by whoever comes with the same source."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunConflictError, RunIncompleteError
from pipeline.featureset import catalog
from pipeline.featureset.records import RunRecord
from pipeline.sinks.runs import claim_run, next_run, open_run
from tests.small_set import SOURCE, SmallSet, plan_of

OTHER = {**SOURCE, "uri": "/data/others"}
UNITS = [["a", "b"], ["c"]]


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    return SmallSet(tmp_path / "set")


def claim(small: SmallSet, source: dict[str, Any] = SOURCE, run: int = 1) -> RunRecord:
    return claim_run(small.root, run=run, fingerprint=small.record.fingerprint, source=source, plan=plan_of(UNITS))


def test_there_is_no_open_run_at_first(small: SmallSet):
    assert open_run(small.root, SOURCE) is None


def test_a_claimed_run_knows_its_plan_and_counts(small: SmallSet):
    run = claim(small)
    assert (run.run, run.num_images, run.num_units) == (1, 3, 2)
    assert run.source == SOURCE
    assert catalog.read_table(small.root, run.plan).equals(plan_of(UNITS))


def test_an_open_run_is_found_and_continued(small: SmallSet):
    run = claim(small)
    assert open_run(small.root, SOURCE) == run


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
