"""Commits: sound ones come in order, and of each other one it is said what is wrong with it."""

from pathlib import Path

import pytest

from pipeline.featureset import paths
from pipeline.featureset.records import RunRecord
from pipeline.maintenance.commit_check import read_commits
from pipeline.maintenance.findings import Finding
from tests.damaging import commit_of, path_of, rewrite
from tests.small_set import SmallSet, flip_byte

UNITS = [["a", "b"], ["c"], ["d"], ["e"]]


@pytest.fixture
def run(small: SmallSet) -> RunRecord:
    """A run whose units are all committed."""
    begun = small.begin(UNITS)
    for unit, ids in enumerate(UNITS):
        small.commit(begun, unit, ids)
    return begun


def look(small: SmallSet, run: RunRecord) -> tuple[list[int], list[Finding]]:
    noted: list[Finding] = []
    commits = read_commits(small.root, run, range(run.num_units), kind="commit", note=noted.append)
    return [commit.unit for commit in commits], noted


def test_sound_commits_come_in_order(small: SmallSet, run: RunRecord):
    assert look(small, run) == ([0, 1, 2, 3], [])


def test_a_flipped_bit_in_a_commit_is_found_wherever_it_is(small: SmallSet, run: RunRecord):
    path = path_of(small, paths.commit(1, 2))
    whole = path.read_bytes()
    for offset in range(0, len(whole) - 2, 97):
        flip_byte(path, offset)
        units, (finding,) = look(small, run)
        assert units == [0, 1, 3]
        assert (finding.file, finding.run, finding.unit) == (paths.commit(1, 2), 1, 2), offset
        assert not finding.message.startswith("/"), "the file is named once"
        path.write_bytes(whole)


def test_missing_commits_are_one_finding_that_counts_them(small: SmallSet, run: RunRecord):
    for unit in (1, 3):
        path_of(small, paths.commit(1, unit)).unlink()
    units, (finding,) = look(small, run)
    assert units == [0, 2]
    assert (finding.file, finding.message) == (paths.commit(1, 1), "is missing, and those of 1 more units")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit": 3}, "is that of unit 3 of run 1; it was put in the place of another"),
        ({"run": 2}, "is that of unit 2 of run 2; it was put in the place of another"),
        ({"fingerprint": "other"}, "is of other settings than its run"),
        ({"shard": None}, "names 1 images, its shard has 0 rows"),
    ],
)
def test_a_commit_that_says_something_else_is_named(small: SmallSet, run: RunRecord, change, said: str):
    rewrite(small, paths.commit(1, 2), commit_of(small, 1, 2), **change)
    _, (finding,) = look(small, run)
    assert finding.message == said


def test_a_commit_of_a_newer_format_is_not_guessed_at(small: SmallSet, run: RunRecord):
    Path(path_of(small, paths.commit(1, 0))).write_text('{"format": 2}')
    _, (finding,) = look(small, run)
    assert "newer version" in finding.message
