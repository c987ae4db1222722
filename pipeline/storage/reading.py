"""The bytes behind a URI that a listing or a user gave, in the version that was listed, and no more than allowed."""

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BadKeyError, UriError
from pipeline.storage.local import version_of
from pipeline.storage.other import file_system_of
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import RangeNotThereError, store_errors, too_large
from pipeline.storage.uri import Place, parse, shown

_ODD_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


class FileChangedError(OSError):
    """The file is no longer the one that was listed."""


class NotARegularFileError(OSError):
    """A pipe, a device or a socket, which may never end."""


@dataclass(frozen=True)
class _Wanted:
    """Which bytes of a file, of what version, and how many at most."""

    uri: str
    version: str | None
    start: int
    end: int | None
    max_bytes: int | None

    @property
    def is_range(self) -> bool:
        return self.start > 0 or self.end is not None

    @property
    def range_header(self) -> str:
        return f"bytes={self.start}-{'' if self.end is None else self.end - 1}"

    def require_allowed(self, size_bytes: int) -> None:
        """Looks whether that many bytes are not too many; FileTooLargeError if they are."""
        if self.max_bytes is not None and size_bytes > self.max_bytes:
            raise too_large(self.uri, size_bytes, self.max_bytes)

    def require_whole(self, data: bytes) -> bytes:
        """The bytes, if they are all that were asked for; RangeNotThereError if the file ended before."""
        if self.end is not None and len(data) != self.end - self.start:
            raise RangeNotThereError(errno.ERANGE, f"it has no bytes {self.start} to {self.end}", self.uri)
        return data


def read_uri(
    uri: str,
    version: str | None = None,
    *,
    roots: Roots | None = None,
    start: int = 0,
    end: int | None = None,
    max_bytes: int | None = None,
) -> bytes:
    """The bytes of the file at `uri`: a local path, an object of a store, or `Folder.uri_of` a listed file.

    Args:
        uri: where.
        version: as listed; None or empty takes the file as it is. Stores other than S3 and local disk do not look.
        roots: what may be read, for a URI that somebody else wrote; the web is read below these alone.
        start: the first byte.
        end: the byte after the last one; None reads to the end.
        max_bytes: how many may be read at most.

    Raises:
        UriError, BadKeyError: no URI that is read, or not from here.
        FileChangedError: it has another version now.
        FileTooLargeError: more than `max_bytes`, of which none or only that many were read.
        RangeNotThereError: it ends before `end`.
        NotARegularFileError: nothing that ends.
        OSError: as `store_errors` says it; asked once, so that the caller decides how long to be patient.
    """
    wanted = _Wanted(uri, version or None, start, end, max_bytes)
    if start < 0 or (end is not None and end <= start):
        raise RangeNotThereError(errno.ERANGE, f"bytes {start} to {end} are none", uri)
    if end is not None:
        wanted.require_allowed(end - start)
    place = parse(uri) if roots is None else roots.check(uri)
    if place.is_local:
        return _read_local(place, wanted, roots)
    if place.is_web:
        return _read_web(wanted, roots)
    if not place.key:
        raise UriError(f"{shown(uri)} names no object; write {place.scheme}://{place.authority}/key")
    return _read_s3(place, wanted) if place.scheme == "s3" else _read_other(place, wanted)


def _read_local(place: Place, wanted: _Wanted, roots: Roots | None) -> bytes:
    path = place.path
    if not os.path.lexists(path):
        path = os.fsdecode(_ODD_BYTE.sub(lambda odd: bytes.fromhex(odd[1].decode()), os.fsencode(path)))
    # Held before it is opened: opening a pipe waits, opening a device may do something.
    held = _hold(path, wanted.uri)
    try:
        _require_regular(os.fstat(held), path)
        if roots is not None:
            roots.check_file(str(_again(held).readlink()), wanted.uri)
        return _read_held(held, path, wanted)
    finally:
        os.close(held)


def _hold(path: str, uri: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BadKeyError(f"{shown(uri)}: longer than a name or a path may be on this disk") from None
        raise


def _again(held: int) -> Path:
    """A path to the very file that is held, whatever its name leads to by now; a link to its real one."""
    return Path(f"/proc/self/fd/{held}")


def _read_held(held: int, path: str, wanted: _Wanted) -> bytes:
    try:
        stream = _again(held).open("rb")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from None
    with stream:
        status = os.fstat(stream.fileno())
        if wanted.version is not None and (found := version_of(status)) != wanted.version:
            raise FileChangedError(f"it was {wanted.version} when listed and is {found} now")
        end = status.st_size if wanted.end is None else wanted.end
        if wanted.is_range and not wanted.start < end <= status.st_size:
            raise RangeNotThereError(errno.ERANGE, f"it has {status.st_size} bytes, not {wanted.start} to {end}", path)
        wanted.require_allowed(end - wanted.start)
        stream.seek(wanted.start)
        if wanted.end is not None:
            return wanted.require_whole(stream.read(end - wanted.start))
        data = stream.read() if wanted.max_bytes is None else stream.read(wanted.max_bytes + 1)
        wanted.require_allowed(len(data))  # it may have grown, and some files of /proc say that they have none
        return data


def _require_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise NotARegularFileError(errno.EINVAL, "not a regular file, but a pipe, device or socket", path)


def _read_s3(place: Place, wanted: _Wanted) -> bytes:
    from pipeline.storage.s3_client import S3Client

    options: dict[str, Any] = {} if wanted.version is None else {"IfMatch": f'"{wanted.version}"'}
    if wanted.is_range:
        options["Range"] = wanted.range_header
    try:
        data = S3Client().get(wanted.max_bytes, Bucket=place.authority, Key=place.key, **options)
    except FileExistsError as error:
        raise FileChangedError(f"its ETag is no longer {wanted.version}") from error
    return wanted.require_whole(data)


def _read_other(place: Place, wanted: _Wanted) -> bytes:
    file_system, path = file_system_of(place)
    with store_errors(wanted.uri):
        if wanted.end is None and wanted.max_bytes is not None:
            wanted.require_allowed(int(file_system.info(path)["size"]) - wanted.start)
        span = {"start": wanted.start, "end": wanted.end} if wanted.is_range else {}
        data = bytes(file_system.cat_file(path, **span))
    return wanted.require_whole(data)


def _read_web(wanted: _Wanted, roots: Roots | None) -> bytes:
    if roots is None:
        raise UriError(f"{shown(wanted.uri)}: the web is read only below roots that allow it; copy the file first")
    from pipeline.storage.web import WebReader

    header = wanted.range_header if wanted.is_range else None
    return wanted.require_whole(WebReader(roots).get(wanted.uri, byte_range=header, max_bytes=wanted.max_bytes))
