"""The one write that makes a unit count: create-if-absent, settled by reading back the write token."""

from pipeline.errors import AccessDeniedError, SinkError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord
from pipeline.storage.folder import Folder


def commit_unit(root: Folder, record: CommitRecord) -> CommitRecord:
    """Commits the unit, or finds that somebody else has; returns the commit that stands.

    Args:
        root: the feature set.
        record: names a shard that is already durable; its token is this writer's alone.

    Raises:
        SinkError, AccessDeniedError: the commit could not be written, nothing became visible.
    """
    name = paths.commit(record.run, record.unit)
    try:
        if root.create(name, record.to_bytes()):
            return record
    except (SinkError, AccessDeniedError):
        standing = catalog.commit_record(root, record.run, record.unit)
        if standing is None or standing.token != record.token:
            raise
        return record  # the answer was lost, not the write
    standing = catalog.commit_record(root, record.run, record.unit)
    if standing is None:
        raise SinkError(f"{root.uri_of(name)} was there a moment ago and is gone; something deletes below the sink")
    return standing
