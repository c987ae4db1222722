"""Parquet and CSV files of rows, opened for reading in bounded pieces; runs in the process that reads the list."""

import csv
import io
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from pipeline.errors import InputListError
from pipeline.sources.list_columns import MAX_ROWS_AT_ONCE

# What a list's name ends with: its format, and how it is packed.
SUFFIXES = {
    ".parquet": ("parquet", None),
    ".csv": ("csv", None),
    ".csv.gz": ("csv", "gzip"),
    ".csv.zst": ("csv", "zstd"),
}
# What is read of a file at once; each is one request to a store.
READ_BYTES = 4 * 2**20
_BUFFERS_BYTES = 48 * 2**20
# The longest line of a CSV, for a block holds at least one.
_BLOCK_BYTES = 2**20
# Lists whose names differ in a number alone pack to a thirtieth.
_MAX_RATIO, _ALWAYS_ALLOWED_BYTES = 200, 64 * 2**20


class Rows(Protocol):
    """The rows of a list."""

    schema: pa.Schema
    """Its columns."""

    num_rows: int | None
    """How many rows it says it has; None if it does not say."""

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows, some thousands of rows at a time."""
        ...


def suffix_of(name: str) -> str | None:
    """The one of `SUFFIXES` that a name ends with, in any case."""
    return next((each for each in SUFFIXES if name.lower().endswith(each)), None)


def open_rows(stream: io.BufferedReader, suffix: str, size_bytes: int) -> Rows:
    """The rows of a file of `size_bytes`.

    Raises:
        InputListError, ArrowException, OSError: it is not what its name says; so may what is done with it then.
    """
    kind, packing = SUFFIXES[suffix]
    return _ParquetRows(stream) if kind == "parquet" else _CsvRows(_Text(stream, packing, size_bytes))


class _ParquetRows:
    def __init__(self, stream: io.BufferedReader) -> None:
        source = pa.PythonFile(stream, mode="r")
        about = pq.read_metadata(source)
        # Buffered: else a whole column of a row group is read at once, which may be all there is of it.
        buffer_size = min(READ_BYTES, _BUFFERS_BYTES // max(1, about.num_columns))
        options = {"pre_buffer": False, "buffer_size": buffer_size, "page_checksum_verification": True}
        self._file = pq.ParquetFile(source, metadata=about, **options)
        self.schema: pa.Schema = self._file.schema_arrow
        counts = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        if min([about.num_rows, *counts]) < 0 or sum(counts) != about.num_rows:
            raise InputListError(f"is damaged: it claims {about.num_rows} rows, and {sum(counts)} in its row groups")
        self.num_rows: int | None = about.num_rows

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        num_rows = 0
        for batch in self._file.iter_batches(batch_size=MAX_ROWS_AT_ONCE, columns=columns, use_threads=False):
            num_rows += batch.num_rows
            yield batch
        if num_rows != self.num_rows:
            raise InputListError(f"is damaged: it has {num_rows} of the {self.num_rows} rows that it claims")


class _CsvRows:
    num_rows: int | None = None

    def __init__(self, text: "_Text") -> None:
        self._text = io.BufferedReader(text, _BLOCK_BYTES)
        self._unpacked = text
        head = self._text.peek(_BLOCK_BYTES).decode("utf-8-sig", "replace")
        try:
            names = next(csv.reader(io.StringIO(head, newline="")), [])
        except csv.Error as error:
            raise InputListError(f"has no readable first line of column names: {error}") from None
        if not names:
            raise InputListError("is empty; its first line must name the columns")
        self.schema = pa.schema([(name, pa.string()) for name in names])

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        first, odd = 1, list[arrow_csv.InvalidRow]()

        def note(row: arrow_csv.InvalidRow) -> str:
            odd.append(row)
            return "error"

        try:
            # As bytes: that they are text is looked at later, row by row.
            reader = arrow_csv.open_csv(
                pa.PythonFile(self._text, mode="r"),
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
                convert_options=arrow_csv.ConvertOptions(
                    check_utf8=False,
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.binary()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                first += batch.num_rows
                yield from _pieces(batch)
        except pa.ArrowInvalid as error:
            self._unpacked.require_sound()
            if odd:
                counts = f"{odd[0].actual_columns} values for {odd[0].expected_columns} columns"
                raise InputListError(f"row {odd[0].number - 1} has {counts}") from None
            if "straddling" in str(error):
                what = f"a line of more than {_BLOCK_BYTES} bytes, or a quote that is left open"
                raise InputListError(f"has {what}, in row {first} or after it") from None
            raise
        self._unpacked.require_sound()


class _Text(io.RawIOBase):
    """The text of a file that may be packed; ends where it gets too long."""

    def __init__(self, stream: io.BufferedReader, packing: str | None, size_bytes: int) -> None:
        file = pa.PythonFile(stream, mode="r")
        self._stream = pa.CompressedInputStream(file, packing) if packing else file
        self._left_bytes = _MAX_RATIO * size_bytes + _ALWAYS_ALLOWED_BYTES
        self._num_quotes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer)) if self._left_bytes >= 0 else b""
        self._left_bytes -= len(data)
        self._num_quotes += data.count(b'"')
        buffer[: len(data)] = data
        return len(data)

    def require_sound(self) -> None:
        """Refuses what was read if it was too long, or ended within quotes, which Arrow does not mind."""
        if self._left_bytes < 0:
            raise InputListError(
                f"unpacks to more than {_MAX_RATIO} times its size; unpack it yourself if that is right"
            )
        if self._num_quotes % 2:
            raise InputListError('has an odd number of double quotes ("): one is left open')


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, MAX_ROWS_AT_ONCE):
        yield batch.slice(start, MAX_ROWS_AT_ONCE)
