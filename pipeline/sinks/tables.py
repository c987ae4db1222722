"""Parquet files that are hashed while they are written, and appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.featureset.records import TableFile
from pipeline.sinks.hashing import Hashed, Uploading, hashed
from pipeline.storage.folder import Folder


class TableWriter:
    """Appends Arrow tables to one Parquet file; `file` describes it once the writing is over."""

    def __init__(self, name: str, sink: Hashed, schema: pa.Schema) -> None:
        self._name = name
        self._hashed = sink
        self._num_rows = 0
        # Maps hardly compress (8% under zstd) and dictionaries or statistics of them are dead weight.
        self._writer = pq.ParquetWriter(
            self._hashed.sink,
            schema,
            compression={_leaf(field): "none" if _is_map(field) else "zstd" for field in schema},
            use_dictionary=False,
            write_statistics=[_leaf(field) for field in schema if not _is_map(field)],
            write_page_checksum=True,
        )

    def append(self, table: pa.Table, row_group_size: int | None = None) -> None:
        """Writes the rows of `table`, at most `row_group_size` to a row group."""
        self._writer.write_table(table, row_group_size=row_group_size or max(table.num_rows, 1))
        self._num_rows += table.num_rows
        self._hashed.advance()

    def close(self) -> None:
        """Writes the footer."""
        try:
            self._writer.close()
        finally:
            self._hashed.finish()

    @property
    def file(self) -> TableFile:
        """The finished file, as records name it."""
        size_bytes, sha256 = self._hashed.size_bytes, self._hashed.sha256
        return TableFile(name=self._name, num_rows=self._num_rows, size_bytes=size_bytes, sha256=sha256)


@contextmanager
def table_writer(
    root: Folder, name: str, schema: pa.Schema, uploading: Uploading = nullcontext
) -> Iterator[TableWriter]:
    """A writer whose file appears as `name`, synced and whole, when the block ends without an error."""
    with root.writer(name) as stream:
        writer = TableWriter(name, hashed(stream, uploading), schema)
        try:
            yield writer
        finally:
            writer.close()  # after an error too: a writer left open would write into the closed stream one day


def write_table(root: Folder, name: str, table: pa.Table) -> TableFile:
    """Writes a whole table under a name that nobody else has."""
    with table_writer(root, name, table.schema) as writer:
        writer.append(table)
    return writer.file


def _leaf(field: pa.Field) -> str:
    """What Parquet calls the column; a name it does not know is passed over in silence."""
    is_nested = pa.types.is_list(field.type) or isinstance(field.type, pa.FixedShapeTensorType)
    return f"{field.name}.list.element" if is_nested else field.name


def _is_map(field: pa.Field) -> bool:
    return bool(pa.types.is_fixed_size_binary(field.type)) or isinstance(field.type, pa.FixedShapeTensorType)
