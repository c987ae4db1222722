"""The one write that makes a unit count: create-if-absent; the write token in its bytes says whose it is."""

from pipeline.errors import SinkError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord
from pipeline.storage.folder import Folder


def commit_unit(root: Folder, record: CommitRecord) -> CommitRecord:
    """Commits the unit, or finds that somebody else has; returns the commit that stands.

    Args:
        root: the feature set.
        record: names a shard that is already durable; its token is this writer's alone.

    Raises:
        StoreUnavailableError: it is not known whether the commit was written.
        SinkError, AccessDeniedError: the commit could not be written.
    """
    name = paths.commit(record.run, record.unit)
    if root.create(name, record.to_bytes()):
        return record
    standing = catalog.commit_record(root, record.run, record.unit)
    if standing is None:
        raise SinkError(f"{root.uri_of(name)} was there a moment ago and is gone; something deletes below the sink")
    return standing
