"""Any other store that fsspec knows, for reading alone: it has no create-if-absent that was tested here."""

import errno
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.storage.entry import FileEntry, UnfinishedUpload
from pipeline.storage.local import printable
from pipeline.storage.trouble import store_errors


class ReadOnlyStore:
    """The reading verbs over an fsspec file system.

    Args:
        file_system: from fsspec.
        root: the folder's path in it.
        uri: what the user called it.
    """

    def __init__(self, file_system: Any, root: str, uri: str) -> None:
        self._fs, self._root, self.uri = file_system, root, printable(uri.rstrip("/"))

    def is_folder(self) -> bool:
        """Whether there is anything under the prefix."""
        with store_errors(self.uri):
            return bool(self._fs.isdir(self._root))

    def files(self) -> Iterator[FileEntry]:
        """Every file at any depth, in the order of their paths, hidden ones left out."""
        yield from self._walk(self._root)

    def names(self, folder: str) -> Iterator[str]:
        """The names directly in `folder`."""
        try:
            with store_errors(self.uri):
                found = self._fs.ls(self._path(folder), detail=False, refresh=True)
        except FileNotFoundError:
            return
        for path in found:
            yield str(path).rstrip("/").rpartition("/")[2]

    def read(self, name: str) -> bytes:
        """The bytes of `name`."""
        with store_errors(f"{self.uri}/{name}"):
            return bytes(self._fs.cat_file(self._path(name)))

    def open(self, name: str) -> pa.NativeFile:
        """A seekable reader of `name`."""
        with store_errors(f"{self.uri}/{name}"):
            return pa.PythonFile(self._fs.open(self._path(name), "rb"), mode="r")

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes of `name` from one offset to before another."""
        with store_errors(f"{self.uri}/{name}"):
            return bytes(self._fs.cat_file(self._path(name), start=start, end=end))

    def read_end(self, name: str, num_bytes: int) -> bytes:
        """The last bytes of `name`; most stores are asked for its size first."""
        with store_errors(f"{self.uri}/{name}"):
            return bytes(self._fs.cat_file(self._path(name), start=max(0, self.size_bytes(name) - num_bytes)))

    def size_bytes(self, name: str) -> int:
        """Bytes of `name`."""
        with store_errors(f"{self.uri}/{name}"):
            return int(self._fs.info(self._path(name))["size"])

    def entry(self, name: str) -> FileEntry:
        """What is to be said of `name`."""
        path = self._path(name)
        with store_errors(f"{self.uri}/{name}"):
            found = self._fs.ls(path, detail=True, refresh=True)  # says of times what listings do, where `info` may not
        for item in found:
            if item["type"] == "file" and str(item["name"]).strip("/") == path.strip("/"):
                return FileEntry(name, int(item.get("size") or 0), version_of(item))
        raise FileNotFoundError(errno.ENOENT, "no file", f"{self.uri}/{name}")

    def create(self, name: str, data: bytes) -> bool:  # noqa: ARG002  the verbs of every store
        """Refused."""
        self.require_writable()

    def writer(self, name: str) -> IO[bytes]:  # noqa: ARG002
        """Refused."""
        self.require_writable()

    def replace(self, name: str, data: bytes) -> None:  # noqa: ARG002
        """Refused."""
        self.require_writable()

    def delete(self, name: str) -> None:  # noqa: ARG002
        """Refused."""
        self.require_writable()

    def unfinished_uploads(self) -> Iterator[UnfinishedUpload]:
        """Refused."""
        self.require_writable()

    def abort_upload(self, upload: UnfinishedUpload) -> None:  # noqa: ARG002
        """Refused."""
        self.require_writable()

    def now_s(self) -> float:
        """Refused."""
        self.require_writable()

    def require_writable(self) -> NoReturn:
        """Refused.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.uri} cannot be written: feature sets go to local disk (a path) or to s3://")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _walk(self, path: str) -> Iterator[FileEntry]:
        with store_errors(self.uri):
            found_here = self._fs.ls(path, detail=True, refresh=True)
        for item in sorted(found_here, key=_sort_key):
            name = str(item["name"]).rstrip("/")
            if name.rpartition("/")[2].startswith(".") or name == path.rstrip("/"):
                continue
            if item["type"] == "file":
                relative = name[len(self._root) :].lstrip("/")
                yield FileEntry(printable(relative), int(item.get("size") or 0), version_of(item))
            elif item["type"] == "directory":
                yield from self._walk(name)


def version_of(item: dict[str, Any]) -> str:
    """What changes when a file does: its ETag where there is one, else size and time."""
    etag = item.get("ETag") or item.get("etag")
    if etag:
        return str(etag).strip('"')
    changed = item.get("mtime") or item.get("LastModified") or item.get("created") or ""
    return f"{item.get('size')}@{changed}"


def _sort_key(item: dict[str, Any]) -> str:
    name = str(item["name"]).rstrip("/")
    return f"{name}/" if item["type"] == "directory" else name
