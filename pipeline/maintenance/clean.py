"""The one place where anything is deleted: what `orphans` found, and only if that was asked for."""

from collections.abc import Iterator
from functools import partial

from pipeline.errors import ConfigError
from pipeline.maintenance.orphans import Judged, Orphans
from pipeline.storage.folder import Folder
from pipeline.storage.spreading import in_threads

# The rules are safe at any age; the floor keeps what a run of today has left for a look at it.
_LEAST_AGE_S = 3600.0


def clean(root: Folder, orphans: Orphans, *, older_than_s: float, is_certain: bool) -> Iterator[Judged]:
    """Finds what is not in use, and deletes it if `is_certain`; each is yielded once that is done.

    Args:
        root: the feature set.
        orphans: of it.
        older_than_s: by the store's own clock; what is younger is left alone.
        is_certain: whether to delete.

    Raises:
        ConfigError: `older_than_s` is less than an hour.
        SinkError, AccessDeniedError: something cannot be deleted.
        StoreUnavailableError: the store is in trouble.
    """
    if not older_than_s >= _LEAST_AGE_S:
        raise ConfigError(f"what is {older_than_s:.0f} s old may be in use still; give at least an hour")
    found = orphans.find(older_than_s)
    return in_threads(partial(_delete, root), found) if is_certain else found


def _delete(root: Folder, judged: Judged) -> Judged:
    if judged.is_orphan and judged.upload is not None:
        root.abort_upload(judged.upload)
    elif judged.is_orphan:
        root.delete(judged.name)
    return judged
