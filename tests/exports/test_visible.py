"""Visible rows: for an image in several runs the last one counts, and what is read is what readers see."""

import numpy as np
import pytest

import pipeline
from pipeline.errors import FeatureSetError
from pipeline.exports.visible import VisibleRows
from tests.faults.proxied import ProxiedBucket
from tests.small_set import SmallSet
from tests.vector_set import VectorSet, gaussian, names


def ids_of(rows: VisibleRows) -> list[str]:
    return [image_id for batch in rows.batches(["image_id"]) for image_id in batch["image_id"].to_pylist()]


def test_a_reembedded_image_counts_once_and_a_quarantined_one_no_more(small: VectorSet):
    rows = VisibleRows(small.uri)
    assert ids_of(rows) == [*names(28, 2), names(1)[0]]
    assert len(rows) == 29
    assert rows.run == 2
    *_, last = rows.batches(["embedding"])
    np.testing.assert_array_equal(last["embedding"][0].as_py(), gaussian(2, seed=5)[0])


def test_rows_are_those_of_a_reader_in_its_order_whatever_the_batches(hard: VectorSet):
    rows, features = VisibleRows(hard.uri), pipeline.open_features(hard.uri)
    assert ids_of(rows) == features.image_ids
    assert len(rows) == len(features)
    read = np.concatenate([batch["embedding"].flatten().to_numpy() for batch in rows.batches(["embedding"])])
    np.testing.assert_array_equal(read, features.pooled["embedding"].combine_chunks().flatten().to_numpy())


def test_columns_come_in_the_order_that_was_asked_for(small: VectorSet):
    first = next(VisibleRows(small.uri).batches(["row", "shard", "image_id"]))
    assert first.schema.names == ["row", "shard", "image_id"]


def test_runs_with_parts_and_without_are_read_together(tmp_path):
    mixed = SmallSet(tmp_path)
    mixed.embed([["a", "b"]])
    mixed.embed([["c"]], carried={"part": {"c": "page=3"}})
    batches = list(VisibleRows(mixed.uri).batches(["image_id", "part"]))
    assert [batch.to_pydict() for batch in batches] == [
        {"image_id": ["a", "b"], "part": [None, None]},
        {"image_id": ["c"], "part": ["page=3"]},
    ]


def test_a_set_on_an_object_store_is_read_as_one_on_disk(small: VectorSet, tmp_path, store: ProxiedBucket):
    for path in (tmp_path / "features").rglob("*"):
        if path.is_file():
            key = f"features/{path.relative_to(small.uri)}"
            store.direct.put_object(Bucket=store.bucket, Key=key, Body=path.read_bytes())
    assert ids_of(VisibleRows(f"s3://{store.bucket}/features")) == ids_of(VisibleRows(small.uri))


def test_no_set_and_an_unsealed_one_are_refused(tmp_path):
    with pytest.raises(FeatureSetError, match="holds no feature set"):
        VisibleRows(str(tmp_path / "nowhere"))
    begun = SmallSet(tmp_path / "begun")
    begun.begin([["a"]])
    with pytest.raises(FeatureSetError, match="is not sealed yet"):
        VisibleRows(begun.uri)
