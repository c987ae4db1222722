"""Files of rows, read in bounded pieces: the same rows whatever the format, and no more of the file than is wanted."""

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputListError
from pipeline.sources.list_columns import MAX_ROWS_AT_ONCE
from pipeline.sources.list_formats import READ_BYTES, SUFFIXES, open_rows, suffix_of


class CountingFile(io.FileIO):
    """A file that knows how many bytes of it were read, and the most at once."""

    num_bytes = at_once = 0

    def readinto(self, buffer) -> int:
        count = super().readinto(buffer) or 0
        self.num_bytes, self.at_once = self.num_bytes + count, max(self.at_once, count)
        return count


def read(path: Path, columns: list[str]) -> tuple[list[dict], CountingFile, int]:
    """The rows, what was read for them, and the most rows that came at once."""
    file = CountingFile(path)
    suffix = suffix_of(path.name)
    assert suffix is not None
    rows = open_rows(io.BufferedReader(file, READ_BYTES), suffix, path.stat().st_size)
    batches = list(rows.batches(columns))
    found = pa.Table.from_batches(batches).to_pylist() if batches else []
    return found, file, max((batch.num_rows for batch in batches), default=0)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.parquet", ".parquet"), ("A.CSV", ".csv"), ("a.csv.gz", ".csv.gz"), ("a.b.csv.zst", ".csv.zst")]
    + [(name, None) for name in ("a", "a.zip", "a.csv.zip", "a.gz", "a.txt", "csv", "a.parquet.gz")],
)
def test_a_name_tells_the_format(name: str, suffix: str | None):
    assert suffix_of(name) == suffix
    assert suffix is None or suffix in SUFFIXES


def test_rows_come_in_pieces_of_thousands_in_their_order(tmp_path: Path):
    numbers = [str(number) for number in range(3 * MAX_ROWS_AT_ONCE + 5)]
    pq.write_table(pa.table({"uri": numbers, "b": numbers}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("".join(f"{number},b{number}\n" for number in ["uri", *numbers]))
    for name in ("a.parquet", "a.csv"):
        rows, _, at_once = read(tmp_path / name, ["uri"])
        found = [row["uri"] if isinstance(row["uri"], str) else row["uri"].decode() for row in rows]
        assert (found, at_once <= MAX_ROWS_AT_ONCE) == (numbers, True), name


def test_of_a_parquet_only_wanted_columns_are_read_and_never_a_whole_row_group(tmp_path: Path):
    texts = [f"{number * 7919 % 1_000_003:020d}" for number in range(300_000)]
    table = pa.table({"uri": texts, "big": pa.array([text * 10 for text in texts[:30_000]] * 10)})
    pq.write_table(table, tmp_path / "a.parquet", compression=None, row_group_size=10**6, use_dictionary=False)
    rows, file, _ = read(tmp_path / "a.parquet", ["uri"])
    assert len(rows) == len(texts)
    assert file.at_once <= READ_BYTES < 20 * len(texts)
    assert file.num_bytes < 2 * 24 * len(texts)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"uri,b\r\n1,2\r\n", [{"uri": b"1", "b": b"2"}]),
        (b"\xef\xbb\xbfuri,b\n1,2", [{"uri": b"1", "b": b"2"}]),
        (b'"uri","b"\n"a ""q"", b","x\ny"\n', [{"uri": b'a "q", b', "b": b"x\ny"}]),
        (b'uri,b\n\n1,\n\n2,""\n', [{"uri": b"1", "b": None}, {"uri": b"2", "b": b""}]),
        (b"uri,b\n \xc3\xa9 ,\x00\n", [{"uri": " é ".encode(), "b": b"\0"}]),
        (b"uri,b\n", []),
    ],
)
def test_text_is_read_as_it_is(tmp_path: Path, text: bytes, rows: list[dict]):
    for name, data in (("a.csv", text), ("a.csv.gz", gzip.compress(text[:7]) + gzip.compress(text[7:]))):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name, ["uri", "b"])[0] == rows, name


@pytest.mark.parametrize("text", [b"\n", b'"' + b"x" * 2**18, b'"uri\n' + b"a\n" * 2**20])
def test_a_first_line_that_names_no_columns_is_refused(tmp_path: Path, text: bytes):
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises((InputListError, pa.ArrowException)):
        read(tmp_path / "a.csv", ["uri"])


def test_a_parquet_without_rows_has_none(tmp_path: Path):
    pq.write_table(pa.table({"uri": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", ["uri"])[0] == []
