"""Index rows: what a commit carries in JSON is, number for number, what the index of a sealed run has."""

import numpy as np
import pytest

from pipeline.featureset.index import index_rows, index_table
from pipeline.featureset.records import CommitRecord, IndexRows, TableFile
from pipeline.featureset.schema import INDEX
from tests.small_set import pooled_values, quarantine_row

IDS = ["cats/1.jpg", "é😀\n.jpg", ""]


def commit(rows: IndexRows, num_rows: int) -> CommitRecord:
    """The commit of a shard with those rows, after its way through JSON."""
    shard = TableFile(name="shards/1/x.parquet", num_rows=num_rows, size_bytes=1, sha256="0" * 64)
    record = CommitRecord(
        run=1,
        unit=0,
        token="t",  # noqa: S106  no secret
        fingerprint="f",
        shard=shard if num_rows else None,
        rows=rows,
        quarantine=(),
    )
    return CommitRecord.from_bytes(record.to_bytes(), "x")


@pytest.mark.parametrize("num_rows", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8"])
def test_rows_come_back_in_order_and_exact(num_rows: int, dtype: str):
    ids = IDS[:num_rows]
    vectors = np.stack([pooled_values(image_id) for image_id in ids])
    sizes = [(number, 2**31 - 1 - number) for number in range(num_rows)]
    uris = [f"/data/{image_id}" for image_id in ids]
    table = index_table(commit(index_rows(ids, uris, sizes, embeddings=vectors.astype(dtype)), num_rows))
    assert table.schema.equals(INDEX)
    assert table["image_id"].to_pylist() == ids
    assert table["uri"].to_pylist() == uris
    assert list(zip(table["original_height"].to_pylist(), table["original_width"].to_pylist(), strict=True)) == sizes
    assert table["shard"].to_pylist() == ["shards/1/x.parquet"] * num_rows
    assert table["row"].to_pylist() == list(range(num_rows))
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), vectors)


def test_special_numbers_come_back_too():
    vectors = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(np.float32).tiny]], np.float32)
    table = index_table(commit(index_rows(["a"], ["a"], [(1, 1)], embeddings=vectors), 1))
    assert np.array(table["embedding"].to_pylist(), "<f4").tobytes() == vectors.tobytes()


def test_a_commit_without_a_shard_has_no_rows():
    only_bad = commit(IndexRows(), 0).model_copy(update={"quarantine": (quarantine_row("a"),)})
    assert index_table(only_bad).equals(INDEX.empty_table())


def test_a_thousand_rows_cost_a_commit_little_more_than_their_vectors():
    ids = [f"{number:010d}.jpg" for number in range(1000)]
    rows = index_rows(ids, ids, [(480, 640)] * 1000, embeddings=np.zeros((1000, 256), np.float32))
    assert len(commit(rows, 1000).to_bytes()) < 1000 * (256 * 4 * 1.4 + 200)
