"""The bytes behind a URI that a listing or a user gave, in the version that was listed."""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import ConfigError
from pipeline.storage.local import version_of
from pipeline.storage.trouble import store_errors

# The first byte of a range, and the offset after its last one; None for the end of the file.
Span = tuple[int, int | None]

_ODD_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


class FileChangedError(OSError):
    """The file is no longer the one that was listed."""


def read_uri(uri: str, version: str | None = None, *, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of the file at `uri`: a local path, any URI that fsspec knows, or `Folder.uri_of` a listed file.

    Args:
        uri: where.
        version: as listed; None or empty takes the file as it is. Stores other than S3 and local disk do not look.
        start: of the range to read.
        end: the offset after its last byte; None for the end of the file.

    Raises:
        FileChangedError: it has another version now.
        OSError: as `store_errors` says it; asked once, so that the caller decides how long to be patient.
    """
    return _reader(uri)(version or None, (start, end))


def _reader(uri: str) -> Callable[[str | None, Span], bytes]:
    if "://" not in uri:
        return partial(_read_local, str(Path(uri).expanduser().absolute()))
    if uri.partition("://")[0] in ("s3", "s3a"):
        return partial(_read_s3, uri)
    try:
        file_system, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{uri}: no file system for this URI ({error})") from None
    if isinstance(file_system, LocalFileSystem):
        return partial(_read_local, path)

    def read(_version: str | None, span: Span) -> bytes:
        start, end = span
        with store_errors(uri):
            return bytes(file_system.cat_file(path, start=start or None, end=end))

    return read


def _read_local(path: str, version: str | None, span: Span) -> bytes:
    start, end = span
    if not os.path.lexists(path):
        path = os.fsdecode(_ODD_BYTE.sub(lambda odd: bytes.fromhex(odd[1].decode()), os.fsencode(path)))
    with Path(path).open("rb") as stream:
        found = version_of(os.fstat(stream.fileno()))
        if version is not None and found != version:
            raise FileChangedError(f"it was {version} when listed and is {found} now")
        stream.seek(start)
        return stream.read() if end is None else stream.read(end - start)


def _read_s3(uri: str, version: str | None, span: Span) -> bytes:
    start, end = span
    from pipeline.storage.s3_client import S3Client, split_uri

    bucket, key = split_uri(uri)
    condition = {} if version is None else {"IfMatch": f'"{version}"'}
    if start or end is not None:
        condition["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    try:
        return S3Client().get(Bucket=bucket, Key=key, **condition)
    except FileExistsError as error:
        raise FileChangedError(f"its ETag is no longer {version}") from error
