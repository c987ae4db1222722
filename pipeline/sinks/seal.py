"""A run ends: the index, shard and quarantine tables are written, then one manifest makes the run readable.

Only commits are read for it, many at a time; that the shards they name are there is looked up in one listing.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from pipeline.errors import AuditFailedError, FeatureSetError, RunIncompleteError, SinkError, TooManyFailedError
from pipeline.featureset import catalog, paths
from pipeline.featureset.audit import AuditRow, summarise
from pipeline.featureset.index import index_table, shards_table
from pipeline.featureset.records import Abandonment, CommitRecord, Manifest, QuarantineRow, RunRecord
from pipeline.featureset.schema import QUARANTINE, SHARDS, index_schema
from pipeline.sinks.tables import TableWriter, table_writer
from pipeline.storage.entry import FileEntry
from pipeline.storage.folder import Folder
from pipeline.storage.spreading import in_threads

# Rows to a row group of the index, and commits that are on their way at once.
_INDEX_ROWS = 10_000
_NUM_READERS = 32

SHARD_DAMAGED = "ShardDamaged"
_AGAIN = "jobs/repair.py, or run.retry_quarantined=transient, embeds it again"


def seal_run(
    root: Folder,
    run: RunRecord,
    *,
    max_failed_share: float | None = None,
    accept_audit: bool = False,
    damaged_units: frozenset[int] = frozenset(),
) -> Manifest:
    """Seals the run if every unit is committed and every planned image accounted for.

    Args:
        root: the feature set.
        run: the run.
        max_failed_share: quarantined images of the planned ones that are allowed, 0 to 1; None allows all.
        accept_audit: seal even if audited images are further off than their precision explains.
        damaged_units: units whose shards were found damaged; their images are sealed as quarantined, so that a
            later run embeds them again.

    Raises:
        RunIncompleteError: units or images are missing, or the run was abandoned.
        TooManyFailedError: more images are quarantined than allowed; the run stays open.
        AuditFailedError: audited images are too far off; the run stays open.
        FeatureSetError: a committed shard is missing or not what its commit says.
        SinkError, AccessDeniedError: cannot be written.
    """
    standing = catalog.run_end(root, run.run)
    if standing is None:
        accepts = partial(_check, run=run, max_failed_share=max_failed_share, accept_audit=accept_audit)
        standing = _seal(root, run, accepts, damaged_units=damaged_units)
    if standing is None:
        raise SinkError(f"{root.uri_of(paths.manifest(run.run))} was written and is gone; something deletes there")
    if not isinstance(standing, Manifest):
        raise RunIncompleteError(f"run {run.run} of {root.uri} was abandoned; run this command again for a new run")
    return standing


def _seal(
    root: Folder, run: RunRecord, check: Callable[[Manifest], None], *, damaged_units: frozenset[int]
) -> Manifest | Abandonment | None:
    """Writes the tables and creates the manifest; returns the end that stands."""
    try:
        manifest = _write_tables(root, run, _SealedUnits(root, run, damaged_units))
    except FeatureSetError:
        # Once a run has ended, what only it could still name may be cleaned away under a slow writer.
        standing = catalog.run_end(root, run.run)
        if standing is None:
            raise
        return standing
    check(manifest)
    root.create(paths.manifest(run.run), manifest.to_bytes())
    return catalog.run_end(root, run.run)


def _check(manifest: Manifest, *, run: RunRecord, max_failed_share: float | None, accept_audit: bool) -> None:
    check_failed_share(manifest.num_quarantined, run, max_failed_share)
    if manifest.audit is not None and not manifest.audit.passed and not accept_audit:
        raise AuditFailedError(
            f"run {manifest.run} is not sealed, its features are too far off: {manifest.audit.text()}. Look for a "
            "wrong device or driver; run.accept_audit=true seals it as it is, jobs/abandon.py gives it up"
        )


def check_failed_share(num_failed: int, run: RunRecord, max_failed_share: float | None) -> None:
    """Refuses to go on with a run of which more than the allowed share has failed for certain.

    Raises:
        TooManyFailedError: says how many, and what to do.
    """
    if max_failed_share is not None and num_failed and num_failed / run.num_images > max_failed_share:
        raise TooManyFailedError(
            f"{num_failed} of {run.num_images} images of run {run.run} failed, more than "
            f"run.max_failed_share={max_failed_share:g} allows; its commits say why. Run this command with a larger "
            "share, or mend the source and give this run up with jobs/abandon.py"
        )


class _SealedUnits:
    """The commits of a run in the order of the plan, each checked against it."""

    def __init__(self, root: Folder, run: RunRecord, damaged_units: frozenset[int]) -> None:
        self._root, self._run, self._damaged = root, run, damaged_units
        self._sizes = _ShardSizes(root, run)

    def __iter__(self) -> Iterator[tuple[CommitRecord, pa.Table]]:
        """Each commit with what the plan carries for the index: image_id and further columns, one row an image."""
        planned = catalog.carried_columns(self._root, self._run)
        for commit, images in in_threads(self._read, enumerate(planned), _NUM_READERS):
            yield self._checked(commit, images["image_id"]), images

    def _read(self, planned: tuple[int, pa.Table]) -> tuple[CommitRecord, pa.Table]:
        unit, images = planned
        commit = catalog.commit_record(self._root, self._run.run, unit)
        if commit is None:
            raise RunIncompleteError(
                f"unit {unit} of run {self._run.run} is not committed yet; run the same command again"
            )
        return commit, images

    def _checked(self, commit: CommitRecord, planned: pa.ChunkedArray) -> CommitRecord:
        run = self._run.run
        if commit.fingerprint != self._run.fingerprint:
            raise FeatureSetError(f"unit {commit.unit} of run {run} carries the fingerprint of other settings")
        found = [*commit.rows.image_id, *(row.image_id for row in commit.quarantine)]
        wanted = planned.to_pylist()
        if sorted(found) != sorted(wanted):
            raise FeatureSetError(
                f"unit {commit.unit} of run {run} holds {len(found)} images that are not the "
                f"{len(wanted)} planned ones: {_sample(set(found) ^ set(wanted))}"
            )
        if commit.unit in self._damaged:
            return without_shard(commit)
        self._sizes.check(commit)
        return commit


class _ShardSizes:
    """The sizes of a run's shards as the store lists them: the file of a commit must be among them.

    One request for a thousand shards, where asking for each would be one apiece. Names begin with the unit's number,
    so the listing goes along with the commits and nothing is kept.
    """

    def __init__(self, root: Folder, run: RunRecord) -> None:
        self._root, self._folder = root, paths.shards(run.run)
        place = Folder(root.uri_of(self._folder), root.patience_s)
        with catalog.listing_errors(place):
            self._listed = place.files() if place.is_folder() else iter(())
        self._next = self._step()

    def check(self, commit: CommitRecord) -> None:
        """Refuses a commit whose shard is not there whole; commits come in the order of their units.

        Raises:
            FeatureSetError: names the shard.
        """
        of_unit = {}
        while self._next is not None and self._next.name[:9] <= f"{commit.unit:09d}":
            of_unit[f"{self._folder}/{self._next.name}"] = self._next.size_bytes
            self._next = self._step()
        if commit.shard is None or of_unit.get(commit.shard.name) == commit.shard.size_bytes:
            return
        found = of_unit.get(commit.shard.name)
        what = "is missing" if found is None else f"has {found} bytes, its commit says {commit.shard.size_bytes}"
        raise FeatureSetError(
            f"committed shard {self._root.uri_of(commit.shard.name)} {what}; "
            "jobs/repair.py with the overrides of this command embeds its images again"
        )

    def _step(self) -> FileEntry | None:
        with catalog.listing_errors(self._root):
            return next(self._listed, None)


def without_shard(commit: CommitRecord) -> CommitRecord:
    """The commit with its shard's images as quarantined: the shard is damaged."""
    rows = [
        QuarantineRow(
            image_id=image_id,
            uri=uri,
            stage="encode",
            error_class="transient",
            error_type=SHARD_DAMAGED,
            message=f"its shard was damaged before the run was sealed; {_AGAIN}",
        )
        for image_id, uri in zip(commit.rows.image_id, commit.rows.uri, strict=True)
    ]
    return commit.model_copy(update={"shard": None, "audit": (), "quarantine": (*commit.quarantine, *rows)})


def _write_tables(root: Folder, run: RunRecord, units: _SealedUnits) -> Manifest:
    """Writes the three tables of a run in one pass over its commits."""
    record = catalog.feature_set_record(root)
    assert record is not None, "the run was claimed in it"
    with ExitStack() as stack:
        index, shards, quarantine = (
            _Gathering(stack.enter_context(table_writer(root, paths.run_table(run.run, kind), schema)), schema)
            for kind, schema in (
                ("index", index_schema(catalog.carried_fields(root, run))),
                ("shards", SHARDS),
                ("quarantine", QUARANTINE),
            )
        )
        size_bytes = 0
        audited: list[AuditRow] = []
        for commit, planned in units:
            audited += commit.audit
            index.add(index_table(commit, planned))
            quarantine.add(_table([row.model_dump() for row in commit.quarantine], QUARANTINE))
            if commit.shard:
                shards.add(shards_table([commit]))
                size_bytes += commit.shard.size_bytes
        for table in (index, shards, quarantine):
            table.write()
    num_quarantined = quarantine.writer.file.num_rows
    return Manifest(
        run=run.run,
        fingerprint=run.fingerprint,
        num_planned=run.num_images,
        num_embedded=run.num_images - num_quarantined,
        num_quarantined=num_quarantined,
        size_bytes=size_bytes,
        sealed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        index=index.writer.file,
        shards=shards.writer.file,
        quarantine=quarantine.writer.file,
        audit=summarise(audited, record.settings, record.maps),
    )


class _Gathering:
    """Small tables put together until a row group of them is worth reading."""

    def __init__(self, writer: TableWriter, schema: pa.Schema) -> None:
        self.writer, self._schema = writer, schema
        self._waiting: list[pa.Table] = []
        self._num_rows = 0

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._num_rows += table.num_rows
        if self._num_rows >= _INDEX_ROWS:
            self.write()

    def write(self) -> None:
        if self._waiting:
            self.writer.append(pa.concat_tables(self._waiting))
        self._waiting, self._num_rows = [], 0


def _table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _sample(image_ids: set[str]) -> str:
    return ", ".join(sorted(image_ids)[:3]) or "some are there twice"
