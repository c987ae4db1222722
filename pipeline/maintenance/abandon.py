"""Giving up an open run, so that another can be begun."""

from pipeline.errors import RunConflictError
from pipeline.featureset import catalog
from pipeline.featureset.records import Manifest
from pipeline.redaction import shown
from pipeline.sinks.runs import abandon_run
from pipeline.storage.folder import Folder


def abandon(root: Folder, run: int) -> str:
    """Ends a run without sealing it; says in a sentence what that meant.

    Raises:
        FeatureSetError: there is no such run.
        RunConflictError: it is sealed, maybe just now; its features count and stay.
        SinkError, AccessDeniedError: the sink cannot be written.
    """
    record = catalog.run_record(root, run)
    before = catalog.run_end(root, run)
    end = before or abandon_run(root, run)
    if isinstance(end, Manifest):
        raise RunConflictError(
            f"run {run} of {root.uri} was sealed at {end.sealed_at}, so it cannot be abandoned: "
            f"its {end.num_embedded} images with features count"
        )
    if before is not None:
        return f"run {run} of {shown(root.uri)} was abandoned already, at {end.abandoned_at}"
    num_committed = len(catalog.committed_units(root, run))
    return (
        f"abandoned run {run} of {shown(root.uri)}: {num_committed} of its {record.num_units} units were committed and "
        "count for nothing now. The next embed command begins a new run; jobs/clean.py deletes the shards"
    )
