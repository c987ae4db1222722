"""Memory that the decoder process reads encoded bytes from and writes pixels to, as nameless files of the kernel."""

import fcntl
import math
import mmap
import os
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelSlots:
    """Room for the pixels of several images; see `PixelMemory`.

    Attributes:
        pixels_NCHW: (count, 3, side, side) float32; a slot that nothing was decoded into holds anything. The memory
            is theirs for as long as this array, or any view of it, is in use.
        slot_bytes: size of one image's pixels.
        handle: descriptor of the file behind the array, which begins with the first image.
    """

    pixels_NCHW: np.ndarray
    slot_bytes: int
    handle: int


class PixelMemory:
    """Gives out slots, and gives them out again once nobody looks at them: fresh pages cost 3 ms an image.

    Args:
        side_px: side of the square images, in pixels.
    """

    def __init__(self, side_px: int) -> None:
        self._shape = (3, side_px, side_px)
        self._slot_bytes = math.prod(self._shape) * np.dtype(np.float32).itemsize
        self._spare: deque[_SharedFile] = deque(maxlen=1)

    def slots(self, count: int) -> PixelSlots:
        """Slots for `count` images."""
        file = self._file(max(1, count) * self._slot_bytes)
        values = np.frombuffer(file.memory, np.float32, count * math.prod(self._shape))
        # Views of an array keep this one array alive, so that it goes last.
        weakref.finalize(values, self._spare.append, file).atexit = False
        return PixelSlots(values.reshape(count, *self._shape), self._slot_bytes, file.handle)

    def _file(self, size_bytes: int) -> "_SharedFile":
        try:
            spare = self._spare.pop()
        except IndexError:
            return _SharedFile(size_bytes)
        return spare if len(spare.memory) >= size_bytes else _SharedFile(size_bytes)


class _SharedFile:
    """A file in memory, mapped here; closed when it is let go."""

    def __init__(self, size_bytes: int) -> None:
        self.handle = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.handle)
        os.ftruncate(self.handle, size_bytes)
        # Were it ever cut short by the other side, this one would die of SIGBUS.
        fcntl.fcntl(self.handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self.memory = mmap.mmap(self.handle, size_bytes)


@contextmanager
def file_of(data: bytes) -> Iterator[int]:
    """A descriptor of a file in memory that holds `data`, for the length of the block."""
    handle = os.memfd_create("encoded", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        yield handle
    finally:
        os.close(handle)
