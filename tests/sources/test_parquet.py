"""Parquet files of images as a source: rows are listed from footers, and read as the images that were put in."""

import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.table import embed_table_storage
from PIL import Image

from pipeline.errors import ConfigError, SourceError
from pipeline.execution.comparison import Comparison
from pipeline.featureset.part import Part
from pipeline.preprocessing import parquet_rows
from pipeline.preprocessing.served_file import ServedFile
from pipeline.sources.opening import UNIQUE_IDS
from pipeline.sources.parquet import ParquetSource
from pipeline.storage.folder import Folder
from pipeline.storage.reading import read_uri

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def served(ref: Mapping[str, Any]) -> ServedFile:
    def read(start: int, end: int) -> bytes:
        return read_uri(ref["uri"], ref["version"], start=start, end=end)

    return ServedFile(f"{ref['version']} {ref['uri']}", ref["size_bytes"], read)


class Asked:
    """What the decoder process would answer, in this process; keeps the questions."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def __call__(self, ref: Mapping[str, Any], kind: str) -> Any:
        self.questions.append(kind)
        return parquet_rows.answer(served(ref), json.loads(kind.removeprefix("parquet ")))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Parquet file of the images `<stem><row>`, with some columns beside them."""

    def written(stem: str, count: int = 3, *, row_group_size: int = 2, **columns: Any) -> Path:
        images = [{"bytes": f"{stem}{row}".encode(), "path": f"{stem}{row}.jpg"} for row in range(count)]
        path = tmp_path / "data" / f"{stem}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"image": pa.array(images, IMAGE), **columns})
        pq.write_table(table, path, row_group_size=row_group_size)
        return path

    return written


def source(place: Path, **options: Any) -> ParquetSource:
    return ParquetSource(str(place), **{"ask": Asked(), **options})


def rows(found: ParquetSource) -> list[dict[str, Any]]:
    batches = list(found.refs())
    assert all(batch.schema.equals(found.schema) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def image(row: Mapping[str, Any]) -> bytes:
    return parquet_rows.image_bytes(served(row), Part.of(row["part"]))


def test_rows_are_the_images_of_all_files_in_order(write, tmp_path: Path):
    write("b", 2)
    path = write("a", 5)
    (tmp_path / "data/README.md").touch()
    found = source(tmp_path / "data")
    listed = rows(found)
    names = [f"a.parquet#{row}" for row in range(5)] + ["b.parquet#0", "b.parquet#1"]
    assert [row["image_id"] for row in listed] == names
    assert [image(row).decode() for row in listed] == [f"a{row}" for row in range(5)] + ["b0", "b1"]
    assert (listed[0]["uri"], listed[0]["size_bytes"]) == (str(path), path.stat().st_size)
    assert listed[4]["part"] == "row=4&column=image.bytes"
    assert found.num_ignored == 1
    assert rows(found) == rows(source(tmp_path / "data")) == listed


def test_without_ids_and_columns_only_footers_are_asked_for(write):
    asked = Asked()
    rows(source(write("a"), ask=asked))
    assert set(asked.questions) == {"parquet {}"}


def test_one_file_is_a_source_and_ids_may_be_a_column(write):
    path = write("a", ids=pa.array([7, 8, 9]), label=pa.array([1, None, 0]))
    found = source(path, id_column="ids")
    assert [(row["image_id"], row["label"]) for row in rows(found)] == [("7", 1), ("8", None), ("9", 0)]
    assert "ids" not in found.schema.names
    assert [row["image_id"] for row in rows(source(path, id_column="image.path"))] == ["a0.jpg", "a1.jpg", "a2.jpg"]
    assert source(path, id_column="ids", columns=("ids",)).schema.names[-1] == "ids"


def test_columns_of_plain_values_are_carried_along_as_far_as_their_names_are_free(write, caplog):
    free = {"label": [0, 1, 2], "caption": ["a", "b", None]}
    not_free = {"shard": ["x"] * 3, "LABEL": [0.5] * 3, "": [1] * 3, "x\ny": [2] * 3}
    path = write("a", **free, **not_free, boxes=[[1]] * 3, wait=pa.array([1, 2, 3], pa.duration("s")))
    with caplog.at_level(logging.WARNING, "pipeline"):
        found = source(path)
        assert found.schema.names[5:] == ["label", "caption"]
    left = "'shard', 'LABEL', '', 'x\\ny'"
    assert caplog.messages == [f"{path}: columns whose names are taken, or no words, are left out: {left}"]
    assert [row["caption"] for row in rows(found)] == ["a", "b", None]
    assert source(path, columns=()).schema.names[5:] == []
    assert source(path, columns=("caption",)).description == {
        "kind": "parquet",
        "uri": str(path),
        "column": "image.bytes",
        "id_column": None,
        "columns": ["caption"],
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"column": "label"},
            "source.column=label has to be one of the columns with bytes, which are: image.bytes, png",
        ),
        ({}, "source.column has to be one of the columns with bytes, which are: image.bytes, png"),
        (
            {"column": "png", "id_column": "score"},
            "source.id_column=score is none of those of text or integers: label, shard, image.path",
        ),
        (
            {"column": "png", "columns": ("shard",)},
            "source.columns=shard is none of those that can be carried: label, score",
        ),
        ({"column": "png", "columns": ("png",)}, "source.columns=png is none of those that can be carried"),
    ],
)
def test_a_column_that_does_not_do_is_an_error_that_lists_those_that_do(write, options, said):
    path = write("a", png=[b"x"] * 3, label=[0] * 3, score=[0.5] * 3, shard=["s"] * 3)
    with pytest.raises(SourceError) as caught:
        _ = source(path, **options).schema
    assert said in str(caught.value)
    assert source(path, column="image").description["column"] == "image.bytes"


def test_a_row_without_an_id_is_a_source_error(write):
    with pytest.raises(SourceError, match=r"row 2 of .*a\.parquet has no name: choose another source\.id_column"):
        rows(source(write("a", name=["x", "y", None]), id_column="name"))


def test_numbers_too_large_for_the_index_are_a_source_error_that_names_them_and_the_way_out(write):
    path = write("a", hash=pa.array([1, 2**63, 2**64 - 1], pa.uint64()), small=pa.array([1, 2, 3], pa.uint64()))
    with pytest.raises(SourceError, match=r"column 'hash' of .*a\.parquet has numbers of .* with source\.columns"):
        rows(source(path))
    assert [row["small"] for row in rows(source(path, columns=("small",)))] == [1, 2, 3]
    ids = [row["image_id"] for row in rows(source(path, id_column="hash"))]
    assert ids == ["1", "9223372036854775808", "18446744073709551615"]


def test_files_that_cannot_be_read_are_a_row_each_that_says_why(write, tmp_path: Path):
    broken = write("a").read_bytes()
    write("b", label=[1, 2, 3])
    write("c", label=["x", "y", "z"])
    write("d")
    (tmp_path / "data/a.parquet").write_bytes(broken[:-30])
    found = rows(source(tmp_path / "data", columns=("label",)))
    damage = {row["image_id"]: Part.of(row["part"]).damage for row in found if "row=" not in row["part"]}
    assert "it cannot be opened as Parquet" in damage["a.parquet"]
    assert damage["c.parquet"] == "its column 'label' is missing, or not of the kind it is of in other files"
    assert list(damage) == ["a.parquet", "c.parquet", "d.parquet"]
    assert [row["label"] for row in found] == [None, 1, 2, 3, None, None]


def test_files_none_of_which_can_be_read_are_a_source_error(tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(SourceError, match=r"none of 1 \.parquet files in .* can be read, the first is a\.parquet: "):
        _ = source(tmp_path).schema
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SourceError, match=r"there are no \.parquet files"):
        source(tmp_path)


def test_more_rows_than_bytes_are_not_believed(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.nulls(2**20, pa.binary())}), path)
    assert path.stat().st_size < 2**20
    with pytest.raises(SourceError, match=r"it claims 1048576 rows in \d+ bytes"):
        _ = source(path).schema


def test_one_id_in_two_files_is_an_error_that_names_both_and_the_way_out(write, tmp_path: Path):
    write("a", name=["x", "y", "z"])
    write("b", name=["z", "v", "w"])
    found = source(tmp_path / "data", id_column="name")
    advice = UNIQUE_IDS["parquet"]
    compared = Comparison.of(Folder(tmp_path / "set"), found.refs(), found.schema, advice=advice)
    with compared as comparison, pytest.raises(ConfigError) as caught:
        list(comparison.to_embed())
    for said in ("'z'", "a.parquet and ", "b.parquet", "without source.id_column"):
        assert said in str(caught.value)


def test_a_hugging_face_data_set_is_read_as_its_images(tmp_path: Path, photographs: dict[str, Path]):
    names = ["coffee.png", "rocket.jpg", "camera.png"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    columns = {"image": [str(photographs[name]) for name in names], "label": [0, 1, 0]}
    data = datasets.Dataset.from_dict(columns, features=features)
    data = data.with_format("arrow").map(embed_table_storage, batched=True)  # as push_to_hub does
    data.to_parquet(str(tmp_path / "train.parquet"))
    listed = rows(source(tmp_path))
    assert [row["label"] for row in listed] == [0, 1, 0]
    for row, name in zip(listed, names, strict=True):
        with Image.open(io.BytesIO(image(row))) as stored, Image.open(photographs[name]) as original:
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(original))
