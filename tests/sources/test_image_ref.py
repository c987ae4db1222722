"""Refs: rows become batches of one schema, also when there are none."""

import pyarrow as pa
import pytest

from pipeline.sources.image_ref import REFS, refs_batch, store_version, written_versions


@pytest.mark.parametrize(
    "rows", [[], [("é😀.jpg", "/data/é😀.jpg", 5 * 2**40, "")], [("a", "b", 1, "v"), ("c", "d", 0, "w")]]
)
def test_a_batch_holds_its_rows_in_order(rows: list[tuple[str, str, int, str]]):
    batch = refs_batch(rows)
    assert isinstance(batch, pa.RecordBatch)
    assert batch.schema.equals(REFS)
    assert [tuple(row.values()) for row in batch.to_pylist()] == rows


def test_a_version_that_somebody_wrote_down_differs_when_they_do_and_is_no_stores():
    found = written_versions(pa.array(["v1", "v2", "v1", "", "\x1b"])).to_pylist()
    assert (found[0] == found[2], found[0] == found[1], found[3]) == (True, False, "")
    assert [store_version(version) for version in found] == [""] * 5
    for version in ("", "d41d8cd98f00b204e9800998ecf8427e-5", "12@1764000000.25"):
        assert store_version(version) == version
