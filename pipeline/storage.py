"""One set of verbs over local disk and object stores: list, read, open, exists, create-if-absent.

Nothing here overwrites, renames or deletes what it created: a name, once there, means the same bytes for ever.
Reading works over any fsspec file system; creating works on local disk, where `os.link` of a synced temporary
file either makes the whole file appear or reports that the name was taken.
"""

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import AccessDeniedError, ConfigError, SinkError

STAGING = "staging"

# Whose errors have trees of their own, beside the operating system's.
_STORE_LIBRARIES = frozenset(
    {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "httpcore", "httpx", "requests", "urllib3"}
)
_ODD_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


@dataclass(frozen=True)
class FileEntry:
    """A listed file: name below the folder, size in bytes, and what changes when the file does."""

    name: str
    size_bytes: int
    version: str


class Folder:
    """A folder on local disk or a prefix in an object store; cheap to make, holds no connection of its own.

    Args:
        uri: a local path, `file://...`, or any URI that fsspec knows. A relative path starts at the working folder.

    Raises:
        ConfigError: no file system for that URI, or one file system inside another.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        given = os.fspath(uri)
        if "://" in given and "::" in given:
            raise ConfigError(f"{given}: a URI inside a URI (::) cannot be a folder; unpack it and give its folder")
        self._fs, self._root = _file_system(given)
        self.is_local = isinstance(self._fs, LocalFileSystem)
        self.uri = _utf8(self._root if self.is_local else given.rstrip("/"))

    def uri_of(self, name: str) -> str:
        """The full URI of `name` in this folder."""
        return f"{self.uri}/{name}"

    def is_folder(self) -> bool:
        """Whether there is such a folder (for object stores: anything under the prefix)."""
        with store_errors(self.uri):
            return bool(self._fs.isdir(self._root))

    def files(self) -> Iterator[FileEntry]:
        r"""Every file at any depth, in the order of their names, folder by folder.

        Hidden files and folders, links to folders, and pipes and devices (which would never end) are left out; a
        link that leads nowhere is a file, and reading it says so. Bytes that are not UTF-8 are spelled as `\xNN`.
        """
        yield from self._walk(self._root)

    def names(self, folder: str) -> list[str]:
        """The names directly in `folder`, sorted; empty when there is no such folder."""
        try:
            with store_errors(self.uri):
                found = self._fs.ls(self._path(folder), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def read(self, name: str) -> bytes:
        """The bytes of `name`; FileNotFoundError if it is not there."""
        try:
            with store_errors(self.uri_of(name)):
                return bytes(self._fs.cat_file(self._path(name)))
        except NotADirectoryError as error:
            raise FileNotFoundError(error.errno, error.strerror, self._path(name)) from None

    def open(self, name: str) -> pa.NativeFile:
        """A seekable reader of `name`; FileNotFoundError if it is not there."""
        # Native where it can be: a process that read through Python files aborted at exit (docs/decisions.md).
        if self.is_local:
            return pa.OSFile(self._path(name), "rb")
        with store_errors(self.uri_of(name)):
            return pa.PythonFile(self._fs.open(self._path(name), "rb"), mode="r")

    def create(self, name: str, data: bytes) -> bool:
        """Creates `name` with `data` unless it is there; says whether this call created it.

        Raises:
            SinkError, AccessDeniedError: the place cannot be written.
        """
        try:
            with self.writer(name) as stream:
                stream.write(data)
        except FileExistsError:
            return False
        return True

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """A stream whose bytes appear under `name`, synced and whole, when the block ends without an error.

        Raises:
            FileExistsError: the name was taken, nothing changed.
            SinkError, AccessDeniedError: the place cannot be written.
        """
        self.require_local()
        final = Path(self._path(name))
        staged = Path(self._path(STAGING)) / f"{uuid.uuid4().hex}.tmp"
        for folder in (staged.parent, final.parent):
            _make_folder(folder)
        with _as_sink_error(self.uri):
            try:
                with staged.open("xb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                os.link(staged, final)
                _sync_folder(final.parent)
            finally:
                staged.unlink(missing_ok=True)

    def require_local(self) -> None:
        """Refuses stores that have no create-if-absent here yet.

        Raises:
            ConfigError: the folder is not on local disk.
        """
        if not self.is_local:
            raise ConfigError(f"{self.uri} cannot be written: feature sets go to local disk (a path) in this version")

    def require_writable(self) -> None:
        """Looks whether files can be created here, without creating any.

        Raises:
            ConfigError, SinkError, AccessDeniedError: they cannot.
        """
        self.require_local()
        with _as_sink_error(self.uri):
            wanted = Path(self._root)
            place = next(path for path in (wanted, *wanted.parents) if path.exists())
            if not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a folder")
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, f"{place} is on a read-only file system")
            if not os.access(place, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "permission denied", str(place))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _walk(self, path: str) -> Iterator[FileEntry]:
        with store_errors(self.uri):
            found_here = self._fs.ls(path, detail=True, refresh=True)
        for item in sorted(found_here, key=_sort_key):
            name = str(item["name"]).rstrip("/")
            if name.rpartition("/")[2].startswith(".") or name == path.rstrip("/"):
                continue
            is_link = bool(item.get("islink"))
            found = self._follow(item) if is_link else item
            if found["type"] == "file":
                relative = name[len(self._root) :].lstrip("/")
                yield FileEntry(_utf8(relative), int(found.get("size") or 0), _version(found))
            elif found["type"] == "directory" and not is_link:  # a link to a folder may lead back here for ever
                yield from self._walk(name)

    def _follow(self, link: dict[str, Any]) -> dict[str, Any]:
        """What a link leads to, so that its version changes when that changes."""
        try:
            target: dict[str, Any] = self._fs.info(link["name"])
        except OSError:
            return {**link, "type": "file"}
        return target


def read_uri(uri: str) -> bytes:
    """All bytes of the file at `uri`: a local path, any URI that fsspec knows, or `Folder.uri_of` a listed file."""
    file_system, path = _file_system(uri)
    if isinstance(file_system, LocalFileSystem) and not os.path.lexists(path):
        path = os.fsdecode(_ODD_BYTE.sub(lambda odd: bytes.fromhex(odd[1].decode()), os.fsencode(path)))
    with store_errors(uri):
        return bytes(file_system.cat_file(path))


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Errors of the libraries below fsspec leave the block as the operating system would name them.

    Raises:
        PermissionError: no credentials.
        ConnectionError: the store did not answer, or not as it should; trying again may help.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, TimeoutError, ConnectionError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _STORE_LIBRARIES:
            raise
        kind = PermissionError if "Credential" in type(error).__name__ else ConnectionError
        raise kind(errno.EACCES, f"{type(error).__name__}: {error}", uri) from error


def _file_system(uri: str) -> tuple[Any, str]:
    if "://" not in uri:
        return fsspec.filesystem("file"), str(Path(uri).expanduser().absolute()).rstrip("/") or "/"
    try:
        file_system, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{uri}: no file system for this URI ({error})") from None
    except OSError as error:
        raise ConfigError(f"{uri}: cannot be reached ({error})") from None
    return file_system, str(path).rstrip("/") or ("/" if isinstance(file_system, LocalFileSystem) else "")


def _sort_key(item: dict[str, Any]) -> str:
    name = str(item["name"]).rstrip("/")
    return f"{name}/" if item["type"] == "directory" else name


def _version(item: dict[str, Any]) -> str:
    etag = item.get("ETag") or item.get("etag")
    if etag:
        return str(etag).strip('"')
    changed = item.get("mtime") or item.get("LastModified") or item.get("created") or ""
    return f"{item.get('size')}@{changed}"


def _utf8(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def _as_sink_error(uri: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to write {error.filename or uri}: {error.strerror}") from error
    except OSError as error:
        raise SinkError(
            f"cannot write below {uri}: {error.strerror or error}; mend that or choose another sink.uri"
        ) from error


def _make_folder(path: Path) -> None:
    with _as_sink_error(str(path)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(f"{path} is a file, not a folder") from None


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
