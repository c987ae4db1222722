"""What a source lists now against what sealed runs hold, compared by DuckDB on disk: no id is a Python object.

Memory stays below a bound however many images there are; what does not fit goes to a temporary file.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ConfigError
from pipeline.featureset import catalog
from pipeline.featureset.records import Manifest
from pipeline.featureset.schema import REMOVED
from pipeline.sources.image_ref import REFS
from pipeline.storage.folder import Folder

_MEMORY = "1GB"
_ROWS_AT_ONCE = 100_000

_KNOWN = pa.schema([("image_id", pa.string()), ("version", pa.string()), ("run", pa.int32())])
_FAILED = pa.schema([("image_id", pa.string()), ("run", pa.int32())])
_CLASSES = {"none": [], "transient": ["transient"], "all": ["transient", "permanent"]}


class Comparison:
    """The listing of a source beside the last state of every image in a feature set."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def of(cls, root: Folder, refs: Iterable[pa.RecordBatch], retry_quarantined: str = "none") -> Iterator[Self]:
        """The comparison, for the length of the block.

        Args:
            root: the feature set.
            refs: what the source lists.
            retry_quarantined: which quarantined images count as new: `none`, `transient` or `all`.

        Raises:
            ConfigError: two images share an id.
        """
        sealed = catalog.sealed_runs(root)
        with tempfile.TemporaryDirectory(prefix="sam2-embed-plan-") as folder:
            connection = duckdb.connect(str(Path(folder) / "plan.duckdb"))
            try:
                settings = f"memory_limit='{_MEMORY}'; SET temp_directory='{folder}'"
                connection.execute(f"SET {settings}; SET preserve_insertion_order=false; SET enable_progress_bar=false")
                _load(connection, "listed", REFS, refs)
                _load(connection, "known", _KNOWN, _planned(root, sealed))
                _load(connection, "failed", _FAILED, _failed(root, sealed, _CLASSES[retry_quarantined]))
                _require_unique(connection)
                connection.execute(_LAST_STATE)
                yield cls(connection)
            finally:
                connection.close()

    def to_embed(self) -> Iterator[pa.RecordBatch]:
        """The refs of all images that are new or changed, or are to be tried again; in the order of their ids."""
        yield from self._batches(_TO_EMBED, REFS)

    def removed(self) -> Iterator[pa.RecordBatch]:
        """The ids that sealed runs hold and the source does not list any more, in order."""
        yield from self._batches(_GONE, REMOVED)

    def _batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self._connection.sql(query).to_arrow_reader(_ROWS_AT_ONCE):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


# For an image in several runs the last one counts.
_LAST_STATE = """
CREATE TABLE state AS SELECT image_id, arg_max(version, run) AS version, max(run) AS run FROM known GROUP BY image_id;
CREATE TABLE retried AS SELECT image_id FROM failed SEMI JOIN state USING (image_id, run);
"""
_TO_EMBED = """
SELECT listed.image_id, uri, size_bytes, listed.version FROM listed LEFT JOIN state USING (image_id)
WHERE state.version IS NULL OR state.version != listed.version OR image_id IN (FROM retried) ORDER BY listed.image_id
"""
_GONE = "SELECT image_id FROM state ANTI JOIN listed USING (image_id) ORDER BY image_id"


def _load(
    connection: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Fills a table batch by batch: DuckDB pulling them itself would hide their errors and hold back signals."""
    connection.register("arriving", schema.empty_table())
    connection.execute(f"CREATE TABLE {table} AS FROM arriving; BEGIN")
    for batch in batches:
        connection.register("arriving", pa.Table.from_batches([batch]))
        connection.execute(f"INSERT INTO {table} FROM arriving")
    connection.execute("COMMIT")
    connection.unregister("arriving")


def _planned(root: Folder, sealed: list[Manifest]) -> Iterator[pa.RecordBatch]:
    """Every id with its version, run by run."""
    for manifest in sealed:
        with catalog.table_file(root, catalog.run_record(root, manifest.run).plan) as plan:
            for units in plan.iter_batches(batch_size=4096, columns=["image_id", "version"]):
                ids, versions = units["image_id"].flatten(), units["version"].flatten()
                yield pa.record_batch([ids, versions, _run(manifest, len(ids))], schema=_KNOWN)


def _failed(root: Folder, sealed: list[Manifest], classes: list[str]) -> Iterator[pa.RecordBatch]:
    """The quarantined ids of some error classes, run by run."""
    for manifest in sealed if classes else []:
        with catalog.table_file(root, manifest.quarantine) as table:
            for rows in table.iter_batches(columns=["image_id", "error_class"]):
                ids = rows["image_id"].filter(pc.is_in(rows["error_class"], pa.array(classes)))
                yield pa.record_batch([ids, _run(manifest, len(ids))], schema=_FAILED)


def _run(manifest: Manifest, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(manifest.run, pa.int32()), count)


def _require_unique(connection: duckdb.DuckDBPyConnection) -> None:
    twice = connection.execute("SELECT image_id FROM listed GROUP BY image_id HAVING count(*) > 1 LIMIT 1").fetchone()
    if twice:
        raise ConfigError(f"two images have the id {twice[0]!r}; ids must be unique within a feature set")
