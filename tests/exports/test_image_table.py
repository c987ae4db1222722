"""The table of images: a row is found by its id, and read without the others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import ImageNotFoundError
from pipeline.exports.image_table import ImageTable, IndexedImage, write_images
from pipeline.featureset.schema import IMAGE_FIELDS, PART
from tests.vector_set import names


def batch(ids: list[str]) -> pa.RecordBatch:
    sizes = pa.array([len(image_id) for image_id in ids], pa.int32())
    columns = [pa.array(ids), pa.array([f"/data/{image_id}" for image_id in ids]), sizes, sizes]
    schema = pa.schema([*IMAGE_FIELDS, PART])
    return pa.RecordBatch.from_arrays([*columns, pa.nulls(len(ids), PART.type)], schema=schema)


def table(folder: Path, ids: list[str], at_once: int = 7000) -> ImageTable:
    parts = (batch(ids[first : first + at_once]) for first in range(0, len(ids), at_once))
    write_images(folder / "images.parquet", parts)
    return ImageTable(folder / "images.parquet")


@pytest.mark.parametrize("count", [1, 16_383, 16_384, 16_385, 40_000])
def test_every_row_is_found_and_read(count: int, tmp_path: Path):
    images, ids = table(tmp_path, names(count)), names(count)
    assert len(images) == count
    for row in {0, count // 2, count - 1}:
        assert images.find(ids[row]) == row
    assert [each for part in images.ids() for each in part.to_pylist()] == ids


def test_rows_come_in_the_order_asked_for(tmp_path: Path):
    images = table(tmp_path, names(40_000))
    rows = np.array([39_999, 0, 20_000, 0])
    assert [image.image_id for image in images.take(rows)] == [names(1, row)[0] for row in rows.tolist()]
    assert images.take(np.array([5])) == [IndexedImage("photos/00005.jpg", "/data/photos/00005.jpg", 16, 16)]


def test_an_unknown_id_says_what_may_have_been_meant(tmp_path: Path):
    images = table(tmp_path, ["cats/1.jpg", "cats/2.jpg", "é😀.jpg"])
    assert images.find("é😀.jpg") == 2
    with pytest.raises(ImageNotFoundError, match=r"no image 'cat/1.jpg' among 3; did you mean 'cats/1.jpg'"):
        images.find("cat/1.jpg")
    with pytest.raises(ImageNotFoundError, match=r"among 3$"):
        images.find("12345")
