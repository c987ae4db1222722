"""A run comes to be: its plan is written under a name of its own, then its number is claimed create-if-absent."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.errors import RunConflictError, RunIncompleteError
from pipeline.featureset import catalog, paths
from pipeline.featureset.fingerprint import differences
from pipeline.featureset.records import RunRecord
from pipeline.sinks.tables import write_table
from pipeline.storage import Folder


def open_run(root: Folder, source: Mapping[str, Any]) -> RunRecord | None:
    """The last run if it is not sealed; None when there is no open run.

    Raises:
        RunConflictError: the open run embeds another source.
    """
    runs = catalog.run_numbers(root)
    if not runs or catalog.manifest(root, runs[-1]) is not None:
        return None
    record = catalog.run_record(root, runs[-1])
    if record.source != dict(source):
        changes = "; ".join(differences(record.source, source))
        raise RunConflictError(
            f"run {record.run} of {root.uri} is not finished and embeds another source ({changes}): "
            "finish it with its own command first, or use another sink.uri"
        )
    return record


def next_run(root: Folder) -> int:
    """The number to claim for a run that is about to be planned."""
    return max(catalog.run_numbers(root), default=0) + 1


def claim_run(root: Folder, *, run: int, fingerprint: str, source: Mapping[str, Any], plan: pa.Table) -> RunRecord:
    """Writes the plan and claims its run number; of two claims at once one wins and both get it.

    Args:
        root: the feature set.
        run: from `next_run` before the planning began, so that a run begun meanwhile is met here, not doubled.
        fingerprint: of the feature set.
        source: what makes two sources the same.
        plan: one row a unit.

    Raises:
        RunConflictError: another command has begun this run for another source.
        RunIncompleteError: another command has begun and sealed it meanwhile, so this plan is out of date.
        SinkError, AccessDeniedError: cannot be written.
    """
    file = write_table(root, paths.run_table(run, "plan"), plan)
    num_images = int(pa.compute.sum(pa.compute.list_value_length(plan["image_id"])).as_py() or 0)
    record = RunRecord(
        run=run,
        fingerprint=fingerprint,
        source=dict(source),
        plan=file,
        num_images=num_images,
        num_units=plan.num_rows,
    )
    if root.create(paths.run_record(run), record.to_bytes()):
        return record
    standing = open_run(root, source)
    if standing is None:
        raise RunIncompleteError(f"run {run} of {root.uri} was begun and sealed by another command; run this one again")
    return standing
