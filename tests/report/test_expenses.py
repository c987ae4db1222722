"""Bytes and dollars add up."""

from pathlib import Path

import pytest

from pipeline.featureset import catalog
from pipeline.report.expenses import expenses
from tests.small_set import SmallSet


def test_bytes_are_those_of_all_runs_and_dollars_follow(tmp_path: Path):
    made = SmallSet(tmp_path / "set")
    made.embed([["a", "b"], ["c"]])
    made.embed([["d"]], bad=["d"])
    _, runs = catalog.sealed_set(made.root)
    found = expenses(runs, made.maps, 0.02)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "set/shards").rglob("*.parquet"))
    assert (found["size_bytes"], found["num_shards"]) == (on_disk, 2)
    assert found["bytes_per_image"] == pytest.approx(on_disk / 3)
    assert found["dollars_a_month"] == pytest.approx(on_disk / 1e9 * 0.02)
    assert found["dollars_a_month_million"] == pytest.approx(on_disk / 3 * 1e6 / 1e9 * 0.02)
    assert found["maps"][0] == ("fpn_0", (4, 8, 6), "float16", 4 * 8 * 6 * 2)
