"""Refs: rows become batches of one schema, also when there are none."""

import pyarrow as pa
import pytest

from pipeline.sources.image_ref import REFS, refs_batch


@pytest.mark.parametrize(
    "rows", [[], [("é😀.jpg", "/data/é😀.jpg", 5 * 2**40, "")], [("a", "b", 1, "v"), ("c", "d", 0, "w")]]
)
def test_a_batch_holds_its_rows_in_order(rows: list[tuple[str, str, int, str]]):
    batch = refs_batch(rows)
    assert isinstance(batch, pa.RecordBatch)
    assert batch.schema.equals(REFS)
    assert [tuple(row.values()) for row in batch.to_pylist()] == rows
