"""What a list may hold: a column comes as one of four kinds or is refused by name; rows become refs or are named."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import InputListError
from pipeline.featureset.schema import INDEX, PLAN
from pipeline.sources.image_ref import REFS, store_version
from pipeline.sources.list_columns import MAX_BATCH_BYTES, chosen_columns, refs_of, refs_schema

URIS = pa.array(["a.jpg", "b.jpg"])


def refs(columns: dict[str, pa.Array], first: int = 1) -> list[dict[str, Any]]:
    rows = pa.RecordBatch.from_pydict({"uri": URIS, **columns})
    chosen = chosen_columns(rows.schema, None)
    batch = refs_of(rows, chosen, base="s3://b/list/", first=first)
    assert batch.schema.equals(refs_schema(chosen))
    batch.validate(full=True)
    return batch.to_pylist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["x", None]), ["x", None]),
        (pa.array(["x", "é😀"], pa.large_string()), ["x", "é😀"]),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array(["x", "x"]).dictionary_encode(), ["x", "x"]),
        (pa.array([1, 2], pa.int32()).dictionary_encode(), [1, 2]),
        (pa.array([None, None]), [None, None]),
        (pa.array([-128, None], pa.int8()), [-128, None]),
        (pa.array([2**32 - 1, 0], pa.uint32()), [2**32 - 1, 0]),
        (pa.array([0.5, None], pa.float32()), [0.5, None]),
        (pa.array([0.5, 2], pa.float16()), [0.5, 2]),
        (pa.array([True, None]), [True, None]),
        (pa.array([date(2026, 11, 25), None]), ["2026-11-25", None]),
        (pa.array([datetime(2026, 11, 25, 7, 8, 9, 10), None]), ["2026-11-25 07:08:09.000010", None]),  # noqa: DTZ001
        (pa.array([0, None], pa.timestamp("s", "UTC")), ["1970-01-01 00:00:00Z", None]),
        (pa.array([Decimal("1.50"), None]), ["1.50", None]),
    ],
)
def test_text_numbers_and_truth_come_as_they_are_and_times_and_decimals_as_text(values: pa.Array, expected: list[Any]):
    assert [row["own"] for row in refs({"own": values})] == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary(3),
        pa.list_(pa.string()),
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.string()),
        pa.duration("s"),
        pa.uuid(),
        pa.dictionary(pa.int8(), pa.binary()),
    ],
)
def test_any_other_kind_is_refused_with_how_to_leave_it_out(kind: pa.DataType):
    given = pa.schema([("uri", pa.string()), ("own", kind), ("label", pa.int8())])
    with pytest.raises(InputListError, match=r"column 'own' is of a kind .*leave 'own' out with source\.columns"):
        chosen_columns(given, None)
    assert chosen_columns(given, ["label"]) == {"uri": "text", "label": "integer"}
    assert chosen_columns(given, []) == {"uri": "text"}


@pytest.mark.parametrize(
    "name",
    [
        *sorted({*INDEX.names, *PLAN.names} - {"image_id", "uri", "size_bytes", "version"}),
        *("part", "place", "box_left", "URI", "Image_ID", "Shard", "", "a.b", "a\nb", "\x1b[2J", 'a"b', "x" * 101),
    ],
)
def test_a_name_that_is_taken_or_is_no_word_is_refused(name: str):
    with pytest.raises(InputListError, match=r"source\.columns") as caught:
        chosen_columns(pa.schema([("uri", pa.string()), (name, pa.string())]), None)
    assert str(caught.value).isprintable()


def test_columns_that_are_not_there_or_there_twice_are_refused():
    given = pa.schema([("uri", pa.string()), ("Étiquette 2", pa.string())])
    assert chosen_columns(given, None) == {"uri": "text", "Étiquette 2": "text"}
    with pytest.raises(InputListError, match=r"no column 'label', which source\.columns asks for, only 'uri'"):
        chosen_columns(given, ["label"])
    with pytest.raises(InputListError, match="two columns 'uri'"):
        chosen_columns(pa.schema([("uri", pa.string()), ("uri", pa.string())]), None)
    with pytest.raises(InputListError, match="in capitals alone"):
        chosen_columns(pa.schema([("uri", pa.string()), ("a", pa.string()), ("A", pa.string())]), None)
    with pytest.raises(InputListError, match=r"no column 'uri', only 'c0', .*'c7' and 92 more"):
        chosen_columns(pa.schema([(f"c{number}", pa.string()) for number in range(100)]), None)
    with pytest.raises(InputListError, match="300 columns of its own, 256 are allowed"):
        chosen_columns(pa.schema([(f"c{number}", pa.string()) for number in range(300)] + [("uri", pa.string())]), None)


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("uri", pa.int64(), "text"),
        ("uri", pa.binary(), "text"),
        ("image_id", pa.float64(), "text"),
        ("size_bytes", pa.bool_(), "a number"),
        ("version", pa.list_(pa.int8()), "text"),
    ],
)
def test_a_column_of_refs_of_a_wrong_kind_is_refused(name: str, kind: pa.DataType, wanted: str):
    given = pa.schema({"uri": pa.string()} | {name: kind})
    with pytest.raises(InputListError, match=f"column '{name}' is .*, not {wanted}"):
        chosen_columns(given, None)


def test_relative_names_start_at_the_folder_of_the_list_and_are_ids_as_they_are_written():
    written = ["a.jpg", "./a #1/é.jpg", "../up.jpg", "/abs.jpg", "s3://b/k", "S3A://B/K", "file:///x", "a b:c.jpg"]
    rows = pa.RecordBatch.from_pydict({"uri": written})
    found = refs_of(rows, chosen_columns(rows.schema, None), base="/data/", first=1)
    assert found["image_id"].to_pylist() == written
    assert found["uri"].to_pylist() == [f"/data/{name}" for name in written[:3]] + written[3:7] + ["/data/a b:c.jpg"]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("s3://user:hunter2@b/k", "s3://***@b/k"),
        ("https://hunter2@host/a.jpg", "https://***@host/a.jpg"),
        ("https://user:hunter2/w@host/a.jpg", "https://***@"),
        ("https://user:p@hunter2@host/a.jpg", "https://***@host/a.jpg"),
        ("HTTPS://user:hunter2@host:8443/a.jpg", "HTTPS://***@host:8443/a.jpg"),
        ("https://host:8443/a@2x.jpg", "https://host:8443/a@2x.jpg"),
        ("http://[2001:db8::1]:80/a.jpg", "http://[2001:db8::1]:80/a.jpg"),
        ("az://box@account.blob.core.windows.net/k", "az://box@account.blob.core.windows.net/k"),
        ("abfss://user:hunter2@account.blob.core.windows.net/k", "abfss://***@account.blob.core.windows.net/k"),
    ],
)
def test_no_user_password_or_token_of_a_uri_gets_into_ids_or_uris(written: str, kept: str):
    rows = pa.RecordBatch.from_pydict({"uri": ["a.jpg", written, "s3://b/k"]})
    found = refs_of(rows, chosen_columns(rows.schema, None), base="/data", first=1)
    assert found["image_id"].to_pylist() == ["a.jpg", kept, "s3://b/k"]
    assert found["uri"].to_pylist() == ["/data/a.jpg", kept, "s3://b/k"]
    assert "hunter2" not in str(found.to_pylist())


@pytest.mark.parametrize("page", ["https://host/a.jpg?h=hunter2", "HTTP://host?id=1", "https://host:80/a#b?c"])
def test_a_web_page_with_a_query_needs_an_id_of_its_own(page: str):
    with pytest.raises(InputListError, match=r"row 2 is a web page with a query, .* add a column image_id"):
        refs({"uri": pa.array(["s3://b/a?b", page])})
    (_, row) = refs({"uri": pa.array(["a", page]), "image_id": pa.array(["a", "b"])})
    assert (row["image_id"], row["uri"]) == ("b", page)
    assert refs({"uri": pa.array(["s3://b/a?b", "https://host/a"])})[0]["image_id"] == "s3://b/a?b"


def test_ids_sizes_and_versions_are_taken_where_there_are_any():
    assert refs({})[0] == {"image_id": "a.jpg", "uri": "s3://b/list/a.jpg", "size_bytes": 0, "version": ""}
    columns = {"image_id": pa.array([7, 8]), "size_bytes": pa.array([5.0, None]), "version": pa.array(["v", None])}
    rows = refs(columns)
    assert [(row["image_id"], row["size_bytes"]) for row in rows] == [("7", 5), ("8", 0)]
    assert rows[0]["version"] != rows[1]["version"]
    assert [store_version(row["version"]) for row in rows] == ["", ""], "no store has such a version"
    assert [field.name for field in REFS] == list(rows[0])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"uri": pa.array(["a", None])}, "row 42 has no uri"),
        ({"uri": pa.array(["a", ""])}, "row 42 has no uri"),
        ({"image_id": pa.array(["a", None])}, "row 42 has no image_id"),
        ({"size_bytes": pa.array([1, -1])}, "row 42 has a negative size_bytes"),
        ({"size_bytes": pa.array([1, 1.5])}, "row 42 holds no integer in column 'size_bytes'"),
        ({"own": pa.array([1, 2**63], pa.uint64())}, "row 42 holds no integer in column 'own'"),
        ({"own": pa.array(["", "x" * 65_537])}, "row 42 has over 65536 bytes in column 'own'"),
        ({"own": pa.array([0, None], pa.timestamp("s", "No/Where"))}, "column 'own'"),
    ],
)
def test_a_row_that_cannot_be_taken_is_named(columns: dict[str, pa.Array], said: str):
    with pytest.raises(InputListError, match=said):
        refs(columns, first=41)


def test_more_than_2_kb_a_row_is_refused_by_the_column_that_has_most():
    rows = pa.RecordBatch.from_pydict({"uri": ["a"] * 16_384, "story": ["x" * 2100] * 16_384, "b": [1] * 16_384})
    with pytest.raises(InputListError, match=r"more than 2 kB a row from row 1 on, most in column 'story'"):
        refs_of(rows, chosen_columns(rows.schema, None), base="/", first=1)
    short = rows.set_column(1, "story", pa.array(["x" * 1900] * 16_384))
    assert refs_of(short, chosen_columns(rows.schema, None), base="/", first=1).nbytes < MAX_BATCH_BYTES
