"""Fetched checkpoints on this machine, named by their sha256.

A file gets its name only when it is whole and checked, in one atomic step, so that processes may share the
cache.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint_kind import MAX_BYTES, regular_file
from pipeline.storage.cache import cache_folder

CHUNK_BYTES = 1 << 20


class Readable(Protocol):
    """What bytes can be read from in pieces."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


@contextmanager
def new_cache_file() -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the cache under a temporary name; move it with `replace`, or it is deleted.

    Raises:
        CheckpointError: the cache cannot be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    except OSError as error:
        raise CheckpointError(
            f"cannot write the cache {folder}: {error}; set SAM2_EMBED_CACHE to another folder"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, Path(temporary)
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()


def copy_stream(source: Readable, file: BinaryIO, *, most_bytes: int = MAX_BYTES) -> tuple[int, str]:
    """Copy a stream to a file; return its length in bytes and its sha256. It ends soon after `most_bytes`."""
    digest, size_bytes = hashlib.sha256(), 0
    while size_bytes <= most_bytes and (chunk := source.read(CHUNK_BYTES)):
        file.write(chunk)
        digest.update(chunk)
        size_bytes += len(chunk)
    file.flush()
    return size_bytes, digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file, computed once per process for a file that does not change.

    Raises:
        CheckpointError: the file cannot be read, or is not a regular one of a checkpoint's size.
    """
    status = regular_file(path, str(path))
    try:
        return _sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None


@lru_cache(maxsize=64)
def _sha256(path: Path, _size_bytes: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
