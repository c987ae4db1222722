"""A file that the decoder process reads through its parent, a range at a time, for it has no credentials of its own.

So an image of many gigabytes is read where its pixels are wanted, and is never on this side as a whole.
"""

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

BLOCK_BYTES = 1 << 20
_KEPT_BLOCKS = 32


class RangeReader(Protocol):
    """A file as the parent reads it."""

    @property
    def key(self) -> str:
        """Names the file in this version: what was learnt of it holds as long as the key does."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def read(self, start: int, end: int) -> bytes:
        """Its bytes from one offset to before another, which lies within the file.

        Raises:
            PipelineError: they cannot be had.
        """
        ...


class ServedFile(io.RawIOBase):
    """The file as libraries read it; keeps the last 32 MiB of blocks, for their reads are small and come back.

    Args:
        key: of its `RangeReader`.
        size_bytes: of the file.
        ask: gives the bytes from one offset to before another.

    Attributes:
        opened: what a library has made of the file, to go on with at the next part of it.
    """

    def __init__(self, key: str, size_bytes: int, ask: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self.key, self.size_bytes = key, size_bytes
        self.opened: Any = None
        self._ask, self._place = ask, 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read anywhere."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Sets where the next read begins; beyond the end there is nothing to read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the present block goes."""
        if self._place >= self.size_bytes:
            return 0
        number, offset = divmod(self._place, BLOCK_BYTES)
        data = self._block(number)[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _block(self, number: int) -> bytes:
        data = self._blocks.pop(number, None)
        if data is None:
            start = number * BLOCK_BYTES
            data = self._ask(start, min(start + BLOCK_BYTES, self.size_bytes))
        self._blocks[number] = data
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return data


def served_bytes(data: bytes) -> ServedFile:
    """Bytes that are here already, as such a file."""
    return ServedFile("", len(data), lambda start, end: data[start:end])
