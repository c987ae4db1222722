"""What the C library does with freed memory, in a process that needs the same large buffers for every image."""

import ctypes
import platform
from contextlib import suppress

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_BYTES = 2**31 - 1


def keep_freed_memory() -> None:
    """Keeps freed memory for the next request instead of giving it back to the kernel; for the whole process.

    Otherwise each map of 33 MB is mapped anew for each image, and the kernel clears it page by page: a tenth of a
    forward pass on a CPU. One arena holds all, for those of single threads cannot keep pieces as large as that.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, 2**30)
        library.mallopt(_TRIM_THRESHOLD, _LARGEST_BYTES)
