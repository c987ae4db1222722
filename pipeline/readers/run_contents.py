"""What each run of a feature set holds for readers: sealed ones by their tables, open ones by their commits."""

from functools import cached_property
from typing import Any

import pyarrow as pa

from pipeline.errors import FeatureSetError
from pipeline.featureset import catalog
from pipeline.featureset.index import index_table, shards_table
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, Manifest, RunRecord
from pipeline.featureset.schema import INDEX, QUARANTINE, index_schema
from pipeline.storage.folder import Folder


class SealedRun:
    """A run that is done, by its manifest; tables are read when they are asked for."""

    is_sealed = True

    def __init__(self, root: Folder, manifest: Manifest) -> None:
        self._root, self._manifest = root, manifest
        self.number, self.fingerprint = manifest.run, manifest.fingerprint

    def index(self, columns: list[str]) -> pa.Table:
        """Some columns of its index."""
        return catalog.read_columns(self._root, self._manifest.index, columns)

    @cached_property
    def index_columns(self) -> list[str]:
        """The columns of its index."""
        with catalog.table_file(self._root, self._manifest.index) as table:
            return list(table.schema_arrow.names)

    @cached_property
    def shards(self) -> pa.Table:
        """Its shards: shard, num_rows, size_bytes, sha256, and how the work on them went."""
        table = catalog.read_table(self._root, self._manifest.shards)
        catalog.require_shard_names(self._root, self._manifest.shards.name, table["shard"])
        return table

    @cached_property
    def quarantine(self) -> pa.Table:
        """Its quarantine."""
        return catalog.read_table(self._root, self._manifest.quarantine)

    def description(self) -> dict[str, Any]:
        """Its manifest, in plain values."""
        return self._manifest.model_dump(mode="json")


class OpenRun:
    """A run that is neither sealed nor abandoned, by those of its units that were committed when it was looked at."""

    is_sealed = False

    def __init__(self, root: Folder, record: RunRecord, commits: list[CommitRecord]) -> None:
        self.number, self.fingerprint = record.run, record.fingerprint
        self._record = record
        self._index = _index(root, record, commits)
        self.shards = shards_table(commits)
        rows = [row.model_dump() for each in commits for row in each.quarantine]
        self.quarantine = pa.Table.from_pylist(rows, schema=QUARANTINE)

    def index(self, columns: list[str]) -> pa.Table:
        """Some columns of what would be its index if it were sealed now."""
        return self._index.select(columns)

    @property
    def index_columns(self) -> list[str]:
        """The columns that its index would have."""
        return list(self._index.column_names)

    def description(self) -> dict[str, Any]:
        """What a manifest would say of it, in plain values; `kind` is `open`."""
        return {
            "kind": "open",
            "run": self.number,
            "fingerprint": self.fingerprint,
            "num_planned": self._record.num_images,
            "num_embedded": self._index.num_rows,
            "num_quarantined": self.quarantine.num_rows,
            "size_bytes": sum(self.shards["size_bytes"].to_pylist()),
        }


Run = SealedRun | OpenRun


def runs_to_read(root: Folder, record: FeatureSetRecord, *, sealed_only: bool) -> list[Run]:
    """The runs whose rows may count, oldest first: sealed ones and, unless not wanted, open ones with a commit.

    Raises:
        FeatureSetError: a run or a commit is of other settings than the feature set; names both fingerprints.
    """
    found = (_run(root, record, number, sealed_only=sealed_only) for number in catalog.run_numbers(root))
    return [run for run in found if run is not None]


def _run(root: Folder, record: FeatureSetRecord, number: int, *, sealed_only: bool) -> Run | None:
    end = catalog.run_end(root, number)
    opened = None
    if end is None and not sealed_only:
        opened = _open_run(root, record, number)
        end = catalog.run_end(root, number)  # it may have ended meanwhile; what an abandoned run committed is nothing
    if isinstance(end, Manifest):
        _require_same(record, end.fingerprint, f"run {number} of {root.uri}")
        return SealedRun(root, end)
    return opened if end is None else None


def _open_run(root: Folder, record: FeatureSetRecord, number: int) -> OpenRun | None:
    commits = catalog.commit_records(root, number)
    for commit in commits:
        _require_same(record, commit.fingerprint, f"unit {commit.unit} of run {number} of {root.uri}")
    return OpenRun(root, catalog.run_record(root, number), commits) if commits else None


def _index(root: Folder, record: RunRecord, commits: list[CommitRecord]) -> pa.Table:
    schema = index_schema(catalog.carried_fields(root, record))
    of_unit = {commit.unit: commit for commit in commits}
    planned = enumerate(catalog.carried_columns(root, record)) if len(schema) > len(INDEX) else ()
    carried = {unit: images for unit, images in planned if unit in of_unit}
    tables = [index_table(commit, carried.get(unit)) for unit, commit in of_unit.items() if commit.shard is not None]
    return pa.concat_tables([schema.empty_table(), *tables])


def _require_same(record: FeatureSetRecord, fingerprint: str, what: str) -> None:
    if fingerprint != record.fingerprint:
        raise FeatureSetError(
            f"{what} is of other settings: its fingerprint is {fingerprint}, that of the feature set "
            f"is {record.fingerprint}"
        )
