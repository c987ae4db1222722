"""Reading that tells three things apart: the store is in trouble, we may not read, and the bytes are not there."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import AccessDeniedError, StoreUnavailableError
from pipeline.featureset.records import TableFile
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import patiently, store_errors

T = TypeVar("T")

_CHUNK_BYTES = 8 * 2**20


def read_patiently(root: Folder, name: str, action: Callable[[], T]) -> T:
    """The result of an action that reads `name`, begun anew while the store is in trouble.

    Raises:
        StoreUnavailableError: it still is when patience is over.
        AccessDeniedError: no permission.
        OSError: the file is not there (FileNotFoundError), or its bytes cannot be had.
    """
    uri = root.uri_of(name)

    def once() -> T:
        with store_errors(uri):
            return action()

    try:
        return patiently(once, uri, root.patience_s)
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read {uri}: {error.strerror or error}") from error


def table_problem(root: Folder, file: TableFile) -> str | None:
    """What is wrong with the bytes of a table that a record names, in words; None if nothing is.

    Reads the table twice before it is called damaged: what is damaged on its way here is not damaged there.

    Raises:
        StoreUnavailableError, AccessDeniedError: it cannot be told.
    """
    return _problem_now(root, file) and _problem_now(root, file)


def _problem_now(root: Folder, file: TableFile) -> str | None:
    try:
        size_bytes, sha256 = read_patiently(root, file.name, lambda: _digest(root, file.name))
    except FileNotFoundError:
        return "is missing"
    except StoreUnavailableError:
        raise
    except OSError as error:
        return unreadable(error)
    if size_bytes != file.size_bytes:
        return f"has {size_bytes} bytes, its record says {file.size_bytes}"
    return None if sha256 == file.sha256 else "has other bytes than were written: its sha256 is not the recorded one"


def unreadable(error: Exception) -> str:
    """In words: the store or disk does not give the bytes."""
    return f"cannot be read: {getattr(error, 'strerror', None) or ' '.join(str(error).split())}"


def _digest(root: Folder, name: str) -> tuple[int, str]:
    sha256, size_bytes = hashlib.sha256(), 0
    with root.open(name) as stream:
        while data := stream.read(_CHUNK_BYTES):
            sha256.update(data)
            size_bytes += len(data)
    return size_bytes, sha256.hexdigest()
