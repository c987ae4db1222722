"""Findings: a line each that names the file, what is wrong, and what to do."""

from typing import get_args

import pytest

from pipeline.maintenance.findings import Finding, Kind, Report, RunReport

SHARD = Finding("shard-bytes", "shards/000001/x.parquet", "has other bytes", 1, 0)
TABLE = Finding("table", "runs/000001/index-y.parquet", "is missing", 1)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_finding_says_which_file_what_and_what_to_do(kind: Kind):
    line = str(Finding(kind, "some/file", "is odd"))
    said, _, remedy = line.partition("; ")
    assert said == "some/file is odd"
    assert remedy


@pytest.mark.parametrize("kind", get_args(Kind))
def test_repair_is_advised_exactly_where_it_helps(kind: Kind):
    finding = Finding(kind, "some/file", "is odd")
    assert ("jobs/repair.py" in str(finding)) == finding.is_repairable
    assert not (finding.is_repairable and finding.blocks_repair)


def test_broken_shards_are_told_by_run():
    other = Finding("shard-missing", "shards/000002/z.parquet", "is missing", 2, 3)
    report = Report("set", "full", findings=[SHARD, TABLE, other], superseded=[SHARD])
    assert report.broken_shards == {1: {SHARD.file}, 2: {other.file}}


def test_a_whole_set_is_a_line_a_run():
    report = Report("/data/set", "sizes", runs=[RunReport(1, "sealed", 12, 11, 1, 4, 1234567)])
    head, names, run, end = report.text().splitlines()
    assert head == "/data/set, level sizes"
    assert names.split() == ["run", "state", "planned", "embedded", "quarantined", "shards", "bytes", "findings"]
    assert run.split() == ["1", "sealed", "12", "11", "1", "4", "1234567", "0"]
    assert end == "nothing is wrong"


def test_findings_are_counted_by_run_and_listed_and_superseded_ones_kept_apart():
    runs = [RunReport(1, "sealed"), RunReport(2, "open, 3 of 5 units")]
    lines = Report("set", "full", runs, [SHARD, TABLE], [SHARD]).text().splitlines()
    assert [line.split()[-1] for line in lines[2:4]] == ["2", "0"]
    assert lines[4:6] == [f"  {SHARD}", f"  {TABLE}"]
    assert lines[6] == "  superseded, no reader opens it: shards/000001/x.parquet has other bytes"
    assert lines[7] == "2 findings"
