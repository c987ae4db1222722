"""Tables too long for memory, in DuckDB on disk for the length of a block: no id is a Python object.

Memory stays below a bound however many rows there are; what does not fit goes to a temporary file.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.errors import SinkError

_MEMORY = "600MB"
_ROWS_AT_ONCE = 100_000
_BATCHES_AT_ONCE = 8


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="sam2-embed-") as folder:
        connection = duckdb.connect(str(Path(folder) / "scratch.duckdb"))
        try:
            connection.execute(f"SET memory_limit='{_MEMORY}'; SET temp_directory='{folder}'")
            connection.execute("SET preserve_insertion_order=false; SET enable_progress_bar=false")
            yield connection
        except duckdb.Error as error:
            raise SinkError(f"scratch tables in {folder}: {error}; free space there, or set TMPDIR") from error
        finally:
            connection.close()


def create(connection: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema) -> None:
    """Makes an empty table of `schema`, in the place of one of that name."""
    connection.register("shape", schema.empty_table())
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS FROM shape")
    connection.unregister("shape")


def load(connection: duckdb.DuckDBPyConnection, table: str, batches: Iterable[pa.RecordBatch]) -> None:
    """Adds rows to a table: DuckDB pulling them itself would hide their errors, and one transaction holds them all."""
    arriving = iter(batches)
    while together := list(islice(arriving, _BATCHES_AT_ONCE)):
        connection.register("arriving", pa.Table.from_batches(together))
        connection.execute(f"INSERT INTO {table} FROM arriving")
        connection.unregister("arriving")


def rows_of(connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The result of a query in batches of `schema`; others may be asked for while it is read."""
    with connection.cursor() as cursor:  # a result that is read bit by bit keeps its connection busy
        for batch in cursor.sql(query).to_arrow_reader(_ROWS_AT_ONCE):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
