"""A run ends: the index, shard and quarantine tables are written, then one manifest makes the run readable."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import FeatureSetError, RunIncompleteError, SinkError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, Manifest, RunRecord, TableFile
from pipeline.featureset.schema import EMBEDDING, IMAGE_FIELDS, INDEX, QUARANTINE, SHARDS
from pipeline.sinks.tables import table_writer, write_table
from pipeline.storage import Folder

# Rows to a row group of the index.
_INDEX_ROWS = 10_000


def seal_run(root: Folder, run: RunRecord) -> Manifest:
    """Seals the run if every unit is committed and every planned image accounted for.

    Raises:
        RunIncompleteError: units or images are missing.
        FeatureSetError: a committed shard is missing or not what its commit says.
        SinkError, AccessDeniedError: cannot be written.
    """
    commits = [_commit(root, run, unit) for unit in range(run.num_units)]
    shards = [commit.shard for commit in commits if commit.shard]
    quarantine = [row.model_dump() for commit in commits for row in commit.quarantine]
    tables: dict[str, Any] = {
        "index": _write_index(root, run, commits),
        "shards": write_table(root, paths.run_table(run.run, "shards"), _shards_table(shards)),
        "quarantine": write_table(
            root, paths.run_table(run.run, "quarantine"), pa.Table.from_pylist(quarantine, schema=QUARANTINE)
        ),
    }
    manifest = Manifest(
        run=run.run,
        fingerprint=run.fingerprint,
        num_planned=run.num_images,
        num_embedded=run.num_images - len(quarantine),
        num_quarantined=len(quarantine),
        size_bytes=sum(shard.size_bytes for shard in shards),
        sealed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **tables,
    )
    root.create(paths.manifest(run.run), manifest.to_bytes())
    standing = catalog.manifest(root, run.run)
    if standing is None:
        raise SinkError(f"{root.uri_of(paths.manifest(run.run))} was written and is gone; something deletes there")
    return standing


def _commit(root: Folder, run: RunRecord, unit: int) -> CommitRecord:
    commit = catalog.commit_record(root, run.run, unit)
    if commit is None:
        raise RunIncompleteError(f"unit {unit} of run {run.run} is not committed yet; run the same command again")
    if commit.fingerprint != run.fingerprint:
        raise FeatureSetError(f"unit {unit} of run {run.run} carries the fingerprint of other settings")
    return commit


def _shards_table(shards: list[TableFile]) -> pa.Table:
    rows = [shard.model_dump() for shard in shards]
    return pa.Table.from_pylist([{**row, "shard": row["name"]} for row in rows], schema=SHARDS)


def _write_index(root: Folder, run: RunRecord, commits: list[CommitRecord]) -> TableFile:
    planned = catalog.read_table(root, run.plan, ["image_id"])["image_id"]
    with table_writer(root, paths.run_table(run.run, "index"), INDEX) as writer:
        for rows in _index_rows(root, zip(commits, planned, strict=True)):
            writer.append(rows)
    return writer.file


def _index_rows(root: Folder, units: Iterable[tuple[CommitRecord, pa.ListScalar]]) -> Iterator[pa.Table]:
    """The index rows of every shard, a few thousand to a table so that row groups are worth reading."""
    waiting: list[pa.Table] = []
    for commit, planned in units:
        rows = _rows_of(root, commit.shard) if commit.shard else INDEX.empty_table()
        found = [*rows["image_id"].to_pylist(), *(row.image_id for row in commit.quarantine)]
        if sorted(found) != sorted(planned.as_py()):
            raise FeatureSetError(
                f"unit {commit.unit} of run {commit.run} holds {len(found)} images that are not the "
                f"{len(planned)} planned ones: {_sample(set(found) ^ set(planned.as_py()))}"
            )
        waiting.append(rows)
        if sum(table.num_rows for table in waiting) >= _INDEX_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _sample(image_ids: set[str]) -> str:
    return ", ".join(sorted(image_ids)[:3]) or "some are there twice"


def _rows_of(root: Folder, shard: TableFile) -> pa.Table:
    columns = [*(field.name for field in IMAGE_FIELDS), EMBEDDING.name]
    try:
        with root.open(shard.name) as stream:
            found = pq.ParquetFile(stream, page_checksum_verification=True).read(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise FeatureSetError(f"committed shard {root.uri_of(shard.name)} cannot be read: {error}") from None
    if found.num_rows != shard.num_rows:
        raise FeatureSetError(
            f"committed shard {root.uri_of(shard.name)} has {found.num_rows} rows, its commit says {shard.num_rows}"
        )
    located = {
        "shard": pa.array([shard.name] * found.num_rows, pa.string()),
        "row": pa.array(range(found.num_rows), pa.int32()),
    }
    arrays = [located[field.name] if field.name in located else found[field.name] for field in INDEX]
    return pa.Table.from_arrays(arrays, schema=INDEX)
