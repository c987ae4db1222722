"""The shards a run should have, with their rows of the index: from its tables once it is sealed, before from commits.

The index lists the rows of a shard next to each other and the shards in the order of the shards table, so both stream
past side by side and nothing is looked up.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np
import pyarrow as pa

from pipeline.featureset import catalog
from pipeline.featureset.index import index_table
from pipeline.featureset.records import CommitRecord, Manifest, TableFile
from pipeline.featureset.schema import SHARD_FILE
from pipeline.maintenance.shard_check import ExpectedShard
from pipeline.storage.folder import Folder

_SHARDS_AT_ONCE = 1024
_INDEX_ROWS_AT_ONCE = 4096


def shards_of_tables(root: Folder, manifest: Manifest, *, with_rows: bool) -> Iterator[ExpectedShard]:
    """The shards of a sealed run; their rows are None where the index has them in another order.

    Raises:
        FeatureSetError: the tables are damaged.
    """
    with ExitStack() as stack:
        shards = stack.enter_context(catalog.table_file(root, manifest.shards))
        groups: Iterator[tuple[str, pa.Table]] = iter(())
        if with_rows:
            index = stack.enter_context(catalog.table_file(root, manifest.index))
            groups = _by_shard(index.iter_batches(batch_size=_INDEX_ROWS_AT_ONCE))
        head = next(groups, None)
        for batch in shards.iter_batches(batch_size=_SHARDS_AT_ONCE, columns=SHARD_FILE):
            for row in batch.to_pylist():
                name = row.pop("shard")
                rows = head[1] if head is not None and head[0] == name else None
                head = next(groups, None) if rows is not None else head
                yield ExpectedShard(TableFile(name=name, **row), rows)


def shards_of_commits(commits: Iterable[CommitRecord]) -> Iterator[ExpectedShard]:
    """The shards that the commits of an open run name."""
    for commit in commits:
        if commit.shard is not None:
            yield ExpectedShard(commit.shard, index_table(commit))


def _by_shard(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """The rows cut where the shard changes, which may be anywhere in a batch."""
    name, parts = "", list[pa.RecordBatch]()
    for batch in batches:
        shards = batch["shard"].dictionary_encode().indices.to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], len(batch)], strict=True):
            part = batch.slice(start, end - start)
            if parts and part["shard"][0].as_py() != name:
                yield name, pa.Table.from_batches(parts)
                parts = []
            name = part["shard"][0].as_py()
            parts.append(part)
    if parts:
        yield name, pa.Table.from_batches(parts)
