"""Files and streams that are hashed while they are written.

A local file is written by Arrow itself and hashed from the page cache by a second thread, which saves a copy through
Python for every byte; what goes to an object store passes through Python anyway.
"""

import hashlib
import io
import mmap
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa

# Gives a block for everything that may wait for an object store.
Uploading = Callable[[], AbstractContextManager[None]]


class Hashed(Protocol):
    """Somewhere to write that knows the sha256 and the length of what was written.

    Attributes:
        sink: takes the bytes.
        size_bytes: of all bytes once finished.
    """

    sink: pa.NativeFile
    size_bytes: int

    @property
    def sha256(self) -> str:
        """Hexadecimal; of all bytes once finished."""
        ...

    def advance(self) -> None:
        """Hashes what was written so far, or has it hashed meanwhile."""
        ...

    def finish(self) -> None:
        """Nothing more comes; the stream that was given stays open."""
        ...


def hashed(stream: IO[bytes], uploading: Uploading = nullcontext) -> Hashed:
    """The way to write to a stream: beside it if it is an open local file, through it, in blocks, otherwise."""
    if isinstance(stream, io.BufferedWriter):
        return HashedFile(Path(stream.name))
    return HashedStream(stream, uploading)


class HashedFile:
    """A local file that is there and empty."""

    def __init__(self, path: Path) -> None:
        self.sink = pa.OSFile(str(path), "wb")
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._file = path.open("rb")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._pending: Future[None] | None = None

    def advance(self) -> None:
        """Waits for what was hashed before, and has the rest hashed meanwhile."""
        if self._pending is not None:
            self._pending.result()
        begin, self.size_bytes = self.size_bytes, self.sink.tell()
        self._pending = self._hasher.submit(self._hash, begin, self.size_bytes)

    def finish(self) -> None:
        """Hashes the rest and closes what this object has opened."""
        with self._file, self._hasher, self.sink:
            self.advance()
            assert self._pending is not None, "something is pending after every advance"
            self._pending.result()

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self._digest.hexdigest()

    def _hash(self, begin: int, end: int) -> None:
        page = begin - begin % mmap.ALLOCATIONGRANULARITY
        if end > begin:
            with (
                mmap.mmap(self._file.fileno(), end - page, access=mmap.ACCESS_READ, offset=page) as mapped,
                memoryview(mapped) as view,
            ):
                self._digest.update(view[begin - page :])


class HashedStream:
    """The write half of a file object."""

    closed = False

    def __init__(self, stream: IO[bytes], uploading: Uploading) -> None:
        self._uploading = uploading
        self.sink = pa.PythonFile(self, mode="w")
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._stream = stream

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Passes the bytes on."""
        self._digest.update(data)
        self.size_bytes += len(data)
        with self._uploading():
            return self._stream.write(data)

    def flush(self) -> None:
        """Passes it on."""
        self._stream.flush()

    def close(self) -> None:
        """Leaves the stream open: whoever made it syncs and publishes it."""

    def advance(self) -> None:
        """Nothing to do: bytes are hashed as they pass."""

    def finish(self) -> None:
        """Nothing to do."""
