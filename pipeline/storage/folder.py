"""A folder by its URI: the verbs of `local`, `s3` or a read-only store, whichever the URI names."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import ConfigError
from pipeline.storage.entry import FileEntry, UnfinishedUpload
from pipeline.storage.local import LocalStore
from pipeline.storage.other import ReadOnlyStore
from pipeline.storage.trouble import PATIENCE_S

if TYPE_CHECKING:
    from pipeline.storage.s3 import S3Store


class Folder:
    """A folder on local disk or a prefix in an object store; cheap to make, holds no connection of its own.

    Args:
        uri: a local path, `file://...`, or any URI that fsspec knows. A relative path starts at the working folder.
        patience_s: how long an object store may be in trouble before a verb gives up, in seconds.

    Raises:
        ConfigError: no file system for that URI, or one file system inside another.
    """

    def __init__(self, uri: str | os.PathLike[str], patience_s: float = PATIENCE_S) -> None:
        given = os.fspath(uri)
        if "://" in given and "::" in given:
            raise ConfigError(f"{given}: a URI inside a URI (::) cannot be a folder; unpack it and give its folder")
        self.patience_s = patience_s
        self._store = _store(given, patience_s)
        self.uri = self._store.uri
        self.is_local = isinstance(self._store, LocalStore)

    def uri_of(self, name: str) -> str:
        """The full URI of `name` in this folder."""
        return f"{self.uri}/{name}"

    def is_folder(self) -> bool:
        """Whether there is such a folder (for object stores: anything under the prefix)."""
        return self._store.is_folder()

    def files(self) -> Iterator[FileEntry]:
        r"""Every file at any depth, in the order of their paths.

        Hidden files and folders, links to folders, and pipes and devices (which would never end) are left out; a
        link that leads nowhere is a file, and reading it says so. Bytes that are not UTF-8 are spelled as `\xNN`.
        """
        return self._store.files()

    def names(self, folder: str) -> Iterator[str]:
        """The names directly in `folder`, in no order; none when there is no such folder."""
        return self._store.names(folder)

    def read(self, name: str) -> bytes:
        """The bytes of `name`; FileNotFoundError if it is not there."""
        return self._store.read(name)

    def open(self, name: str) -> pa.NativeFile:
        """A seekable reader of `name`; FileNotFoundError if it is not there."""
        return self._store.open(name)

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes of `name` from one offset to before another, as many as there are: one request to a store."""
        return self._store.read_range(name, start, end)

    def read_end(self, name: str, num_bytes: int) -> bytes:
        """The last bytes of `name`, whose size need not be known; all of them if it has fewer: one request."""
        return self._store.read_end(name, num_bytes)

    def size_bytes(self, name: str) -> int:
        """Bytes of `name`; FileNotFoundError if it is not there."""
        return self._store.size_bytes(name)

    def entry(self, name: str) -> FileEntry:
        """What `files` says of `name`; FileNotFoundError if there is no such file."""
        return self._store.entry(name)

    def create(self, name: str, data: bytes) -> bool:
        """Creates `name` with `data` unless it is there; says whether what stands there are these bytes of ours.

        Args:
            name: below this folder.
            data: holds something that no other writer's data has (a write token), so that bytes tell whose they are.

        Raises:
            StoreUnavailableError: it is not known whether the name was created.
            SinkError, AccessDeniedError: the place cannot be written.
        """
        return self._store.create(name, data)

    def writer(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A stream whose bytes appear under `name`, durable and whole, when the block ends without an error.

        Raises:
            FileExistsError: the name was taken, nothing changed.
            StoreUnavailableError: it is not known whether the name was created.
            SinkError, AccessDeniedError: the place cannot be written.
        """
        return self._store.writer(name)

    def replace(self, name: str, data: bytes) -> None:
        """Makes these the bytes of `name`, in one step, whatever they were; for what is derived from records alone.

        Raises:
            StoreUnavailableError, SinkError, AccessDeniedError: it cannot be written.
        """
        self._store.replace(name, data)

    def delete(self, name: str) -> None:
        """Removes `name` for good; for `jobs/clean.py` alone.

        Raises:
            SinkError, AccessDeniedError: it cannot be removed.
        """
        self._store.delete(name)

    def unfinished_uploads(self) -> Iterator[UnfinishedUpload]:
        """Uploads below this folder that writers began and neither finished nor gave up; local disk has none."""
        return self._store.unfinished_uploads()

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Removes the parts of an upload; for `jobs/clean.py` alone. Its writer, if it lives, fails and tries again.

        Raises:
            SinkError, AccessDeniedError: they cannot be removed.
        """
        self._store.abort_upload(upload)

    def now_s(self) -> float:
        """The time by the clock that dates the files here, seconds since 1970; leaves nothing behind.

        Raises:
            SinkError, AccessDeniedError: the place cannot be written, which is how a file server is asked.
        """
        return self._store.now_s()

    def require_writable(self) -> None:
        """Looks whether files can be created here, if absent, without creating any that count.

        Raises:
            ConfigError: the store has no create-if-absent, or ignores it.
            SinkError, AccessDeniedError: the place cannot be written.
        """
        self._store.require_writable()


def _store(uri: str, patience_s: float) -> "LocalStore | S3Store | ReadOnlyStore":
    if "://" not in uri:
        return LocalStore(str(Path(uri).expanduser().absolute()).rstrip("/") or "/")
    if uri.partition("://")[0] in ("s3", "s3a"):
        from pipeline.storage.s3 import S3Store  # a second of imports that local disk does without

        return S3Store(uri, patience_s)
    try:
        file_system, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{uri}: no file system for this URI ({error})") from None
    except OSError as error:
        raise ConfigError(f"{uri}: cannot be reached ({error})") from None
    if isinstance(file_system, LocalFileSystem):
        return LocalStore(str(path).rstrip("/") or "/")
    return ReadOnlyStore(file_system, str(path).rstrip("/"), uri)
