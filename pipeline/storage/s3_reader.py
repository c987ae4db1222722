"""An object of S3 as a file to read from: each read asks for a range, again and again while the store is in trouble."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.storage.s3 import S3Store


class S3Reader:
    """The read half of a file object; Arrow reads through it.

    Args:
        store: where the object is.
        name: of an object, whose bytes never change.

    Raises:
        FileNotFoundError, PermissionError, StoreUnavailableError: it cannot be read.
    """

    closed = False

    def __init__(self, store: "S3Store", name: str) -> None:
        self._store, self._name = store, name
        self._size_bytes = store.size_bytes(name)
        self._position = 0

    def read(self, num_bytes: int = -1) -> bytes:
        """The next bytes, as many as there are; all that are left if `num_bytes` is negative.

        Raises:
            FileNotFoundError, PermissionError, StoreUnavailableError: it cannot be read any more.
        """
        end = self._size_bytes if num_bytes < 0 else min(self._position + num_bytes, self._size_bytes)
        if end <= self._position:
            return b""
        data = self._store.read_range(self._name, self._position, end)
        self._position = end
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to an offset in bytes, and gives the new position."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        return self._position

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def close(self) -> None:
        """Nothing: it holds no connection."""
