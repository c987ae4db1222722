"""The books of one run in a scratch database: what is planned, what is accounted for, and which shards hold it.

Nothing here reads a feature set; rows are entered as they stream by, and questions about all of them are asked in SQL.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.featureset.records import CommitRecord
from pipeline.maintenance.scratch import create, load
from pipeline.storage.entry import FileEntry

T = TypeVar("T")

_SHARD = [("shard", pa.string()), ("num_rows", pa.int64()), ("size_bytes", pa.int64()), ("sha256", pa.string())]
_TABLES = {
    "planned": pa.schema([("image_id", pa.string()), ("unit", pa.int32())]),
    "found": pa.schema([("image_id", pa.string()), ("shard", pa.string())]),
    "shards": pa.schema(_SHARD),
    "commits": pa.schema([("unit", pa.int32()), *_SHARD]),
    "listed": pa.schema([("shard", pa.string()), ("size_bytes", pa.int64())]),
}
_ROWS_AT_ONCE = 10_000

_ODD_IDS = {
    "planned twice": "SELECT image_id FROM planned GROUP BY image_id HAVING count(*) > 1",
    "embedded or quarantined twice": "SELECT image_id FROM found GROUP BY image_id HAVING count(*) > 1",
    "planned, but neither embedded nor quarantined": "SELECT image_id FROM planned ANTI JOIN found USING (image_id)",
    "embedded or quarantined, but not planned": "SELECT image_id FROM found ANTI JOIN planned USING (image_id)",
}
_UNEVEN_SHARDS = """
WITH indexed AS (SELECT shard, count(*) AS num_rows FROM found WHERE shard IS NOT NULL GROUP BY shard)
SELECT shard, indexed.num_rows, shards.num_rows FROM indexed FULL JOIN shards USING (shard)
WHERE indexed.num_rows IS DISTINCT FROM shards.num_rows ORDER BY shard
"""
# A shard is of the unit that its name begins with; units that were given up when the run was sealed have no shard here.
_OTHERWISE_COMMITTED = """
WITH own AS (
    SELECT *, regexp_extract(shard, '/([0-9]+)-[^/]*$', 1)::INT AS unit FROM shards WHERE starts_with(shard, ?)
)
SELECT unit, own.shard FROM commits JOIN own USING (unit)
WHERE (commits.shard, commits.num_rows, commits.size_bytes, commits.sha256)
    IS DISTINCT FROM (own.shard, own.num_rows, own.size_bytes, own.sha256)
ORDER BY unit
"""
_WRONG_SIZES = """
SELECT shard, shards.size_bytes, listed.size_bytes FROM shards LEFT JOIN listed USING (shard)
WHERE listed.size_bytes IS DISTINCT FROM shards.size_bytes ORDER BY shard
"""


class Ledger:
    """The books, empty at first.

    Args:
        scratch: where they are kept; those of a run before are closed.
    """

    def __init__(self, scratch: duckdb.DuckDBPyConnection) -> None:
        self._scratch = scratch
        for table, schema in _TABLES.items():
            create(scratch, table, schema)

    def enter(self, kind: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Rows of a table: `plan` (unit, image_id), `index` (image_id, shard), `quarantine` (image_id) or `shards`.

        Args:
            kind: of the table.
            batches: these columns of it, or more.
        """
        table, convert = _ENTRIES[kind]
        load(self._scratch, table, (_batch(table, *convert(each)) for each in batches))

    def enter_commits(self, commits: Iterable[CommitRecord]) -> None:
        """The commits of a run."""
        for some in _several(commits, 100):
            load(self._scratch, "commits", [_rows("commits", [(each.unit, *_shard(each)) for each in some])])

    def enter_as_tables(self, commits: Iterable[CommitRecord]) -> None:
        """The commits of an open run, whose tables are not written yet: they say what index and quarantine will."""
        for some in _several(commits, 100):
            load(self._scratch, "shards", [_rows("shards", [_shard(each) for each in some if each.shard])])
            load(self._scratch, "found", [_rows("found", [row for each in some for row in _images(each)])])

    def forget_all_but(self, units: Iterable[int]) -> None:
        """Strikes the plan's other units out: an open run has nothing to show for them yet."""
        self._scratch.register("done", pa.table({"unit": pa.array(units, pa.int32())}))
        self._scratch.execute("DELETE FROM planned WHERE unit NOT IN (FROM done)")

    def enter_listing(self, folder: str, entries: Iterable[FileEntry]) -> None:
        """What really lies in a folder of shards."""
        for some in _several(entries, _ROWS_AT_ONCE):
            rows = [(f"{folder}/{entry.name}", entry.size_bytes) for entry in some]
            load(self._scratch, "listed", [_rows("listed", rows)])

    def odd_ids(self) -> Iterator[tuple[str, int, list[str]]]:
        """What is wrong with ids: in words, how many, and the first three."""
        for words, query in _ODD_IDS.items():
            odd = self._scratch.sql(query)
            [(count,)] = odd.count("*").fetchall()
            if count:
                yield words, count, [image_id for (image_id,) in odd.order("image_id").limit(3).fetchall()]

    def uneven_shards(self) -> list[tuple[str, int | None, int | None]]:
        """Shards of which index and shards table say otherwise: name, rows in the index, rows in the table."""
        return self._all(_UNEVEN_SHARDS)

    def otherwise_committed(self, folder: str) -> list[tuple[int, str]]:
        """Units whose commit says of their shard in `folder` what the shards table does not, and the shard."""
        return self._all(_OTHERWISE_COMMITTED, f"{folder}/")

    def shard_folders(self) -> list[str]:
        """The folders in which the shards lie."""
        return [name for (name,) in self._all("SELECT DISTINCT regexp_replace(shard, '/[^/]*$', '') FROM shards")]

    def wrong_sizes(self) -> list[tuple[str, int, int | None]]:
        """Shards that are not there whole: name, bytes they should have, bytes that are there (None: missing)."""
        return self._all(_WRONG_SIZES)

    def num_planned(self) -> int:
        """Images of the plan."""
        return int(self._all("SELECT count(*) FROM planned")[0][0])

    def num_images(self) -> tuple[int, int]:
        """Images that are embedded, and that are quarantined."""
        [(embedded, quarantined)] = self._all("SELECT count(shard), count(*) - count(shard) FROM found")
        return embedded, quarantined

    def shard_bytes(self) -> tuple[int, int, int]:
        """How many shards there are, their bytes, and those of the largest."""
        [(count, total, largest)] = self._all(
            "SELECT count(*), coalesce(sum(size_bytes), 0)::INT64, coalesce(max(size_bytes), 0) FROM shards"
        )
        return count, total, largest

    def _all(self, query: str, *values: str) -> list[Any]:
        return self._scratch.execute(query, values or None).fetchall()


def _several(items: Iterable[T], count: int) -> Iterator[list[T]]:
    items = iter(items)
    while some := list(islice(items, count)):
        yield some


def _planned(units: pa.RecordBatch) -> list[pa.Array]:
    ids = units["image_id"]
    return [ids.flatten(), units["unit"].take(pc.list_parent_indices(ids))]


_ENTRIES: dict[str, tuple[str, Callable[[pa.RecordBatch], list[pa.Array]]]] = {
    "plan": ("planned", _planned),
    "index": ("found", lambda rows: [rows["image_id"], rows["shard"]]),
    "quarantine": ("found", lambda rows: [rows["image_id"], pa.nulls(len(rows))]),
    "shards": ("shards", lambda rows: [rows[name] for name, _ in _SHARD]),
}


def _shard(commit: CommitRecord) -> tuple[str | None, int | None, int | None, str | None]:
    file = commit.shard
    return (file.name, file.num_rows, file.size_bytes, file.sha256) if file else (None, None, None, None)


def _images(commit: CommitRecord) -> Iterator[tuple[str, str | None]]:
    yield from ((image_id, commit.shard.name) for image_id in commit.rows.image_id if commit.shard)
    yield from ((row.image_id, None) for row in commit.quarantine)


def _batch(table: str, *columns: pa.Array) -> pa.RecordBatch:
    schema = _TABLES[table]
    return pa.record_batch([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _rows(table: str, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [[] for _ in _TABLES[table]]
    return _batch(
        table, *(pa.array(list(column), field.type) for column, field in zip(columns, _TABLES[table], strict=True))
    )
