"""A file of which only some ranges have come: what Arrow reads a remote shard through, so that it asks for no other."""

import os
from collections.abc import Mapping


class SparseFile:
    """The read half of a file object over ranges of bytes that are here.

    Args:
        size_bytes: of the whole file.
        ranges: bytes by the offset where they begin.
    """

    closed = False

    def __init__(self, size_bytes: int, ranges: Mapping[int, bytes]) -> None:
        self._size_bytes, self._ranges = size_bytes, dict(ranges)
        self._position = 0

    def read(self, num_bytes: int = -1) -> memoryview:
        """The next bytes, as many as there are; a view.

        Raises:
            OSError: some of them are not here.
        """
        start = self._position
        end = self._size_bytes if num_bytes < 0 else min(start + num_bytes, self._size_bytes)
        if end <= start:
            return memoryview(b"")
        for offset, data in self._ranges.items():
            if offset <= start and end <= offset + len(data):
                self._position = end
                return memoryview(data)[start - offset : end - offset]
        raise OSError(f"bytes {start} to {end} of {self._size_bytes} are not where its footer says its columns are")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to an offset in bytes, and gives the new position."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        return self._position

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def close(self) -> None:
        """Nothing: it holds no connection."""
