"""Freed memory stays with the process once it is told to keep it."""

import platform
import subprocess
import sys

import pytest

# Frees 200 MB in two pieces, one larger than the C library keeps by itself, and prints what stays resident, in MB.
PROGRAM = """
import os, resource, sys
from pipeline.execution.memory import keep_freed_memory
import numpy as np
if sys.argv[1] == "keep":
    keep_freed_memory()
pieces = [np.ones(100 << 20, np.uint8), np.ones(100 << 20, np.uint8)]
del pieces
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_pieces_are_kept_only_when_asked_to():
    resident = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True).stdout
        )
        for how in ("keep", "give back")
    }
    assert resident["keep"] > resident["give back"] + 150, resident
