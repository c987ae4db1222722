"""Paths: names that sort as their numbers do, and names that nobody else has."""

from collections.abc import Callable

import pytest

from pipeline.featureset import paths


def test_a_run_has_one_record_and_one_manifest():
    assert paths.run_record(7) == "runs/000007/run.json"
    assert paths.manifest(7) == "runs/000007/manifest.json"


def test_a_commit_is_named_after_its_unit():
    assert paths.commit(7, 12) == f"{paths.commits(7)}/000000012.json"


def test_commits_sort_as_their_units_do():
    names = [paths.commit(1, unit) for unit in (0, 9, 10, 123_456_789)]
    assert names == sorted(names)


def test_shards_sort_as_their_units_do():
    names = [paths.shard(1, unit) for unit in (0, 0, 9, 10, 123_456_789)]
    assert sorted(names)[2:] == names[2:]
    assert all(name.startswith(f"{paths.shards(1)}/") for name in names)


@pytest.mark.parametrize(
    ("fresh", "folder"),
    [
        (lambda: paths.shard(3, 4), "shards/000003/000000004-"),
        (lambda: paths.run_table(3, "plan"), "runs/000003/plan-"),
        (paths.position_encodings, "position_encodings/"),
    ],
)
def test_files_of_many_rows_get_a_name_that_nobody_else_has(fresh: Callable[[], str], folder: str):
    names = {fresh() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(folder) and name.endswith(".parquet") for name in names)


def test_the_docstring_draws_every_place():
    drawn = {line.split("/")[0].split()[0] for line in (paths.__doc__ or "").splitlines()[2:] if line}
    assert drawn == {
        "featureset.json",
        "README.md",
        "croissant.json",
        "report.html",
        "position_encodings",
        "shards",
        "runs",
        "staging",
    }
