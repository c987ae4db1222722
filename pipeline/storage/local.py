"""Local disk: `os.link` of a synced temporary file makes a whole file appear, or reports that its name was taken."""

import errno
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage.entry import FileEntry, UnfinishedUpload
from pipeline.storage.trouble import as_sink_error

STAGING = "staging"
_NAMES_AT_ONCE = 65_536


class LocalStore:
    """The verbs on a folder of a disk that this process can see.

    Args:
        root: its absolute path.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.uri = printable(root)

    def is_folder(self) -> bool:
        """Whether there is such a folder."""
        return Path(self.root).is_dir()

    def files(self) -> Iterator[FileEntry]:
        """Every file at any depth, in the order of their paths."""
        yield from self._walk(self.root, "")

    def file(self, name: str) -> FileEntry:
        """What a listing says of `name`."""
        entry = _entry(self._path(name), name)
        if entry is None or not Path(self._path(name)).is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such file", self._path(name))
        return entry

    def names(self, folder: str) -> Iterator[str]:
        """The names directly in `folder`, in no order."""
        try:
            with os.scandir(self._path(folder)) as found:
                for each in found:
                    yield each.name
        except FileNotFoundError:
            return

    def read(self, name: str) -> bytes:
        """The bytes of `name`."""
        try:
            return Path(self._path(name)).read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(error.errno, error.strerror, self._path(name)) from None

    def open(self, name: str) -> pa.NativeFile:
        """A seekable reader of `name`."""
        # Native where it can be: a process that read through Python files aborted at exit (docs/decisions.md).
        return pa.OSFile(self._path(name), "rb")

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes of `name` from one offset to before another."""
        with self.open(name) as stream:
            stream.seek(start)
            return bytes(stream.read(end - start))

    def read_end(self, name: str, num_bytes: int) -> bytes:
        """The last bytes of `name`."""
        with self.open(name) as stream:
            stream.seek(max(0, stream.size() - num_bytes))
            return bytes(stream.read(num_bytes))

    def size_bytes(self, name: str) -> int:
        """Bytes of `name`."""
        return Path(self._path(name)).stat().st_size

    def delete(self, name: str) -> None:
        """Removes `name`; no harm if it is gone."""
        with as_sink_error(self.uri):
            Path(self._path(name)).unlink(missing_ok=True)

    def unfinished_uploads(self) -> Iterator[UnfinishedUpload]:
        """None: what local writers leave behind are files in `staging/`."""
        return iter(())

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Nothing to do."""

    def now_s(self) -> float:
        """The time that a file touched now gets: on a network disk that is the file server's, not this machine's.

        The file stays empty, since a full disk is where a look for what could go is wanted most.
        """
        with as_sink_error(self.uri), tempfile.TemporaryFile(dir=self.root) as probe:
            os.utime(probe.fileno())
            return os.fstat(probe.fileno()).st_mtime

    def create(self, name: str, data: bytes) -> bool:
        """Creates `name` unless it is there."""
        try:
            with self.writer(name) as stream:
                stream.write(data)
        except FileExistsError:
            return False
        return True

    def writer(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A stream to a temporary file that gets its name, synced and whole, when the block ends well."""
        return self._staged(name, _link)

    def replace(self, name: str, data: bytes) -> None:
        """Makes these the bytes of `name`, synced, in one step."""
        with self._staged(name, Path.replace) as stream:
            stream.write(data)

    @contextmanager
    def _staged(self, name: str, publish: Callable[[Path, Path], object]) -> Iterator[IO[bytes]]:
        final = Path(self._path(name))
        staged = Path(self._path(STAGING)) / f"{uuid.uuid4().hex}.tmp"
        for folder in (staged.parent, final.parent):
            _make_folder(folder)
        with as_sink_error(self.uri):
            try:
                with staged.open("xb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                publish(staged, final)
                sync(final.parent)
            finally:
                staged.unlink(missing_ok=True)

    def require_writable(self) -> None:
        """Looks whether files can be created here, without creating any."""
        with as_sink_error(self.uri):
            wanted = Path(self.root)
            place = next(path for path in (wanted, *wanted.parents) if path.exists())
            if not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a folder")
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, f"{place} is on a read-only file system")
            if not os.access(place, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "permission denied", str(place))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _walk(self, path: str, below: str) -> Iterator[FileEntry]:
        for encoded in _sorted_names(path):
            name = os.fsdecode(encoded)
            if name.endswith("/"):
                yield from self._walk(f"{path}/{name[:-1]}", f"{below}{name}")
            else:
                entry = _entry(f"{path}/{name}", below + name)
                if entry is not None:
                    yield entry


def version_of(status: os.stat_result) -> str:
    """What changes when a local file does: its size and time of change."""
    return f"{status.st_size}@{status.st_mtime}"


def printable(path: str) -> str:
    r"""A path as UTF-8; bytes that are not are spelled as `\xNN`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _entry(path: str, name: str) -> FileEntry | None:
    """The file at `path`; None for pipes, devices, and links to folders, which may lead back here for ever."""
    try:
        status = _status(path)
    except FileNotFoundError:  # it went while the folder was read
        return None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return None
    return FileEntry(printable(name), status.st_size, version_of(status), status.st_mtime)


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116  millions of times: a Path each would double the time
    except OSError:  # a link that leads nowhere is a file, and reading it says so
        return os.lstat(path)


def _sorted_names(path: str) -> Iterator[bytes]:
    """The names in a folder, those of folders with a slash behind them, so that whole paths come in order.

    They are kept in Arrow, not as Python objects: there may be millions in one folder.
    """
    chunks = []
    with os.scandir(path) as found:
        while batch := list(islice(found, _NAMES_AT_ONCE)):
            names = [
                os.fsencode(each.name) + (b"/" if each.is_dir(follow_symlinks=False) else b"")
                for each in batch
                if not each.name.startswith(".")
            ]
            chunks.append(pa.array(names, pa.large_binary()))
    names = pa.chunked_array(chunks, pa.large_binary())
    order = pc.sort_indices(names)
    for start in range(0, len(order), _NAMES_AT_ONCE):
        yield from names.take(order.slice(start, _NAMES_AT_ONCE)).to_pylist()


def _link(staged: Path, final: Path) -> None:
    """Gives a file its name; on NFS a request that was sent twice is told that the name is taken, by itself."""
    try:
        os.link(staged, final)
    except FileExistsError:
        if not final.samefile(staged):
            raise


def _make_folder(path: Path) -> None:
    with as_sink_error(str(path)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(f"{path} is a file, not a folder") from None


def sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's names, last."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
