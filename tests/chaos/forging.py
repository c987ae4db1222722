"""Feature sets that are wrong in one way and consistent otherwise, with digests that fit, to try the oracle on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, Manifest, Record, TableFile
from pipeline.sinks.tables import table_writer, write_table
from pipeline.storage.folder import Folder

Change = Callable[[pa.Table], pa.Table]
RUN = 1


class Forger:
    """Rewrites parts of a sealed feature set of one run.

    Args:
        sink: where it lies, on local disk.
    """

    def __init__(self, sink: Path) -> None:
        self._sink, self._root = sink, Folder(sink)

    @property
    def manifest(self) -> Manifest:
        """The seal."""
        found = catalog.manifest(self._root, RUN)
        assert found is not None
        return found

    def commit(self, unit: int) -> CommitRecord:
        """The commit of a unit."""
        found = catalog.commit_record(self._root, RUN, unit)
        assert found is not None
        return found

    def table(self, kind: str, change: Change) -> None:
        """Puts another table in the place of the index, the shards or the quarantine; the manifest counts its rows."""
        manifest = self.manifest
        old = catalog.read_table(self._root, getattr(manifest, kind))
        new = change(old)
        more = new.num_rows - old.num_rows
        count = {"index": "num_embedded", "quarantine": "num_quarantined"}.get(kind)
        counts = {name: getattr(manifest, name) + more for name in ("num_planned", count) if count and name}
        file = write_table(self._root, paths.run_table(RUN, kind), new)
        self.replace(paths.manifest(RUN), manifest.model_copy(update={kind: file, **counts}))

    def shard(self, unit: int, change: Change) -> None:
        """Puts another shard in the place of a unit's, named by its commit, the table of shards and the index."""
        commit = self.commit(unit)
        assert commit.shard is not None
        old = commit.shard.name
        new = change(pq.read_table(self._sink / old))
        with table_writer(self._root, paths.shard(RUN, unit), new.schema) as writer:
            writer.append(new, row_group_size=1)
        (self._sink / old).unlink()
        self.replace(paths.commit(RUN, unit), commit.model_copy(update={"shard": writer.file}))
        self.table("shards", lambda table: _with_file(table, old, writer.file))
        self.table("index", lambda table: _renamed(table, old, writer.file.name))

    def shard_path(self, unit: int) -> Path:
        """The file of a unit's shard."""
        shard = self.commit(unit).shard
        assert shard is not None
        return self._sink / shard.name

    def copy_commit(self, unit: int, to: int) -> None:
        """A commit of a unit more."""
        more = self.commit(unit).model_copy(update={"unit": to})
        assert self._root.create(paths.commit(RUN, to), more.to_bytes())

    def replace(self, name: str, record: Record) -> None:
        """Puts another record in the place of one."""
        (self._sink / name).unlink()
        assert self._root.create(name, record.to_bytes())


def swapped(column: str) -> Change:
    """The first two rows have each other's value of a column."""

    def change(table: pa.Table) -> pa.Table:
        order = [1, 0, *range(2, table.num_rows)]
        return table.set_column(table.column_names.index(column), table.field(column), table[column].take(order))

    return change


def without_first(table: pa.Table) -> pa.Table:
    """One row less."""
    return table.slice(1)


def with_last_twice(table: pa.Table) -> pa.Table:
    """The last row comes again."""
    return pa.concat_tables([table, table.slice(table.num_rows - 1)])


def with_row(**values: Any) -> Change:
    """One row more, like the first but for these values."""

    def change(table: pa.Table) -> pa.Table:
        row = {**table.slice(0, 1).to_pylist()[0], **values}
        return pa.concat_tables([table, pa.Table.from_pylist([row], schema=table.schema)])

    return change


def with_first(**values: Any) -> Change:
    """The first row has these values."""

    def change(table: pa.Table) -> pa.Table:
        first, *rest = table.to_pylist()
        return pa.Table.from_pylist([{**first, **values}, *rest], schema=table.schema)

    return change


def _with_file(table: pa.Table, old: str, new: TableFile) -> pa.Table:
    facts = {**new.model_dump(exclude={"name"}), "shard": new.name}
    rows = [facts if row["shard"] == old else row for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


def _renamed(table: pa.Table, old: str, new: str) -> pa.Table:
    names = pc.if_else(pc.equal(table["shard"], old), new, table["shard"])
    return table.set_column(table.column_names.index("shard"), table.field("shard"), names)
