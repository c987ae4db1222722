"""A run comes to be and ends: its plan is written under a name of its own, then its number is claimed if absent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pyarrow as pa

from pipeline.errors import RunConflictError, RunIncompleteError
from pipeline.featureset import catalog, paths
from pipeline.featureset.fingerprint import differences
from pipeline.featureset.records import Abandonment, Manifest, RunRecord, TableFile
from pipeline.featureset.schema import PLAN
from pipeline.sinks.tables import table_writer
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class Listing:
    """What a listing of the source showed besides images to embed: its digest, and a table of ids that are gone."""

    digest: str | None = None
    removed: TableFile | None = None


NO_LISTING = Listing()


def standing_run(root: Folder) -> RunRecord | None:
    """The last run if it is open; None when every run is sealed or abandoned."""
    runs = catalog.run_numbers(root)
    if not runs or catalog.run_end(root, runs[-1]) is not None:
        return None
    return catalog.run_record(root, runs[-1])


def open_run(root: Folder, source: Mapping[str, Any]) -> RunRecord | None:
    """The last run if it is open; None when there is no open run.

    Raises:
        RunConflictError: the open run embeds another source.
    """
    record = standing_run(root)
    if record is not None and record.source != dict(source):
        changes = "; ".join(differences(record.source, source))
        raise RunConflictError(
            f"run {record.run} of {root.uri} is not finished and embeds another source ({changes}): finish it with its "
            f"own command, or give it up with jobs/abandon.py sink.uri={root.uri} run={record.run}, "
            "or use another sink.uri"
        )
    return record


def next_run(root: Folder) -> int:
    """The number to claim for a run that is about to be planned."""
    return max(catalog.run_numbers(root), default=0) + 1


def claim_run(
    root: Folder,
    *,
    run: int,
    fingerprint: str,
    source: Mapping[str, Any],
    plan: Iterable[pa.Table],
    images_per_unit: int,
    listing: Listing = NO_LISTING,
) -> RunRecord:
    """Writes the plan and claims its run number; of two claims at once one wins and both get it.

    Args:
        root: the feature set.
        run: from `next_run` before the planning began, so that a run begun meanwhile is met here, not doubled.
        fingerprint: of the feature set.
        source: what makes two sources the same.
        plan: one row a unit, a few thousand to a table; each table becomes a row group.
        images_per_unit: of every unit but the last.
        listing: what else the source showed.

    Raises:
        RunConflictError: another command has begun this run for another source.
        RunIncompleteError: another command has begun and sealed it meanwhile, so this plan is out of date.
        SinkError, AccessDeniedError: cannot be written.
    """
    num_images, tables = 0, iter(plan)
    first = next(tables, PLAN.empty_table())
    with table_writer(root, paths.run_table(run, "plan"), first.schema) as writer:
        for units in chain([first], tables):
            writer.append(units)
            num_images += int(pa.compute.sum(pa.compute.list_value_length(units["image_id"])).as_py() or 0)
    record = RunRecord(
        run=run,
        fingerprint=fingerprint,
        source=dict(source),
        plan=writer.file,
        num_images=num_images,
        num_units=writer.file.num_rows,
        images_per_unit=images_per_unit,
        listing=listing.digest,
        removed=listing.removed,
    )
    if root.create(paths.run_record(run), record.to_bytes()):
        return record
    standing = open_run(root, source)
    if standing is None:
        raise RunIncompleteError(f"run {run} of {root.uri} was begun and ended by another command; run this one again")
    return standing


def abandon_run(root: Folder, run: int) -> Manifest | Abandonment:
    """Ends an open run without sealing it; what it committed counts for nothing. Returns how the run ended.

    Raises:
        FeatureSetError: there is no such run.
        SinkError, AccessDeniedError: cannot be written.
    """
    catalog.run_record(root, run)
    abandoned_at = datetime.now(UTC).isoformat(timespec="seconds")
    end = Abandonment(run=run, token=paths.token(), abandoned_at=abandoned_at)
    if root.create(paths.manifest(run), end.to_bytes()):
        return end
    standing = catalog.run_end(root, run)
    assert standing is not None, "it was there a moment ago, and nothing deletes it"
    return standing
